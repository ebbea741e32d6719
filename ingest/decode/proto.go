package decode

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/alchemi/cockpit/schemas/events"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers are those of schemas/events/eventspb/events.proto. A field that is there twice has its last value, as protobuf says.

func (d *Decoder) usageProtobuf(data []byte, u *events.Usage) {
	texts := [...]*string{1: &u.Account, 2: &u.Section, 3: &u.User, 4: &u.Team, 5: &u.Model, 6: &u.Operation, 7: &u.Agent, 8: &u.Tool,
		9: &u.Status, 10: &u.Reservation, 11: &u.TraceID, 14: &u.CostUSD}
	var labels map[string]string
	d.message(data, func(field protowire.Number, text []byte, n uint64) {
		switch {
		case int(field) < len(texts) && texts[field] != nil:
			*texts[field] = d.protoText(field, text)
		case field == 12:
			name, value, count := d.entry(text)
			if quantity, known := events.ParseQuantity(name); known && value == "" {
				u.Quantities.Set(quantity, d.protoInteger(name, count))
			} else if !known {
				d.protoInteger("quantities", count)
			}
		case field == 13:
			u.LatencyMS = d.protoInteger("latency_ms", n)
		case field == 15:
			if labels == nil {
				labels = map[string]string{}
			}
			name, value, _ := d.entry(text)
			labels[name] = value
		}
	})
	if u.CostUSD != "" && !isDecimal(u.CostUSD) {
		d.wrong("cost_usd", "must be a decimal like 0.0125, with at most 12 places")
	}
	if labels != nil {
		text, err := json.Marshal(labels)
		if err != nil || len(text) > labelsMax {
			d.wrong("labels", "has more than 64 KiB")
		}
		u.Labels = string(text)
	}
}

func (d *Decoder) guardrailProtobuf(data []byte, g *events.Guardrail) {
	texts := [...]*string{1: &g.Account, 2: &g.Section, 3: &g.User, 4: &g.Team, 5: &g.Agent, 6: &g.Model, 7: &g.Guardrail, 8: &g.Rule,
		9: &g.Category, 10: &g.Stage, 11: &g.Action, 12: &g.Outcome, 13: &g.Severity, 14: &g.SampleHash, 15: &g.RequestID, 16: &g.TraceID, 20: &g.Confidence}
	d.message(data, func(field protowire.Number, text []byte, n uint64) {
		switch {
		case int(field) < len(texts) && texts[field] != nil:
			*texts[field] = d.protoText(field, text)
		case field == 17:
			g.GuardrailVersion = d.protoInteger("guardrail_version", n)
		case field == 18:
			g.MatchCount = d.protoInteger("match_count", n)
		case field == 19:
			g.LatencyMS = d.protoInteger("latency_ms", n)
		}
	})
	if g.Confidence != "" && g.Confidence != "1" && (!isDecimal(g.Confidence) || g.Confidence[0] != '0') {
		d.wrong("confidence", "must be a number from 0 to 1")
	}
}

// message calls f for each field: text of the length-delimited, n of the varints. Other kinds are passed over.
func (d *Decoder) message(data []byte, f func(field protowire.Number, text []byte, n uint64)) {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			d.s.fail("protobuf: " + protowire.ParseError(n).Error())
			return
		}
		data = data[n:]
		var text []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(field, kind, data)
		}
		if n < 0 {
			d.s.fail("protobuf: " + protowire.ParseError(n).Error())
			return
		}
		data = data[n:]
		if kind == protowire.BytesType || kind == protowire.VarintType {
			f(field, text, number)
		}
	}
}

// entry is one entry of a map.
func (d *Decoder) entry(data []byte) (key, value string, n uint64) {
	d.message(data, func(field protowire.Number, text []byte, number uint64) {
		switch field {
		case 1:
			key = d.protoText(field, text)
		case 2:
			value, n = d.protoText(field, text), number
		}
	})
	return key, value, n
}

func (d *Decoder) protoText(field protowire.Number, text []byte) string {
	if !utf8.Valid(text) {
		d.s.fail("a string is not valid UTF-8")
		return ""
	}
	v := alias(text)
	d.checkText("a text of the data", v, textMax)
	return v
}

func (d *Decoder) protoInteger(field string, n uint64) int64 {
	if n > integerMax {
		d.wrong(field, "must be an integer from 0 to 2^53")
		return 0
	}
	return int64(n)
}
