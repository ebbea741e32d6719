package events_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compile returns the schema of the whole event and that of its data.
func compile(t *testing.T, text []byte) (event, data *jsonschema.Schema) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	id := doc.(map[string]any)["$id"].(string)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile(id), c.MustCompile(id + "#data")
}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestSchemas(t *testing.T) {
	t.Parallel()
	for kind, text := range map[string][]byte{"usage.v1": events.UsageSchema, "guardrail.v1": events.GuardrailSchema} {
		event, data := compile(t, text)
		good, err := filepath.Glob(filepath.Join("testdata", kind, "*.json"))
		if err != nil || len(good) == 0 {
			t.Fatalf("%s has no valid events: %v", kind, err)
		}
		for _, path := range good {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			v := parse(t, text)
			if err := event.Validate(v); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if err := data.Validate(v.(map[string]any)["data"]); err != nil {
				t.Errorf("%s: its data: %v", path, err)
			}
		}
		bad, err := os.ReadFile(filepath.Join("testdata", kind, "invalid.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(bad) {
			var c struct {
				Why   string
				Event json.RawMessage
			}
			if err := json.Unmarshal(line, &c); err != nil {
				t.Fatal(err)
			}
			if event.Validate(parse(t, c.Event)) == nil {
				t.Errorf("%s: taken, though %s", kind, c.Why)
			}
		}
	}
}

// The schema names the quantities that there are.
func TestTheSchemaNamesEveryQuantity(t *testing.T) {
	t.Parallel()
	var s struct {
		Defs struct {
			Data struct {
				Properties struct {
					Quantities struct {
						Properties map[string]any
						AnyOf      []any
					}
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(events.UsageSchema, &s); err != nil {
		t.Fatal(err)
	}
	q := s.Defs.Data.Properties.Quantities
	if len(q.Properties) != events.NumQuantities || len(q.AnyOf) != events.NumQuantities {
		t.Errorf("%d and %d quantities of %d", len(q.Properties), len(q.AnyOf), events.NumQuantities)
	}
	for name := range q.Properties {
		if _, known := events.ParseQuantity(name); !known {
			t.Errorf("%s is no quantity", name)
		}
	}
}
