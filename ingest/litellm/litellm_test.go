package litellm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/litellm"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// call is a payload as a proxy sends it, shortened.
const call = `{"id":"chatcmpl-8f","litellm_call_id":"c-1","call_type":"acompletion","status":"success","model":"openai/gpt-4o","model_group":"gpt-4o",
 "startTime":1763884799.250,"endTime":1763884800.5001234,"response_cost":0.00022500000000000002,"prompt_tokens":1000,"completion_tokens":300,"total_tokens":1300,
 "messages":[{"role":"user","content":"secret"}],"response":{"choices":["secret"]},"end_user":"customer-7",
 "metadata":{"user_api_key_org_id":"acme","user_api_key_team_id":"gateway","user_api_key_user_id":null,"user_api_key_hash":"secret",
  "requester_metadata":{"headers":{"authorization":"secret"}},
  "usage_object":{"prompt_tokens_details":{"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":100}}}}`

var binding = litellm.Binding{Source: "litellm", Section: "console", Account: "globex"}

func TestFormats(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"single": call, "json_array": "[" + call + "," + call + "]", "ndjson": strings.ReplaceAll(call, "\n", "") + "\n" + strings.ReplaceAll(call, "\n", "") + "\n",
	} {
		want := strings.Count(body, "chatcmpl")
		items := litellm.Read([]byte(body), binding)
		if len(items) != want {
			t.Fatalf("%s: %d items", name, len(items))
		}
		for _, it := range items {
			if it.Err != nil {
				t.Fatalf("%s: %v", name, it.Err)
			}
			var d decode.Decoder
			var u events.Usage
			if r := d.Usage(&kgo.Record{Value: it.Event}, &u); r != nil {
				t.Fatalf("%s: %v", name, r)
			}
			if strings.Contains(string(it.Event), "secret") {
				t.Fatalf("%s: what was said is kept: %s", name, it.Event)
			}
			q := u.Quantities.N
			if u.ID != "chatcmpl-8f/c-1" || u.Account != "acme" || u.User != "customer-7" || u.Team != "gateway" || u.Model != "gpt-4o" || u.CostUSD != "0.000225000000" ||
				u.TimeMicros != 1763884800500123 || u.LatencyMS != 1250 ||
				q[events.InputTokens] != 600 || q[events.CachedInputTokens] != 400 || q[events.OutputTokens] != 200 || q[events.ReasoningTokens] != 100 {
				t.Errorf("%s: %+v", name, u)
			}
		}
	}
}

func TestOddPayloads(t *testing.T) {
	t.Parallel()
	change := func(old, new string) string { return strings.Replace(call, old, new, 1) }
	for _, c := range []struct{ body, want string }{
		{change(`0.00022500000000000002`, `2.25e-4`), `"cost_usd":"0.000225000000"`},
		{change(`0.00022500000000000002`, `0.0000000000005`), `"cost_usd":"0.000000000000"`},
		{change(`0.00022500000000000002`, `0.0000000000015`), `"cost_usd":"0.000000000002"`},
		{change(`"acme"`, `null`), `"account":"globex"`},
		{change(`"chatcmpl-8f"`, `"`+strings.Repeat("x", 200)+`"`), `"id":"`},
		{change(`1763884800.5001234`, `"2025-11-23T08:00:00.5"`), `"time":"2025-11-23T08:00:00.500000Z"`},
		{change(`"success"`, `"failure"`), `"status":"error"`},
		{change(`"cached_tokens":400`, `"cached_tokens":4000`), `"cached_input_tokens":1000`},
	} {
		items := litellm.Read([]byte(c.body), binding)
		if len(items) != 1 || items[0].Err != nil || !strings.Contains(string(items[0].Event), c.want) {
			t.Errorf("want %s: %s %v", c.want, items[0].Event, items[0].Err)
		}
	}
	failed := strings.Replace(change(`"success"`, `"failure"`), `0.00022500000000000002`, `0`, 1)
	if items := litellm.Read([]byte(failed), binding); strings.Contains(string(items[0].Event), "input_tokens") {
		t.Errorf("a failure that cost nothing has tokens: %s", items[0].Event)
	}
}

func TestABadItemDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	bad := strings.Replace(call, `0.00022500000000000002`, `"NaN"`, 1)
	items := litellm.Read([]byte("["+bad+", 7, "+call+"]"), binding)
	if len(items) != 3 || items[0].Err == nil || items[1].Err == nil || items[2].Err != nil {
		t.Fatalf("%+v", items)
	}
	if strings.Contains(string(items[0].Kept), "secret") || !strings.Contains(string(items[0].Kept), "c-1") {
		t.Errorf("kept: %s", items[0].Kept)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(call))
	f.Add([]byte("[" + call + ",{}]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, it := range litellm.Read(body, binding) {
			if (it.Err == nil) != json.Valid(it.Event) {
				t.Fatalf("%+v", it)
			}
		}
	})
}
