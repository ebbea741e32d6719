// A page of another product, on its own origin: people sign in at the issuer as always, and the page calls the cockpit with
// their token. It can do what the person may, and never more than the client is registered for.
//
// Where everything is stands in config.json beside it: {"api", "issuer", "client_id", "project_id", "account"}.

const $ = (id) => document.getElementById(id);
const config = await (await fetch("config.json")).json();
const redirect = location.origin + location.pathname;

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function discover() {
  const answer = await fetch(config.issuer + "/.well-known/openid-configuration");
  return answer.json();
}

// Code flow with PKCE (RFC 7636); state and nonce are kept for this tab only.
async function signIn() {
  const attempt = { verifier: random(), state: random(), nonce: random() };
  sessionStorage.setItem("attempt", JSON.stringify(attempt));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(attempt.verifier));
  const url = new URL((await discover()).authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: config.client_id, redirect_uri: redirect, response_type: "code", state: attempt.state, nonce: attempt.nonce,
    scope: `openid profile email urn:zitadel:iam:org:project:id:${config.project_id}:aud urn:zitadel:iam:org:projects:roles`,
    code_challenge: base64url(new Uint8Array(digest)), code_challenge_method: "S256",
  });
  location.assign(url);
}

async function finish(query) {
  const attempt = JSON.parse(sessionStorage.getItem("attempt") ?? "{}");
  sessionStorage.removeItem("attempt");
  history.replaceState(null, "", location.pathname);
  if (query.has("error") || !attempt.state || query.get("state") !== attempt.state) {
    throw new Error(query.get("error_description") ?? query.get("error") ?? "this sign-in was not begun here");
  }
  const answer = await fetch((await discover()).token_endpoint, {
    method: "POST",
    body: new URLSearchParams({ grant_type: "authorization_code", client_id: config.client_id, redirect_uri: redirect, code: query.get("code"), code_verifier: attempt.verifier }),
  });
  const tokens = await answer.json();
  if (!answer.ok) throw new Error(tokens.error_description ?? tokens.error);
  sessionStorage.setItem("token", tokens.access_token);
}

// call returns the answer's status and body; errors of the cockpit are problem details (RFC 9457).
async function call(method, path, body, headers = {}) {
  const answer = await fetch(config.api + path, {
    method, body: body && JSON.stringify(body),
    headers: { Authorization: "Bearer " + sessionStorage.getItem("token"), ...(body && { "Content-Type": "application/json" }), ...headers },
  });
  return { status: answer.status, body: await answer.json() };
}

async function show() {
  const account = await call("GET", `/v1/accounts/key:${config.account}`);
  if (account.status === 401) {
    sessionStorage.removeItem("token");
    throw new Error(account.body.detail);
  }
  if (account.status !== 200) throw new Error(`${account.status}: ${account.body.detail}`);
  const sections = await call("GET", `/v1/accounts/key:${config.account}/sections`);
  $("name").textContent = account.body.name;
  $("sections").replaceChildren(...sections.body.items.map((s) => {
    const row = document.createElement("tr");
    row.append(...[s.key, s.unit, s.state].map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  }));
  const refused = await call("GET", `/v1/accounts/key:${config.account}/keys`);
  $("refused").textContent = `${refused.status}: ${refused.body.detail ?? "it listed the service keys"}`;
  $("account").hidden = false;
}

// rename changes the account that the person saw: If-Match refuses it if somebody else changed it since.
async function rename(event) {
  event.preventDefault();
  const path = `/v1/accounts/key:${config.account}`;
  const seen = await fetch(config.api + path, { headers: { Authorization: "Bearer " + sessionStorage.getItem("token") } });
  const answer = await call("PATCH", path, { name: $("new-name").value }, { "If-Match": seen.headers.get("ETag"), "Idempotency-Key": random() });
  await show();
  $("status").textContent = answer.status === 200 ? "Renamed." : `${answer.status}: ${answer.body.detail}`;
}

$("rename").onsubmit = rename;
$("sign-in").onclick = signIn;
$("sign-out").onclick = () => { sessionStorage.removeItem("token"); location.assign(redirect); };
try {
  const query = new URLSearchParams(location.search);
  if (query.has("state")) await finish(query);
  if (sessionStorage.getItem("token")) {
    await show();
    $("status").textContent = "Signed in.";
    $("sign-out").hidden = false;
  } else {
    $("status").textContent = "Nobody is signed in.";
    $("sign-in").hidden = false;
  }
} catch (e) {
  $("status").textContent = "That did not work: " + e.message;
  $("sign-in").hidden = false;
}
