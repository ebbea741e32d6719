package decode

import (
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bits of a usage event's data; quantities have bits of their own behind them.
const (
	bitAccount = iota + bitsOfData
	bitSection
	bitUser
	bitTeam
	bitModel
	bitOperation
	bitAgent
	bitTool
	bitStatus
	bitReservation
	bitTraceID
	bitLatency
	bitCost
	bitLabels
	bitQuantities
	bitsOfQuantities
)

// Usage reads a usage event.
func (d *Decoder) Usage(rec *kgo.Record, u *events.Usage) *Rejection {
	*u = events.Usage{}
	d.reset(rec.Value)
	var e envelope
	mode, rejection := d.open(rec, events.TypeUsage, &e)
	if rejection != nil {
		u.ID, u.Source = e.id, e.source
		return rejection
	}
	switch mode {
	case structured:
		d.structured(events.TypeUsage, &e, func() { d.usage(u) })
	case binaryJSON:
		d.usage(u)
		d.s.end()
	case binaryProtobuf:
		d.usageProtobuf(rec.Value, u)
	}
	u.ID, u.Source, u.TimeMicros = e.id, e.source, e.micros
	d.checkUsage(u)
	u.Attributes = d.kept()
	return d.done()
}

func (d *Decoder) checkUsage(u *events.Usage) {
	switch {
	case u.Account == "":
		d.wrong("account", "is missing")
	case u.Section == "":
		d.wrong("section", "is missing")
	case u.User == "" && u.Team == "":
		d.wrong("user", "is missing, and so is team")
	case u.Model == "":
		d.wrong("model", "is missing")
	case u.Quantities.Present == 0:
		d.wrong("quantities", "has none that is known")
	}
}

// usage reads the data.
func (d *Decoder) usage(u *events.Usage) {
	d.object(func(name string) {
		bit, text := usageText(u, name)
		if text != nil {
			d.once(bit, name)
			*text = d.text(name, textMax)
			return
		}
		switch name {
		case "quantities":
			d.once(bitQuantities, name)
			d.quantities(&u.Quantities)
		case "latency_ms":
			d.once(bitLatency, name)
			u.LatencyMS = d.duration(name)
		case "cost_usd":
			d.once(bitCost, name)
			u.CostUSD = d.decimal(name)
		case "labels":
			d.once(bitLabels, name)
			u.Labels = d.labels()
		default:
			d.attribute(name)
		}
	})
}

// usageText is the place of a field that is a short text; nil if the name is none.
func usageText(u *events.Usage, name string) (bit uint, text *string) {
	switch name {
	case "account":
		return bitAccount, &u.Account
	case "section":
		return bitSection, &u.Section
	case "user":
		return bitUser, &u.User
	case "team":
		return bitTeam, &u.Team
	case "model":
		return bitModel, &u.Model
	case "operation":
		return bitOperation, &u.Operation
	case "agent":
		return bitAgent, &u.Agent
	case "tool":
		return bitTool, &u.Tool
	case "status":
		return bitStatus, &u.Status
	case "reservation":
		return bitReservation, &u.Reservation
	case "trace_id":
		return bitTraceID, &u.TraceID
	}
	return 0, nil
}

func (d *Decoder) quantities(q *events.Quantities) {
	if d.s.peek() != '{' {
		d.s.value()
		d.wrong("quantities", "must be an object")
		return
	}
	d.s.enter('{')
	first := true
	for name, ok := d.s.field(&first); ok; name, ok = d.s.field(&first) {
		quantity, known := events.ParseQuantity(name)
		if !known {
			d.integer("quantities." + quoted(name))
			continue
		}
		d.once(bitsOfQuantities+uint(quantity), name)
		if n, given := d.integer(name); given {
			q.Set(quantity, n)
		}
	}
}

// labels checks an object of strings and returns its text.
func (d *Decoder) labels() string {
	if d.s.peek() == 'n' && d.s.word("null") {
		return ""
	}
	start := d.s.i
	d.object(func(string) {
		if d.s.peek() != '"' {
			d.s.value()
			d.wrong("labels", "must be an object of strings")
			return
		}
		d.s.str()
	})
	if d.s.bad != "" {
		return ""
	}
	if d.s.i-start > labelsMax {
		d.wrong("labels", "has more than 64 KiB")
		return ""
	}
	return alias(d.s.b[start:d.s.i])
}
