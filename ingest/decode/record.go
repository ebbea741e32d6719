package decode

import (
	"strings"
	"unicode/utf8"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

// envelope is a CloudEvent's context attributes as they are read.
type envelope struct {
	specversion, id, source, kind, time, contentType string
	micros                                           int64
}

// bits of fields in Decoder.seen: the envelope's first, then the data's.
const (
	bitSpecversion = iota
	bitID
	bitSource
	bitType
	bitTime
	bitContentType
	bitData
	bitsOfData
)

// mode is how a record holds an event.
type mode uint8

const (
	structured mode = iota
	binaryJSON
	binaryProtobuf
)

// open finds out the record's mode, and reads the envelope of binary mode.
func (d *Decoder) open(rec *kgo.Record, want string, e *envelope) (mode, *Rejection) {
	*e = envelope{}
	contentType, isBinary := "", false
	for i := range rec.Headers {
		h := &rec.Headers[i]
		switch {
		case strings.EqualFold(h.Key, "content-type"):
			contentType = alias(h.Value)
		case len(h.Key) > 3 && h.Key[:3] == "ce_":
			isBinary = true
		}
	}
	if len(rec.Value) > recordMax {
		return 0, &Rejection{events.TooLarge, "the record is larger than 1 MiB"}
	}
	if len(rec.Value) == 0 {
		return 0, &Rejection{events.Malformed, "the record is empty"}
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	switch {
	case strings.HasPrefix(media, "application/cloudevents") && media != "application/cloudevents+json":
		return 0, &Rejection{events.Malformed, "content-type " + quoted(media) + " is not read; send application/cloudevents+json or binary mode"}
	case media == "application/cloudevents+json" || !isBinary:
		return structured, d.checkUTF8(rec.Value)
	}
	d.binary(rec, e)
	d.checkEnvelope(want, e)
	if media == "application/protobuf" || media == "application/x-protobuf" {
		return binaryProtobuf, nil
	}
	if media != "" && media != "application/json" && !strings.HasSuffix(media, "+json") {
		return 0, &Rejection{events.Malformed, "content-type " + quoted(media) + " is not read"}
	}
	return binaryJSON, d.checkUTF8(rec.Value)
}

func (d *Decoder) checkUTF8(value []byte) *Rejection {
	if !d.s.plain && !utf8.Valid(value) {
		return &Rejection{events.Malformed, "no valid UTF-8"}
	}
	return nil
}

// binary reads the context attributes from the headers.
func (d *Decoder) binary(rec *kgo.Record, e *envelope) {
	for i := range rec.Headers {
		h := &rec.Headers[i]
		if !utf8.Valid(h.Value) {
			d.wrong(quoted(h.Key), "is not valid UTF-8")
			continue
		}
		v := alias(h.Value)
		switch h.Key {
		case "ce_specversion":
			e.specversion = v
		case "ce_id":
			e.id = v
			d.checkText("id", v, idMax)
		case "ce_source":
			e.source = v
			d.checkText("source", v, idMax)
		case "ce_type":
			e.kind = v
		case "ce_time":
			e.time = v
		}
	}
}

// attributeOf reads one context attribute of a structured event; false if the name is none.
func (d *Decoder) attributeOf(name string, e *envelope) bool {
	switch name {
	case "specversion":
		d.once(bitSpecversion, name)
		e.specversion = d.text(name, textMax)
	case "id":
		d.once(bitID, name)
		e.id = d.text(name, idMax)
	case "source":
		d.once(bitSource, name)
		e.source = d.text(name, idMax)
	case "type":
		d.once(bitType, name)
		e.kind = d.text(name, textMax)
	case "time":
		d.once(bitTime, name)
		e.time = d.text(name, textMax)
	case "datacontenttype":
		d.once(bitContentType, name)
		e.contentType = d.text(name, textMax)
	default:
		return false
	}
	return true
}

// checkEnvelope checks the context attributes once all are read.
func (d *Decoder) checkEnvelope(want string, e *envelope) {
	if e.specversion != "1.0" {
		d.wrong("specversion", "must be 1.0")
	}
	if e.id == "" {
		d.wrong("id", "is missing")
	}
	if e.source == "" {
		d.wrong("source", "is missing")
	}
	if e.kind != want {
		d.wrong("type", "must be "+want+" on this topic")
	}
	if e.contentType != "" && e.contentType != "application/json" && !strings.HasSuffix(e.contentType, "+json") {
		d.wrong("datacontenttype", "must be application/json in structured mode")
	}
	var ok bool
	if e.micros, ok = parseTime(e.time); !ok {
		d.wrong("time", "must be a time like 2026-11-23T08:00:00.123Z (RFC 3339)")
	}
}

// structured reads a whole structured event; data is called at its data.
func (d *Decoder) structured(want string, e *envelope, data func()) {
	if !d.s.enter('{') {
		return
	}
	first := true
	for name, ok := d.s.field(&first); ok; name, ok = d.s.field(&first) {
		switch {
		case name == "data":
			d.once(bitData, name)
			data()
		case !d.attributeOf(name, e):
			d.attribute(name)
		}
	}
	d.s.end()
	if d.seen&(1<<bitData) == 0 {
		d.wrong("data", "is missing")
	}
	d.checkEnvelope(want, e)
}

// object reads an object of data; read is called at each field's value.
func (d *Decoder) object(read func(name string)) {
	if d.s.peek() != '{' {
		d.s.value()
		d.wrong("data", "must be an object")
		return
	}
	d.s.enter('{')
	first := true
	for name, ok := d.s.field(&first); ok; name, ok = d.s.field(&first) {
		read(name)
	}
}
