package decode_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/kgo"
)

const golden = "../../schemas/events/testdata"

// The golden files are what their names say, to the published schema and to the decoder alike.
func TestSchemaAndDecoderAgree(t *testing.T) {
	t.Parallel()
	var d decode.Decoder
	for kind, text := range map[string][]byte{"usage": events.UsageSchema, "guardrail": events.GuardrailSchema} {
		schema := compile(t, text)
		files, err := filepath.Glob(filepath.Join(golden, kind, "*.json"))
		if err != nil || len(files) < 5 {
			t.Fatalf("%d golden files, %v", len(files), err)
		}
		for _, file := range files {
			value, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
			if err != nil {
				t.Fatal(err)
			}
			var rejected *decode.Rejection
			if kind == "usage" {
				rejected = d.Usage(&kgo.Record{Value: value}, &events.Usage{})
			} else {
				rejected = d.Guardrail(&kgo.Record{Value: value}, &events.Guardrail{})
			}
			want := strings.HasPrefix(filepath.Base(file), "valid-")
			if err := schema.Validate(instance); (err == nil) != want {
				t.Errorf("%s, to the schema: %v", file, err)
			}
			if (rejected == nil) != want {
				t.Errorf("%s, to the decoder: %v", file, rejected)
			}
		}
	}
}

func compile(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("event.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("event.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
