package litellm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/litellm"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// call is a payload as a proxy sends it, shortened.
const call = `{"id":"chatcmpl-8f","litellm_call_id":"c-1","call_type":"acompletion","status":"success","model":"openai/gpt-4o","model_group":"gpt-4o",
 "startTime":1763884799.250,"endTime":1763884800.5001234,"response_cost":0.00022500000000000002,"prompt_tokens":1000,"completion_tokens":300,"total_tokens":1300,
 "messages":[{"role":"user","content":"secret"}],"response":{"choices":["secret"]},"end_user":"customer-7","requester_ip_address":"secret",
 "metadata":{"user_api_key_org_id":"acme","user_api_key_team_id":"gateway","user_api_key_user_id":null,"user_api_key_hash":"secret",
  "requester_metadata":{"headers":{"authorization":"secret"}},
  "usage_object":{"prompt_tokens_details":{"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":100}}}}`

var (
	line    = strings.ReplaceAll(call, "\n", "")
	binding = litellm.Binding{Source: "litellm", Section: "console", Account: "globex"}
)

func read(t *testing.T, body, format string) []litellm.Item {
	t.Helper()
	items, err := readAll(strings.NewReader(body), format)
	if err != nil {
		t.Fatalf("%.200s: %v", body, err)
	}
	return items
}

func readAll(r io.Reader, format string) (items []litellm.Item, err error) {
	err = litellm.Read(r, format, binding, func(i int, item litellm.Item) error {
		if i != len(items) {
			panic("an index is not the next")
		}
		items = append(items, item)
		return nil
	})
	return items, err
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format, body string
		want         int
	}{
		{litellm.Single, call, 1}, {litellm.Any, call, 1}, {litellm.Any, call + "\n" + call, 2},
		{litellm.JSONArray, "[" + call + "," + call + "]", 2}, {litellm.Any, " [\n" + call + " ,\n" + call + "\n]\n", 2},
		{litellm.NDJSON, line + "\n" + line + "\n", 2}, {litellm.Any, line + "\r\n\r\n" + line, 2},
		{litellm.Any, "", 0}, {litellm.Any, "[]", 0}, {litellm.Any, "\n \n", 0},
	} {
		items := read(t, c.body, c.format)
		if len(items) != c.want {
			t.Fatalf("%s %.40s: %d items", c.format, c.body, len(items))
		}
		for _, it := range items {
			checkCall(t, it)
		}
	}
	if err := litellm.Read(strings.NewReader(call), "xml", binding, nil); err == nil {
		t.Error("an unknown format was read")
	}
}

func checkCall(t *testing.T, it litellm.Item) {
	t.Helper()
	if it.Err != nil {
		t.Fatal(it.Err)
	}
	var d decode.Decoder
	var u events.Usage
	if r := d.Usage(&kgo.Record{Value: it.Event}, &u); r != nil {
		t.Fatal(r)
	}
	if bytes.Contains(it.Event, []byte("secret")) {
		t.Fatalf("what was said is kept: %s", it.Event)
	}
	q := u.Quantities.N
	if u.ID != "chatcmpl-8f/c-1" || u.Account != "acme" || u.User != "customer-7" || u.Team != "gateway" || u.Model != "gpt-4o" || u.CostUSD != "0.000225000000" ||
		u.TimeMicros != 1763884800500123 || u.LatencyMS != 1250 || u.Operation != "acompletion" || u.Status != "ok" ||
		q[events.InputTokens] != 600 || q[events.CachedInputTokens] != 400 || q[events.OutputTokens] != 200 || q[events.ReasoningTokens] != 100 {
		t.Errorf("%+v", u)
	}
}

func change(t *testing.T, pairs ...string) string {
	t.Helper()
	s := line
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			t.Fatalf("the call has no %s", pairs[i])
		}
		s = strings.Replace(s, pairs[i], pairs[i+1], 1)
	}
	return s
}

func TestOddPayloads(t *testing.T) {
	t.Parallel()
	const price, end = `0.00022500000000000002`, `1763884800.5001234`
	longest := strings.Repeat("x", 128-len("/c-1"))
	hashed := fmt.Sprintf("%x", sha256.Sum256([]byte("x"+longest+"/c-1")))
	for _, c := range []struct {
		changes  []string
		want     string
		unwanted string
	}{
		{[]string{price, `2.25e-4`}, `"cost_usd":"0.000225000000"`, ""},
		{[]string{price, `"2.25E-4"`}, `"cost_usd":"0.000225000000"`, ""},
		{[]string{price, `0.0000000000005`}, `"cost_usd":"0.000000000000"`, ""},
		{[]string{price, `0.0000000000015`}, `"cost_usd":"0.000000000002"`, ""},
		{[]string{price, `0.00000000000250000000001`}, `"cost_usd":"0.000000000003"`, ""},
		{[]string{price, `1e-300`}, `"cost_usd":"0.000000000000"`, ""},
		{[]string{price, `-0.0`}, `"cost_usd":"0.000000000000"`, ""},
		{[]string{price, `null`}, `"status":"ok"`, "cost_usd"},
		{[]string{price, `0.0,"response_cost_failure_debug_info":{"error":"secret"}`}, `"status":"ok"`, "cost_usd"},
		{[]string{price, `0.0,"response_cost_failure_debug_info":null`}, `"cost_usd":"0.000000000000"`, ""},
		{[]string{`"acme"`, `null`}, `"account":"globex"`, ""},
		{[]string{`"user_api_key_user_id":null`, `"user_api_key_user_id":"u-1"`}, `"user":"u-1"`, "customer-7"},
		{[]string{`"end_user":"customer-7",`, ``, `"user_api_key_user_id":null`, `"user_api_key_end_user_id":"e-1"`}, `"user":"e-1"`, ""},
		{[]string{`"model_group":"gpt-4o"`, `"model_group":null`}, `"model":"openai/gpt-4o"`, ""},
		{[]string{`"c-1"`, `"chatcmpl-8f"`}, `"id":"chatcmpl-8f"`, ""},
		{[]string{`"chatcmpl-8f"`, `"` + longest + `"`}, `"id":"` + longest + `/c-1"`, ""},
		{[]string{`"chatcmpl-8f"`, `"x` + longest + `"`}, `"id":"` + hashed + `"`, longest},
		{[]string{end, `"2025-11-23T08:00:00.5"`}, `"time":"2025-11-23T08:00:00.500000Z"`, ""},
		{[]string{end, `"2025-11-23 08:00:00.123456+01:00"`}, `"time":"2025-11-23T07:00:00.123456Z"`, ""},
		{[]string{end, `1.7638848005001234e9`}, `"time":"2025-11-23T08:00:00.500123Z"`, ""},
		{[]string{end, `"1763884800"`}, `"time":"2025-11-23T08:00:00.000000Z"`, ""},
		{[]string{`1763884799.250`, `1763884999`}, `"status":"ok"`, "latency_ms"},
		{[]string{`"success"`, `"failure"`}, `"input_tokens":600`, `"status":"ok"`},
		{[]string{`"success"`, `"failure"`, price, `0`}, `"quantities":{"requests":1}`, `"status":"ok"`},
		{[]string{`"success"`, `"failure"`, price, `null`}, `"cost_usd":"0.000000000000"`, `input_tokens`},
		{[]string{`"cached_tokens":400`, `"cached_tokens":4000`}, `"cached_input_tokens":1000`, `"input_tokens":-`},
		{[]string{`"cached_tokens":400`, `"cached_tokens":400,"cache_creation_tokens":100`}, `"cache_write_tokens":100,"cached_input_tokens":400,"input_tokens":500`, ""},
		{[]string{`"reasoning_tokens":100`, `"reasoning_tokens":1e3`}, `"reasoning_tokens":300`, "output_tokens"},
		{[]string{`"prompt_tokens":1000`, `"prompt_tokens":-5`}, `"output_tokens":200`, "input_tokens"},
		{[]string{`"prompt_tokens":1000,`, ``, `"usage_object":{`, `"usage_object":{"prompt_tokens":500.0,`}, `"input_tokens":100`, ""},
		{[]string{`"prompt_tokens":1000`, `"prompt_tokens":null`}, `"output_tokens":200`, "input_tokens"},
		{[]string{`"usage_object":{`, `"usage_object":null,"x":{`}, `"input_tokens":1000`, "cached"},
		{[]string{`"metadata":{`, `"metadata":null,"x":{`}, `"account":"globex"`, ""},
	} {
		items := read(t, change(t, c.changes...), litellm.Any)
		if len(items) != 1 || items[0].Err != nil || strings.Contains(string(items[0].Event), "secret") {
			t.Errorf("%q: %+v", c.changes, items)
			continue
		}
		if e := string(items[0].Event); !strings.Contains(e, c.want) || c.unwanted != "" && strings.Contains(e, c.unwanted) {
			t.Errorf("%q: want %s and not %s: %s", c.changes, c.want, c.unwanted, e)
		}
	}
}

func TestWhatCanNotBeMapped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		changes []string
		reason  events.Reason
		detail  string
	}{
		{[]string{`0.00022500000000000002`, `"NaN"`}, events.Schema, "response_cost"},
		{[]string{`0.00022500000000000002`, `-1`}, events.Schema, "response_cost"},
		{[]string{`0.00022500000000000002`, `1e99`}, events.Schema, "response_cost"},
		{[]string{`0.00022500000000000002`, `{"a":"secret"}`}, events.Schema, "response_cost"},
		{[]string{`0.00022500000000000002`, `NaN`}, events.Malformed, "JSON"},
		{[]string{`1763884800.5001234`, `null`}, events.Schema, "endTime"},
		{[]string{`1763884800.5001234`, `1e18`}, events.Schema, "endTime"},
		{[]string{`1763884800.5001234`, `"yesterday"`}, events.Schema, "endTime"},
		{[]string{`"id":"chatcmpl-8f","litellm_call_id":"c-1",`, ``}, events.Schema, "litellm_call_id"},
		{[]string{`"choices":`, `"choices"`}, events.Malformed, "JSON"},
		{[]string{`"content":"secret"`, `"content":"` + strings.Repeat("secret", 200_000) + `"`}, events.TooLarge, "1048576"},
	} {
		items := read(t, "["+change(t, c.changes...)+",7, "+line+"]", litellm.Any)
		if len(items) != 3 || items[2].Err != nil || items[1].Err == nil {
			t.Fatalf("%.80q: %d items", c.changes, len(items))
		}
		var bad *litellm.Error
		if !errors.As(items[0].Err, &bad) || bad.Reason != c.reason || !strings.Contains(bad.Detail, c.detail) || items[0].Event != nil {
			t.Errorf("%.80q: %+v", c.changes, items[0].Err)
		}
		kept := string(items[0].Kept)
		if !json.Valid(items[0].Kept) || strings.Contains(kept, "secret") || !strings.Contains(kept, "acompletion") {
			t.Errorf("%.80q: kept %s", c.changes, kept)
		}
	}
}

// What is kept of an item with a wrong value is enough to map it once the value is put right.
func TestWhatIsKeptCanBeMapped(t *testing.T) {
	t.Parallel()
	items := read(t, change(t, `0.00022500000000000002`, `"?"`), litellm.Any)
	fixed := strings.Replace(string(items[0].Kept), `"?"`, `0.00022500000000000002`, 1)
	again := read(t, fixed, litellm.Any)
	if len(again) != 1 {
		t.Fatalf("%+v", again)
	}
	checkCall(t, again[0])
}

func TestABrokenItemDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ format, body, want string }{ // x: an error, o: an event
		{litellm.JSONArray, `[{"a":]},` + line + `]`, "xo"},
		{litellm.JSONArray, `[{"a":[1},` + line + `]`, "xo"},
		{litellm.JSONArray, `[{"a":}}},` + line + `,]`, "xo"},
		{litellm.JSONArray, `[` + line + ` ` + line + `,` + line + `]`, "xo"},
		{litellm.JSONArray, `[` + line + `,{"id":"x`, "ox"},
		{litellm.JSONArray, `[` + line, "o"},
		{litellm.JSONArray, `[null,"a,b]",[1,2],` + line + `]`, "xxxo"},
		{litellm.JSONArray, `[` + line + `] x`, "ox"},
		{litellm.JSONArray, `[` + line + "]\n[" + line + `]`, "oo"},
		{litellm.NDJSON, line[:99] + "\n" + line + "\nx\n" + line, "xoxo"},
		{litellm.NDJSON, `{"a":"b` + "\n" + line, "xo"},
		{litellm.Any, line + "\n" + line[:500] + "\n" + line, "oxo"},
		{litellm.Any, "x\n" + line, "xo"},
		{litellm.Any, `{"a":"b` + "\n" + line, "xo"},
		{litellm.Any, strings.Repeat("[", 20_000) + line, "x"},
		{litellm.Any, strings.Repeat(`{"a":[`, 20_000), "x"},
	} {
		got := ""
		for _, it := range read(t, c.body, c.format) {
			if it.Err != nil {
				got += "x"
				continue
			}
			got += "o"
			checkCall(t, it)
		}
		if got != c.want {
			t.Errorf("%s %.60s: %s, want %s", c.format, c.body, got, c.want)
		}
	}
}

// spaces is a body without an end that is never held.
type spaces struct{ given int }

func (s *spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	s.given += len(p)
	return len(p), nil
}

func TestLimits(t *testing.T) {
	t.Parallel()
	endless := &spaces{}
	items, err := readAll(io.MultiReader(strings.NewReader("["+line+","), endless), litellm.Any)
	if !errors.Is(err, litellm.ErrTooLarge) || len(items) != 1 || items[0].Err != nil {
		t.Errorf("%d items, %v", len(items), err)
	}
	if endless.given > litellm.BodyBytesMax+1<<17 {
		t.Errorf("read %d bytes", endless.given)
	}
	if items, err = readAll(strings.NewReader("["+strings.Repeat("1,", litellm.ItemsMax)+line+"]"), litellm.Any); !errors.Is(err, litellm.ErrTooLarge) || len(items) != litellm.ItemsMax {
		t.Errorf("%d items, %v", len(items), err)
	}
	gone := errors.New("the client went away")
	items, err = readAll(io.MultiReader(strings.NewReader("["+line+","+line[:300]), iotest.ErrReader(gone)), litellm.Any)
	if !errors.Is(err, gone) || len(items) != 2 || items[0].Err != nil || items[1].Err == nil {
		t.Errorf("%d items, %v", len(items), err)
	}
	stop := errors.New("stop")
	calls := 0
	err = litellm.Read(strings.NewReader(line+"\n"+line), litellm.Any, binding, func(int, litellm.Item) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
