package decode

import (
	"slices"
	"strconv"
	"strings"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bits of a guardrail event's data.
const (
	bitGuardrailText  = bitsOfData // and one for each short text
	bitVersion        = bitGuardrailText + 16
	bitMatchCount     = bitVersion + 1
	bitConfidence     = bitMatchCount + 1
	bitGuardrailDelay = bitConfidence + 1
)

// The closed sets of words of a guardrail event.
var (
	stages     = []string{"input", "output", "tool_call", "tool_result"}
	actions    = []string{"blocked", "masked", "flagged", "allowed"}
	outcomes   = []string{"passed", "intervened", "error_open", "error_closed"}
	severities = []string{"low", "medium", "high", "critical"}
)

// Guardrail reads a guardrail event.
func (d *Decoder) Guardrail(rec *kgo.Record, g *events.Guardrail) *Rejection {
	*g = events.Guardrail{}
	d.reset(rec.Value)
	var e envelope
	mode, rejection := d.open(rec, events.TypeGuardrail, &e)
	if rejection != nil {
		g.ID, g.Source = e.id, e.source
		return rejection
	}
	switch mode {
	case structured:
		d.structured(events.TypeGuardrail, &e, func() { d.guardrail(g) })
	case binaryJSON:
		d.guardrail(g)
		d.s.end()
	case binaryProtobuf:
		d.guardrailProtobuf(rec.Value, g)
	}
	g.ID, g.Source, g.TimeMicros = e.id, e.source, e.micros
	d.checkGuardrail(g)
	g.Attributes = d.kept()
	return d.done()
}

func (d *Decoder) checkGuardrail(g *events.Guardrail) {
	switch {
	case g.Account == "":
		d.wrong("account", "is missing")
	case g.Section == "":
		d.wrong("section", "is missing")
	case g.Guardrail == "":
		d.wrong("guardrail", "is missing")
	}
	d.oneOf("stage", g.Stage, stages, true)
	d.oneOf("action", g.Action, actions, true)
	d.oneOf("outcome", g.Outcome, outcomes, false)
	d.oneOf("severity", g.Severity, severities, false)
}

func (d *Decoder) oneOf(field, value string, words []string, required bool) {
	if value == "" && required {
		d.wrong(field, "is missing")
	} else if value != "" && !slices.Contains(words, value) {
		d.wrong(field, "must be one of "+strings.Join(words, ", "))
	}
}

// guardrail reads the data.
func (d *Decoder) guardrail(g *events.Guardrail) {
	d.object(func(name string) {
		bit, text := guardrailText(g, name)
		if text != nil {
			d.once(bit, name)
			*text = d.text(name, textMax)
			return
		}
		switch name {
		case "guardrail_version":
			d.once(bitVersion, name)
			g.GuardrailVersion, _ = d.integer(name)
		case "match_count":
			d.once(bitMatchCount, name)
			g.MatchCount, _ = d.integer(name)
		case "latency_ms":
			d.once(bitGuardrailDelay, name)
			g.LatencyMS = d.duration(name)
		case "confidence":
			d.once(bitConfidence, name)
			g.Confidence = d.confidence(name)
		default:
			d.attribute(name)
		}
	})
}

// confidence reads a number from 0 to 1 and returns its text.
func (d *Decoder) confidence(field string) string {
	if c := d.s.peek(); c == 'n' && d.s.word("null") {
		return ""
	}
	text := d.s.value()
	if f, err := strconv.ParseFloat(string(text), 64); err != nil || f < 0 || f > 1 {
		d.wrong(field, "must be a number from 0 to 1")
		return ""
	}
	return alias(text)
}

// guardrailText is the place of a field that is a short text; nil if the name is none.
func guardrailText(g *events.Guardrail, name string) (bit uint, text *string) {
	texts := [...]struct {
		name string
		at   *string
	}{{"account", &g.Account}, {"section", &g.Section}, {"user", &g.User}, {"team", &g.Team}, {"agent", &g.Agent}, {"model", &g.Model},
		{"guardrail", &g.Guardrail}, {"rule", &g.Rule}, {"category", &g.Category}, {"stage", &g.Stage}, {"action", &g.Action},
		{"outcome", &g.Outcome}, {"severity", &g.Severity}, {"sample_hash", &g.SampleHash}, {"request_id", &g.RequestID}, {"trace_id", &g.TraceID}}
	for i := range texts {
		if texts[i].name == name {
			return bitGuardrailText + uint(i), texts[i].at
		}
	}
	return 0, nil
}
