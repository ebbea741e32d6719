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
	d.message(data, func(f protoField) {
		switch {
		case f.isText && int(f.number) < len(texts) && texts[f.number] != nil:
			*texts[f.number] = d.protoText(f.text)
		case f.is(12, true):
			name, _, count := d.entry(f.text, false)
			n := d.protoInteger("quantities."+quoted(name), count)
			if quantity, known := events.ParseQuantity(name); known {
				u.Quantities.Set(quantity, n)
			}
		case f.is(13, false):
			u.LatencyMS = d.protoInteger("latency_ms", f.n)
		case f.is(15, true):
			if labels == nil {
				labels = map[string]string{}
			}
			name, value, _ := d.entry(f.text, true)
			labels[name] = value
		}
	})
	if u.CostUSD != "" && (len(u.CostUSD) > decimalMax || !isDecimal(u.CostUSD)) {
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
	d.message(data, func(f protoField) {
		switch {
		case f.isText && int(f.number) < len(texts) && texts[f.number] != nil:
			*texts[f.number] = d.protoText(f.text)
		case f.is(17, false):
			g.GuardrailVersion = d.protoInteger("guardrail_version", f.n)
		case f.is(18, false):
			g.MatchCount = d.protoInteger("match_count", f.n)
		case f.is(19, false):
			g.LatencyMS = d.protoInteger("latency_ms", f.n)
		}
	})
	if g.Confidence != "" && g.Confidence != "1" && (!isDecimal(g.Confidence) || g.Confidence[0] != '0') {
		d.wrong("confidence", "must be a number from 0 to 1")
	}
}

// protoField is a field of a message: length-delimited or a varint.
type protoField struct {
	number protowire.Number
	isText bool
	text   []byte
	n      uint64
}

func (f protoField) is(number protowire.Number, isText bool) bool {
	return f.number == number && f.isText == isText
}

// message calls f for each field. Other kinds are passed over, as are fields whose kind is not the schema's: protobuf does not know those.
func (d *Decoder) message(data []byte, f func(protoField)) {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n >= 0 && number > protowire.MaxValidNumber {
			d.s.fail("protobuf: a field's number is none")
			return
		}
		if n < 0 {
			d.s.fail("protobuf: " + protowire.ParseError(n).Error())
			return
		}
		data = data[n:]
		field := protoField{number: number, isText: kind == protowire.BytesType}
		switch kind {
		case protowire.BytesType:
			field.text, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			field.n, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			d.s.fail("protobuf: " + protowire.ParseError(n).Error())
			return
		}
		data = data[n:]
		if kind == protowire.BytesType || kind == protowire.VarintType {
			f(field)
		}
	}
}

// entry is one entry of a map, whose values are texts or else integers.
func (d *Decoder) entry(data []byte, ofTexts bool) (key, value string, n uint64) {
	d.message(data, func(f protoField) {
		switch {
		case f.is(1, true):
			key = d.protoText(f.text)
		case f.is(2, ofTexts) && ofTexts:
			value = d.protoText(f.text)
		case f.is(2, ofTexts):
			n = f.n
		}
	})
	return key, value, n
}

func (d *Decoder) protoText(text []byte) string {
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
