package journey_test

import (
	"encoding/json"
	"time"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// event is a structured CloudEvent without a key, so that it lands wherever the producer's partitioner says.
func event(topic, id string, data map[string]any, change ...func(map[string]any)) *kgo.Record {
	kind := events.TypeUsage
	if topic == "guardrail.v1" {
		kind = events.TypeGuardrail
	}
	e := map[string]any{"specversion": "1.0", "id": id, "source": "alchemi-ai", "type": kind, "time": time.Now().UTC().Format(time.RFC3339Nano), "data": data}
	for _, c := range change {
		c(e)
	}
	value, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return &kgo.Record{Topic: topic, Value: value}
}

// set changes a field of the data.
func set(field string, v any) func(map[string]any) {
	return func(e map[string]any) { e["data"].(map[string]any)[field] = v }
}

func source(s string) func(map[string]any) { return func(e map[string]any) { e["source"] = s } }

func at(t time.Time) func(map[string]any) {
	return func(e map[string]any) { e["time"] = t.UTC().Format(time.RFC3339Nano) }
}
