package decode_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protowire"
)

const usual = `{"specversion":"1.0","id":"01JD8X2M7Q4Z","source":"alchemi-web","type":"cockpit.usage.v1","time":"2026-11-23T08:00:00.123Z",` +
	`"data":{"account":"acme","section":"copilot","user":"u-42","team":"support","model":"gpt-5","operation":"chat","agent":"triage","tool":null,` +
	`"quantities":{"input_tokens":1200,"output_tokens":350,"cached_input_tokens":800,"requests":1},"latency_ms":840,"status":"ok","labels":{"env":"prod"}}}`

const guardrail = `{"specversion":"1.0","id":"g1","source":"alchemi-ai","type":"cockpit.guardrail.v1","time":"2026-11-23T08:00:00Z","data":{"account":"acme",` +
	`"section":"copilot","user":"u-42","guardrail":"pii","guardrail_version":3,"rule":"email","category":"pii","stage":"input","action":"masked",` +
	`"outcome":"intervened","severity":"medium","confidence":0.98,"match_count":2,"latency_ms":4.7}}`

func record(value string, headers ...string) *kgo.Record {
	r := &kgo.Record{Value: []byte(value)}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

func TestTheUsualEvent(t *testing.T) {
	t.Parallel()
	var d decode.Decoder
	var u events.Usage
	if r := d.Usage(record(usual), &u); r != nil {
		t.Fatal(r)
	}
	want := events.Usage{ID: "01JD8X2M7Q4Z", Source: "alchemi-web", TimeMicros: time.Date(2026, 11, 23, 8, 0, 0, 123e6, time.UTC).UnixMicro(),
		Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5", Operation: "chat", Agent: "triage", Status: "ok",
		LatencyMS: 840, Labels: `{"env":"prod"}`}
	for q, n := range map[events.Quantity]int64{events.InputTokens: 1200, events.OutputTokens: 350, events.CachedInputTokens: 800, events.Requests: 1} {
		want.Quantities.Set(q, n)
	}
	if u != want {
		t.Errorf("got  %+v\nwant %+v", u, want)
	}
	var g events.Guardrail
	if r := d.Guardrail(record(guardrail), &g); r != nil {
		t.Fatal(r)
	}
	if g.Confidence != "0.98" || g.LatencyMS != 4 || g.GuardrailVersion != 3 || g.Outcome != "intervened" {
		t.Errorf("%+v", g)
	}
}

// The same event in binary mode, as JSON and as protobuf, is the same event.
func TestModesAgree(t *testing.T) {
	t.Parallel()
	var d decode.Decoder
	var want, got events.Usage
	if r := d.Usage(record(usual), &want); r != nil {
		t.Fatal(r)
	}
	var whole struct{ Data json.RawMessage }
	if err := json.Unmarshal([]byte(usual), &whole); err != nil {
		t.Fatal(err)
	}
	headers := []string{"ce_specversion", "1.0", "ce_id", want.ID, "ce_source", want.Source, "ce_type", events.TypeUsage, "ce_time", "2026-11-23T09:00:00.123+01:00", "content-type"}
	if r := d.Usage(record(string(whole.Data), append(headers, "application/json; charset=utf-8")...), &got); r != nil || got != want {
		t.Errorf("binary JSON: %v\ngot  %+v\nwant %+v", r, got, want)
	}
	if r := d.Usage(record(string(usageProto()), append(headers, "application/protobuf")...), &got); r != nil || got != want {
		t.Errorf("binary protobuf: %v\ngot  %+v\nwant %+v", r, got, want)
	}
	if r := d.Usage(record(usual, "Content-Type", "application/cloudevents+json"), &got); r != nil || got != want {
		t.Errorf("structured: %v", r)
	}
}

func usageProto() (b []byte) {
	text := func(b []byte, n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	for n, s := range map[protowire.Number]string{1: "acme", 2: "copilot", 3: "u-42", 4: "support", 5: "gpt-5", 6: "chat", 7: "triage", 9: "ok"} {
		b = text(b, n, s)
	}
	for name, n := range map[string]uint64{"input_tokens": 1200, "output_tokens": 350, "cached_input_tokens": 800, "requests": 1} {
		entry := protowire.AppendVarint(protowire.AppendTag(text(nil, 1, name), 2, protowire.VarintType), n)
		b = protowire.AppendBytes(protowire.AppendTag(b, 12, protowire.BytesType), entry)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 13, protowire.VarintType), 840)
	return protowire.AppendBytes(protowire.AppendTag(b, 15, protowire.BytesType), text(text(nil, 1, "env"), 2, "prod"))
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	change := func(old, new string) string {
		if !strings.Contains(usual, old) {
			t.Fatalf("the usual event has no %s", old)
		}
		return strings.Replace(usual, old, new, 1)
	}
	for _, c := range []struct {
		value  string
		reason events.Reason
		detail string
	}{
		{"", events.Malformed, "empty"},
		{"hello", events.Malformed, ""},
		{"null", events.Malformed, ""},
		{usual[:200], events.Malformed, "in the middle"},
		{usual + "x", events.Malformed, "follows"},
		{usual + "\x00", events.Malformed, "zero"},
		{change(`"acme"`, "\"ac\xffme\""), events.Malformed, "UTF-8"},
		{change(`"acme"`, `"ac\ud800me"`), events.Malformed, "escape"},
		{change(`"acme"`, `"ac\xme"`), events.Malformed, "escape"},
		{change(`"acme"`, "\"ac\nme\""), events.Malformed, "control"},
		{change(`"user":"u-42"`, `"user":"u-42","user":"u-1"`), events.Malformed, "user is there twice"},
		{change(`"requests":1`, `"requests":1,"requests":2`), events.Malformed, "requests is there twice"},
		{change(`"labels"`, `"x":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`,"labels"`), events.Malformed, "deep"},
		{change(`1200`, `NaN`), events.Malformed, ""},
		{change(`1200`, `01200`), events.Malformed, ""},
		{change(`1200`, `-1`), events.Schema, "input_tokens"},
		{change(`1200`, `1.5`), events.Schema, "input_tokens"},
		{change(`1200`, `1e3`), events.Schema, "input_tokens"},
		{change(`1200`, `9007199254740993`), events.Schema, "input_tokens"},
		{change(`1200`, `99999999999999999999999999`), events.Schema, "input_tokens"},
		{change(`1200`, `"1200"`), events.Schema, "input_tokens"},
		{change(`"2026-11-23T08:00:00.123Z"`, `"2026-02-30T08:00:00Z"`), events.Schema, "time"},
		{change(`"2026-11-23T08:00:00.123Z"`, `1763884800`), events.Schema, "time"},
		{change(`"id":"01JD8X2M7Q4Z",`, ``), events.Schema, "id is missing"},
		{change(`"01JD8X2M7Q4Z"`, `"`+strings.Repeat("x", 129)+`"`), events.Schema, "id has more than 128"},
		{change(`"account":"acme"`, `"account":""`), events.Schema, "account is missing"},
		{change(`"account":"acme"`, `"account":7`), events.Schema, "account must be a string"},
		{change(`"acme"`, `"acme\u0000"`), events.Schema, "zero"},
		{change(`"acme"`, `"cafe\u0301"`), events.Schema, "NFC"},
		{change(`"user":"u-42","team":"support",`, ``), events.Schema, "user is missing, and so is team"},
		{change(`"quantities":{"input_tokens":1200,"output_tokens":350,"cached_input_tokens":800,"requests":1}`, `"quantities":{}`), events.Schema, "quantities"},
		{change(`"quantities":{"input_tokens":1200,"output_tokens":350,"cached_input_tokens":800,"requests":1}`, `"quantities":[1]`), events.Schema, "quantities"},
		{change(`"latency_ms":840`, `"cost_usd":"1e-3"`), events.Schema, "cost_usd"},
		{change(`"latency_ms":840`, `"cost_usd":0.5`), events.Schema, "cost_usd"},
		{change(`{"env":"prod"}`, `{"env":1}`), events.Schema, "labels"},
		{change(`cockpit.usage.v1`, `cockpit.usage.v2`), events.Schema, "type"},
		{change(`"specversion":"1.0"`, `"specversion":"0.3"`), events.Schema, "specversion"},
		{`{"specversion":"1.0","id":"x","source":"s","type":"cockpit.usage.v1","time":"2026-11-23T08:00:00Z"}`, events.Schema, "data is missing"},
		{`[` + usual + `]`, events.Malformed, "expected {"},
		{strings.Repeat(" ", 1<<20) + usual, events.TooLarge, ""},
	} {
		var d decode.Decoder
		var u events.Usage
		r := d.Usage(record(c.value), &u)
		if r == nil || r.Reason != c.reason || !strings.Contains(r.Detail, c.detail) {
			t.Errorf("%.120q: %v, want %v with %q", c.value, r, c.reason, c.detail)
		}
	}
}

func TestWhatIsRefusedKeepsItsAccount(t *testing.T) {
	t.Parallel()
	var d decode.Decoder
	var u events.Usage
	if r := d.Usage(record(strings.Replace(usual, `"model":"gpt-5"`, `"model":5`, 1)), &u); r == nil || u.Account != "acme" || u.ID == "" {
		t.Errorf("a rejected event lost its account: %v %+v", r, u)
	}
}

func TestGuardrailWords(t *testing.T) {
	t.Parallel()
	var d decode.Decoder
	for _, c := range []string{`"stage":"between"`, `"action":""`, `"severity":"mild"`, `"confidence":1.5`} {
		name, _, _ := strings.Cut(c, ":")
		var g events.Guardrail
		i := strings.Index(guardrail, name)
		end := i + strings.IndexAny(guardrail[i:], ",}")
		if r := d.Guardrail(record(guardrail[:i]+c+guardrail[end:]), &g); r == nil || r.Reason != events.Schema {
			t.Errorf("%s: %v", c, r)
		}
	}
}

func TestUnknownFieldsAreKeptWhereAskedFor(t *testing.T) {
	t.Parallel()
	d := decode.Decoder{Attributes: true}
	var u events.Usage
	value := strings.Replace(strings.Replace(usual, `"data":{`, `"tra\u0063eparent":"00-1","data":{"new":{"a":[1, 2]},`, 1), `"u-42"`, `"u-\u00e9\n😀"`, 1)
	if r := d.Usage(record(value), &u); r != nil {
		t.Fatal(r)
	}
	if u.Attributes != `{"traceparent":"00-1","new":{"a":[1, 2]}}` || !json.Valid([]byte(u.Attributes)) || u.User != "u-é\n😀" {
		t.Errorf("%s %q", u.Attributes, u.User)
	}
}

func TestTheUsualEventAllocatesNothing(t *testing.T) {
	var d decode.Decoder
	var u events.Usage
	r := record(usual)
	if n := testing.AllocsPerRun(100, func() { _ = d.Usage(r, &u) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUsage(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		var d decode.Decoder
		var u events.Usage
		r := record(usual)
		b.ReportAllocs()
		for b.Loop() {
			if rej := d.Usage(r, &u); rej != nil {
				b.Fatal(rej)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		type event struct {
			SpecVersion, ID, Source, Type string
			Time                          time.Time
			Data                          struct {
				Account, Section, User, Team, Model, Operation, Agent, Tool, Status string
				Quantities                                                          map[string]int64
				LatencyMS                                                           int64 `json:"latency_ms"`
				Labels                                                              map[string]string
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			var e event
			if err := json.Unmarshal([]byte(usual), &e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
