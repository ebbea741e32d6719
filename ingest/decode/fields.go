package decode

import (
	"encoding/json"
	"strconv"

	"github.com/alchemi/cockpit/schemas/events"
	"golang.org/x/text/unicode/norm"
)

const (
	idMax       = 128 // bytes of id and source
	textMax     = 256 // bytes of every other short text
	integerMax  = 1 << 53
	decimalMax  = 32 // characters of a decimal
	costPlaces  = 12
	recordMax   = 1 << 20
	labelsMax   = 64 << 10
	samplesName = 80 // characters of a name that is quoted in a detail
)

// Rejection says why there is no event.
type Rejection struct {
	Reason events.Reason
	Detail string
}

// Error implements error.
func (r *Rejection) Error() string { return r.Reason.String() + ": " + r.Detail }

// Decoder reads events. It is not safe for concurrent use; the zero value is ready.
type Decoder struct {
	// Attributes asks for the fields that are not known.
	Attributes bool

	s          scanner
	seen       uint64 // fields, by bit
	rejected   Rejection
	attributes []byte
}

func (d *Decoder) reset(value []byte) {
	d.s.reset(value)
	d.seen, d.rejected, d.attributes = 0, Rejection{}, d.attributes[:0]
}

// wrong records the first field that is not as the schema says.
func (d *Decoder) wrong(field, what string) {
	if d.rejected.Reason == 0 {
		d.rejected = Rejection{events.Schema, field + " " + what}
	}
}

// once refuses a field that was there before.
func (d *Decoder) once(bit uint, field string) {
	if d.seen&(1<<bit) != 0 {
		d.s.fail(field + " is there twice")
	}
	d.seen |= 1 << bit
}

// text reads a short text; null is as if it were not there.
func (d *Decoder) text(field string, bytesMax int) string {
	switch d.s.peek() {
	case '"':
		v := d.s.str()
		if !d.s.plain || len(v) > bytesMax {
			d.checkText(field, v, bytesMax)
		}
		return v
	case 'n':
		if d.s.word("null") {
			return ""
		}
	}
	d.s.value()
	d.wrong(field, "must be a string")
	return ""
}

func (d *Decoder) checkText(field, v string, bytesMax int) {
	if len(v) > bytesMax {
		d.wrong(field, "has more than "+strconv.Itoa(bytesMax)+" bytes")
		return
	}
	var all byte
	for i := range len(v) {
		if v[i] == 0 {
			d.wrong(field, "has a zero character")
			return
		}
		all |= v[i]
	}
	if all >= 0x80 && !norm.NFC.IsNormalString(v) {
		d.wrong(field, "is not in Unicode form NFC")
	}
}

// integer reads an integer from 0 to 2⁵³, written without point or exponent.
func (d *Decoder) integer(field string) (n int64, ok bool) {
	c := d.s.peek()
	if n, plain := d.s.digits(); plain {
		return n, true
	}
	if c == 'n' && d.s.word("null") {
		return 0, false
	}
	if c != '-' && (c < '0' || c > '9') {
		d.s.value()
		d.wrong(field, "must be an integer")
		return 0, false
	}
	text := d.s.number()
	for _, c := range text {
		if c < '0' || c > '9' || n > integerMax {
			d.wrong(field, "must be an integer from 0 to 2^53")
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if n > integerMax {
		d.wrong(field, "must be an integer from 0 to 2^53")
		return 0, false
	}
	return n, true
}

// duration reads a number of milliseconds that is not negative, and cuts off what is finer.
func (d *Decoder) duration(field string) int64 {
	c := d.s.peek()
	if c == 'n' && d.s.word("null") {
		return 0
	}
	if n, plain := d.s.digits(); plain {
		return n
	}
	if c >= '0' && c <= '9' {
		text := d.s.number()
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && n <= integerMax {
			return n
		}
		if f, err := strconv.ParseFloat(string(text), 64); err == nil && f >= 0 && f <= integerMax {
			return int64(f)
		}
		d.wrong(field, "must be a number from 0 to 2^53")
		return 0
	}
	d.s.value()
	d.wrong(field, "must be a number that is not negative")
	return 0
}

// decimal reads a decimal that is not negative, in a string.
func (d *Decoder) decimal(field string) string {
	v := d.text(field, decimalMax)
	if v != "" && !isDecimal(v) {
		d.wrong(field, "must be a decimal like 0.0125, with at most 12 places, in a string")
		return ""
	}
	return v
}

func isDecimal(v string) bool {
	digits, places, point := 0, 0, false
	for i := range len(v) {
		switch c := v[i]; {
		case c == '.' && !point && digits > 0:
			point = true
		case c >= '0' && c <= '9':
			digits++
			if point {
				places++
			}
		default:
			return false
		}
	}
	return digits > 0 && places <= costPlaces && (!point || places > 0)
}

// attribute keeps a field that is not known, where it is asked for.
func (d *Decoder) attribute(name string) {
	value := d.s.value()
	if !d.Attributes || d.s.bad != "" {
		return
	}
	d.attributes = append(d.attributes, ',')
	quoted, err := json.Marshal(name)
	if err != nil {
		panic("BUG: a string that is no JSON: " + err.Error())
	}
	d.attributes = append(d.attributes, quoted...)
	d.attributes = append(d.attributes, ':')
	d.attributes = append(d.attributes, value...)
}

// kept is the object of all attributes, as text of its own.
func (d *Decoder) kept() string {
	if len(d.attributes) == 0 {
		return ""
	}
	d.attributes[0] = '{'
	return string(append(d.attributes, '}'))
}

// done is the rejection of what was read, nil if there is none.
func (d *Decoder) done() *Rejection {
	if d.s.bad != "" {
		d.rejected = Rejection{events.Malformed, d.s.bad}
	}
	if d.rejected.Reason != 0 {
		r := d.rejected
		return &r
	}
	return nil
}

// quoted is a name as a detail shows it.
func quoted(name string) string {
	if len(name) > samplesName {
		name = name[:samplesName]
	}
	return strconv.QuoteToASCII(name)
}
