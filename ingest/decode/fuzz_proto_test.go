package decode_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/events/eventspb"
	"google.golang.org/protobuf/proto"
)

func (r *reading) texts(all ...string) {
	for _, s := range all {
		r.text(s, 256)
	}
}

func (r *reading) count(n int64) int64 {
	r.wrong = r.wrong || n < 0 || n > 1<<53
	return n
}

// usageOf is what the generated message means.
func usageOf(m *eventspb.UsageData) (u events.Usage, r reading) {
	u = events.Usage{ID: "1", Source: "s", TimeMicros: 1763884800000000, Account: m.Account, Section: m.Section, User: m.User, Team: m.Team, Model: m.Model,
		Operation: m.Operation, Agent: m.Agent, Tool: m.Tool, Status: m.Status, Reservation: m.Reservation, TraceID: m.TraceId, CostUSD: m.CostUsd,
		LatencyMS: r.count(m.LatencyMs)}
	r.texts(u.Account, u.Section, u.User, u.Team, u.Model, u.Operation, u.Agent, u.Tool, u.Status, u.Reservation, u.TraceID)
	r.decimal(u.CostUSD)
	for name, n := range m.Quantities {
		r.texts(name)
		r.count(n)
		if q, known := events.ParseQuantity(name); known {
			u.Quantities.Set(q, n)
		}
	}
	for name, label := range m.Labels {
		r.texts(name, label)
	}
	text, _ := json.Marshal(m.Labels)
	r.wrong = r.wrong || u.Account == "" || u.Section == "" || u.User+u.Team == "" || u.Model == "" || u.Quantities.Present == 0 || len(text) > 64<<10
	return u, r
}

func guardrailOf(m *eventspb.GuardrailData) (g events.Guardrail, r reading) {
	g = events.Guardrail{ID: "1", Source: "s", TimeMicros: 1763884800000000, Account: m.Account, Section: m.Section, User: m.User, Team: m.Team, Agent: m.Agent,
		Model: m.Model, Guardrail: m.Guardrail, Rule: m.Rule, Category: m.Category, Stage: m.Stage, Action: m.Action, Outcome: m.Outcome, Severity: m.Severity,
		SampleHash: m.SampleHash, RequestID: m.RequestId, TraceID: m.TraceId, Confidence: m.Confidence,
		GuardrailVersion: r.count(m.GuardrailVersion), MatchCount: r.count(m.MatchCount), LatencyMS: r.count(m.LatencyMs)}
	r.texts(g.Account, g.Section, g.User, g.Team, g.Agent, g.Model, g.Guardrail, g.Rule, g.Category, g.Stage, g.Action, g.Outcome, g.Severity, g.SampleHash,
		g.RequestID, g.TraceID, g.Confidence)
	r.wrong = r.wrong || g.Confidence != "" && g.Confidence != "1" && (!decimals.MatchString(g.Confidence) || !strings.HasPrefix(g.Confidence, "0"))
	r.guardrailWords(&g)
	return g, r
}

func protoHeaders(kind string) []string {
	return []string{"ce_specversion", "1.0", "ce_id", "1", "ce_source", "s", "ce_type", kind, "ce_time", "2025-11-23T08:00:00Z", "content-type", "application/protobuf"}
}

// What is taken means what the generated code reads. Written anew by the generated code, a message is taken exactly when the
// rules say so: before, it may hold a wrong value that a later one replaced, and be refused for that.
func FuzzProtobuf(f *testing.F) {
	f.Add(usageProto())
	f.Add(slices.Concat(usageProto(), []byte{0x08, 0x01})) // account as a varint, which is another field's kind
	full := &eventspb.UsageData{Account: "a", Section: "s", Team: "t", Model: "m", Quantities: map[string]int64{"input_tokens": 1, "new": 2},
		Labels: map[string]string{"env": "prod"}, CostUsd: "0.5", LatencyMs: 7}
	text, err := proto.Marshal(full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, value []byte) {
		var m eventspb.UsageData
		refused := len(value) == 0 || proto.Unmarshal(value, &m) != nil
		want, model := usageOf(&m)
		check := func(value []byte, exactly bool) {
			var d decode.Decoder
			var got events.Usage
			r := d.Usage(record(string(value), protoHeaders(events.TypeUsage)...), &got)
			if good := !refused && model.reason() == 0; r == nil && !good || exactly && (r == nil) != good {
				t.Fatalf("%q: %v, want %t: %v", value, r, good, &m)
			}
			if r != nil {
				return
			}
			labels := map[string]string{}
			if got.Labels != "" && json.Unmarshal([]byte(got.Labels), &labels) != nil || !maps.Equal(labels, m.Labels) {
				t.Fatalf("%q: labels %s, want %v", value, got.Labels, m.Labels)
			}
			if got.Labels = ""; got != want {
				t.Fatalf("%q:\ngot  %+v\nwant %+v", value, got, want)
			}
		}
		check(value, false)
		if anew, err := proto.Marshal(&m); !refused && err == nil && len(anew) > 0 {
			check(anew, true)
		}
	})
}

func FuzzGuardrailProtobuf(f *testing.F) {
	text, err := proto.Marshal(&eventspb.GuardrailData{Account: "a", Section: "s", Guardrail: "pii", Stage: "input", Action: "masked", Severity: "low",
		Confidence: "0.98", MatchCount: 2, GuardrailVersion: 3, LatencyMs: 4})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(slices.Concat(text, []byte{0xa0, 0x01, 0x01})) // confidence as a varint
	f.Fuzz(func(t *testing.T, value []byte) {
		var m eventspb.GuardrailData
		refused := len(value) == 0 || proto.Unmarshal(value, &m) != nil
		want, model := guardrailOf(&m)
		check := func(value []byte, exactly bool) {
			var d decode.Decoder
			var got events.Guardrail
			r := d.Guardrail(record(string(value), protoHeaders(events.TypeGuardrail)...), &got)
			if good := !refused && model.reason() == 0; r == nil && !good || exactly && (r == nil) != good {
				t.Fatalf("%q: %v, want %t: %v", value, r, good, &m)
			}
			if r == nil && got != want {
				t.Fatalf("%q:\ngot  %+v\nwant %+v", value, got, want)
			}
		}
		check(value, false)
		if anew, err := proto.Marshal(&m); !refused && err == nil && len(anew) > 0 {
			check(anew, true)
		}
	})
}
