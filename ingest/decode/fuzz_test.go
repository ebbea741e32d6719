package decode_test

import (
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// seeds are the golden events of a kind, good and bad.
func seeds(f *testing.F, kind string, add func(text string)) {
	f.Helper()
	good, err := filepath.Glob(filepath.Join(golden, kind, "*.json"))
	if err != nil || len(good) == 0 {
		f.Fatalf("no events of %s: %v", kind, err)
	}
	for _, path := range good {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		add(string(text))
	}
	lines, err := os.ReadFile(filepath.Join(golden, kind, "invalid.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		var c struct{ Event json.RawMessage }
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			f.Fatal(err)
		}
		add(string(c.Event))
	}
}

func reasonOf(r *decode.Rejection) events.Reason {
	if r == nil {
		return 0
	}
	return r.Reason
}

// Taken or refused, and for which reason, and every field of what is taken: as the model says.
func FuzzUsage(f *testing.F) {
	seeds(f, "usage.v1", func(text string) { f.Add([]byte(text)) })
	f.Add([]byte(strings.Replace(usual, "u-42", `\ud83d\ude00\/\u0041`, 1)))
	f.Add([]byte(strings.Replace(usual, `"u-42"`, `"é\u0000"`, 1)))
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) == 0 {
			return
		}
		d := decode.Decoder{Attributes: true}
		var got events.Usage
		rejected := d.Usage(&kgo.Record{Value: value}, &got)
		want, model := modelUsage(value)
		if reasonOf(rejected) != model.reason() {
			t.Fatalf("%q: %v, want %q", value, rejected, model.reason())
		}
		if rejected != nil {
			if rejected.Detail == "" {
				t.Fatalf("%q: refused without a word", value)
			}
			return
		}
		if err := model.keeps(got.Attributes); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if got.Labels != "" && !json.Valid([]byte(got.Labels)) {
			t.Fatalf("%q: labels %q", value, got.Labels)
		}
		got.Attributes, got.Labels = "", ""
		if got != want {
			t.Fatalf("%q:\ngot  %+v\nwant %+v", value, got, want)
		}
	})
}

func FuzzGuardrail(f *testing.F) {
	seeds(f, "guardrail.v1", func(text string) { f.Add([]byte(text)) })
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) == 0 {
			return
		}
		d := decode.Decoder{Attributes: true}
		var got events.Guardrail
		rejected := d.Guardrail(&kgo.Record{Value: value}, &got)
		want, model := modelGuardrail(value)
		if reasonOf(rejected) != model.reason() {
			t.Fatalf("%q: %v, want %q", value, rejected, model.reason())
		}
		if rejected != nil {
			return
		}
		if err := model.keeps(got.Attributes); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if got.Attributes = ""; got != want {
			t.Fatalf("%q:\ngot  %+v\nwant %+v", value, got, want)
		}
	})
}

// An event in binary mode is the same event as with its headers written into the envelope.
func FuzzBinaryMode(f *testing.F) {
	add := func(kind string) func(string) {
		return func(text string) {
			var whole struct {
				SpecVersion, ID, Source, Time any
				Data                          json.RawMessage
			}
			_ = json.Unmarshal([]byte(text), &whole)
			s := func(v any) string { s, _ := v.(string); return s }
			f.Add(s(whole.SpecVersion), s(whole.ID), s(whole.Source), kind, s(whole.Time), []byte(whole.Data))
		}
	}
	seeds(f, "usage.v1", add(events.TypeUsage))
	seeds(f, "guardrail.v1", add(events.TypeGuardrail))
	f.Add("1.0", "a\x00", "é", events.TypeUsage, "2026-11-23t08:00:00.1z", []byte(`{}`))
	f.Fuzz(func(t *testing.T, version, id, source, kind, at string, data []byte) {
		if !json.Valid(data) || len(data) > 1<<19 || strings.Count(string(data), "[")+strings.Count(string(data), "{") > 60 {
			return // no JSON, or near a limit that the envelope moves
		}
		structured := "{"
		for name, s := range map[string]string{"specversion": version, "id": id, "source": source, "type": kind, "time": at} {
			text, err := json.Marshal(s)
			if err != nil || !utf8.ValidString(s) {
				return // structured mode can't say it
			}
			structured += `"` + name + `":` + string(text) + ","
		}
		structured += `"data":` + string(data) + "}"
		binary := record(string(data), "ce_specversion", version, "ce_id", id, "ce_source", source, "ce_type", kind, "ce_time", at, "content-type", "application/json")
		var a, b decode.Decoder
		var u, v events.Usage
		if ra, rb := a.Usage(record(structured), &u), b.Usage(binary, &v); reasonOf(ra) != reasonOf(rb) || ra == nil && u != v {
			t.Fatalf("structured %s: %v %+v\nbinary: %v %+v", structured, ra, u, rb, v)
		}
		var g, h events.Guardrail
		if ra, rb := a.Guardrail(record(structured), &g), b.Guardrail(binary, &h); reasonOf(ra) != reasonOf(rb) || ra == nil && g != h {
			t.Fatalf("structured %s: %v %+v\nbinary: %v %+v", structured, ra, g, rb, h)
		}
	})
}

// A time is what encoding/json reads of it, to the microsecond below.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-11-23T08:00:00.123Z", "2024-02-29t23:59:59.999999999+23:59", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.9-00:00",
		"1900-02-29T00:00:00Z", "2026-11-23T08:00:60Z", "2026-11-23T24:00:00Z", "2026-11-23T08:00:00,5Z", "1969-12-31T23:59:59.9999995Z", "2026-11-23T08:00:00+24:00"} {
		f.Add(s)
	}
	data := `{"account":"a","section":"s","user":"u","model":"m","quantities":{"requests":1}}`
	f.Fuzz(func(t *testing.T, at string) {
		var d decode.Decoder
		var u events.Usage
		r := d.Usage(record(data, "ce_specversion", "1.0", "ce_id", "1", "ce_source", "s", "ce_type", events.TypeUsage, "ce_time", at), &u)
		if micros, ok := instant(at); ok != (r == nil) || ok && micros != u.TimeMicros {
			t.Fatalf("%q: %v %d, want %t %d", at, r, u.TimeMicros, ok, micros)
		}
	})
}

var integers = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

// Numbers mean what math/big says they mean, wherever they stand.
func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"0", "1200", "9007199254740992", "9007199254740993", "18446744073709551617", "1e3", "1.0", "-0", "01", "0.0125", "00.1", "1.", ".5",
		"0.1234567890123", "12345678901234567890123456789012", "1E-9", "0x1", "1_0", "NaN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\",:{}[]\\ \t\r\n") || text == "null" || !utf8.ValidString(text) {
			return
		}
		var d decode.Decoder
		var u events.Usage
		event := func(data string) *kgo.Record {
			return record(`{"specversion":"1.0","id":"1","source":"s","type":"cockpit.usage.v1","time":"2026-11-23T08:00:00Z",` +
				`"data":{"account":"a","section":"s","user":"u","model":"m",` + data + `}}`)
		}
		n, isInteger := new(big.Int).SetString(text, 10)
		isInteger = isInteger && integers.MatchString(text) && n.Cmp(big.NewInt(1<<53)) <= 0
		if r := d.Usage(event(`"quantities":{"input_tokens":`+text+`}`), &u); (r == nil) != isInteger || isInteger && u.Quantities.N[events.InputTokens] != n.Int64() {
			t.Fatalf("quantity %q: %v %+v", text, r, u.Quantities)
		}
		quoted, _ := json.Marshal(text)
		isDecimal := text == "" || len(text) <= 32 && decimals.MatchString(text)
		if r := d.Usage(event(`"quantities":{"requests":1},"cost_usd":`+string(quoted)), &u); (r == nil) != isDecimal || isDecimal && u.CostUSD != text {
			t.Fatalf("cost %q: %v %q", text, r, u.CostUSD)
		}
	})
}
