package decode_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/events/eventspb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const golden = "../../schemas/events/testdata"

// What the JSON Schemas take is taken here, and what they refuse is refused: the same files hold both.
func TestAgreesWithTheSchemas(t *testing.T) {
	t.Parallel()
	var d decode.Decoder
	for kind, read := range map[string]func(value string) *decode.Rejection{
		"usage.v1":     func(value string) *decode.Rejection { return d.Usage(record(value), new(events.Usage)) },
		"guardrail.v1": func(value string) *decode.Rejection { return d.Guardrail(record(value), new(events.Guardrail)) },
	} {
		good, err := filepath.Glob(filepath.Join(golden, kind, "*.json"))
		if err != nil || len(good) == 0 {
			t.Fatalf("%s has no valid events: %v", kind, err)
		}
		for _, path := range good {
			if r := read(file(t, path)); r != nil {
				t.Errorf("%s: %v", path, r)
			}
		}
		for line := range bytes.Lines([]byte(file(t, filepath.Join(golden, kind, "invalid.jsonl")))) {
			var c struct {
				Why   string
				Event json.RawMessage
			}
			if err := json.Unmarshal(line, &c); err != nil {
				t.Fatal(err)
			}
			if r := read(string(c.Event)); r == nil || r.Reason != events.Schema {
				t.Errorf("%s: %s: %v", kind, c.Why, r)
			}
		}
	}
}

func file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The generated messages and the decoder mean the same fields.
func TestAgreesWithTheProtobuf(t *testing.T) {
	t.Parallel()
	var d decode.Decoder
	for _, name := range []string{"usual", "full", "least"} {
		var want, got events.Usage
		text := file(t, filepath.Join(golden, "usage.v1", name+".json"))
		if r := d.Usage(record(text), &want); r != nil {
			t.Fatal(r)
		}
		value := encode(t, text, &eventspb.UsageData{})
		if r := d.Usage(record(value, headers(events.TypeUsage)...), &got); r != nil {
			t.Fatalf("%s: %v", name, r)
		}
		if !sameJSON(t, got.Labels, want.Labels) {
			t.Errorf("%s: labels %s, want %s", name, got.Labels, want.Labels)
		}
		got.Labels, want.Labels = "", ""
		if got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
	for _, name := range []string{"usual", "least"} {
		var want, got events.Guardrail
		text := file(t, filepath.Join(golden, "guardrail.v1", name+".json"))
		if r := d.Guardrail(record(text), &want); r != nil {
			t.Fatal(r)
		}
		value := encode(t, text, &eventspb.GuardrailData{Confidence: want.Confidence})
		if r := d.Guardrail(record(value, headers(events.TypeGuardrail)...), &got); r != nil || got != want {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, r, got, want)
		}
	}
}

func headers(kind string) []string {
	return []string{"ce_specversion", "1.0", "ce_id", "01JD8X2M7Q4Z", "ce_source", "alchemi-web", "ce_type", kind,
		"ce_time", "2026-11-23T08:00:00.123Z", "content-type", "application/protobuf"}
}

// encode adds an event's JSON data to a message. Confidence is a number there and a decimal here: the message brings it.
func encode(t *testing.T, event string, m proto.Message) string {
	t.Helper()
	var whole struct{ Data map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(event), &whole); err != nil {
		t.Fatal(err)
	}
	delete(whole.Data, "confidence")
	text, err := json.Marshal(whole.Data)
	if err != nil {
		t.Fatal(err)
	}
	given := m.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal(text, given); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	proto.Merge(m, given)
	value, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	if a == b {
		return true
	}
	var x, y map[string]string
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil || len(x) != len(y) {
		return false
	}
	for k := range x {
		if x[k] != y[k] {
			return false
		}
	}
	return true
}
