// Sends a usage event with the CloudEvents SDK for JavaScript: send.mjs URL KEY ID structured|binary
import { CloudEvent, HTTP } from "cloudevents";

const [url, key, id, mode] = process.argv.slice(2);
const event = new CloudEvent({
  id, source: "alchemi-web", type: "cockpit.usage.v1", datacontenttype: "application/json",
  data: { account: "acme", section: "copilot", user: "u-42", team: "support", model: "gpt-5", quantities: { input_tokens: 1000 } },
});
const message = mode === "structured" ? HTTP.structured(event) : HTTP.binary(event);
const answer = await fetch(url, { method: "POST", body: message.body, headers: { ...message.headers, authorization: `Bearer ${key}` } });
console.log(answer.status, await answer.text());
process.exit(answer.status === 202 ? 0 : 1);
