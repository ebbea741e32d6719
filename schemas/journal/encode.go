package journal

import "encoding/binary"

// Version is the format that Append writes.
const Version = 2

// number of columns of a body.
const columns = 9

// Encoder appends bodies, keeping its column buffers from one to the next. The zero value is ready; it is not safe for concurrent use.
type Encoder struct {
	column [columns][]byte
}

const (
	colDecisions = iota
	colPositions
	colIdentities
	colTimes
	colPaths
	colCharges
	colReasons
	colHomes
	colOrigins
)

// Append appends the encoding of b, whose row begins at position from, to dst. Positions must ascend and not be below from.
func (e *Encoder) Append(dst []byte, from int64, b *Body) []byte {
	for i := range e.column {
		e.column[i] = e.column[i][:0]
	}
	e.paths(b.Paths)
	last, lastTime := from-1, int64(0)
	for i := range b.Entries {
		en := &b.Entries[i]
		if en.Position <= last {
			panic("BUG: journal positions do not ascend")
		}
		e.column[colDecisions] = append(e.column[colDecisions], byte(en.Decision))
		e.column[colPositions] = binary.AppendUvarint(e.column[colPositions], uint64(en.Position-last-1))
		last = en.Position
		if en.Decision.HasIdentity() {
			e.column[colIdentities] = append(e.column[colIdentities], en.Identity[:]...)
		}
		if en.Decision.HasCharge() {
			e.column[colTimes] = binary.AppendVarint(e.column[colTimes], en.TimeMicros-lastTime)
			lastTime = en.TimeMicros
			e.charge(&en.Charge)
		}
		e.rest(en)
	}
	dst = append(dst, Version)
	for _, c := range e.column {
		dst = binary.AppendUvarint(dst, uint64(len(c)))
		dst = append(dst, c...)
	}
	return dst
}

func (e *Encoder) rest(en *Entry) {
	switch {
	case en.Decision == Quarantined:
		e.column[colReasons] = append(e.column[colReasons], byte(en.Reason))
		e.column[colReasons] = binary.AppendUvarint(e.column[colReasons], uint64(en.Account))
	case en.Decision == Moved:
		e.column[colHomes] = binary.AppendUvarint(e.column[colHomes], uint64(en.Home))
	case en.Decision.HasOrigin():
		c := binary.AppendUvarint(e.column[colOrigins], uint64(en.Origin.OffsetsID))
		e.column[colOrigins] = binary.AppendUvarint(c, uint64(en.Origin.Position))
	}
}

func (e *Encoder) charge(c *Charge) {
	b := e.column[colCharges]
	b = binary.AppendUvarint(b, uint64(c.Path))
	b = binary.AppendUvarint(b, uint64(c.Membership))
	b = binary.AppendVarint(b, c.User-c.Membership)
	b = binary.AppendUvarint(b, uint64(c.Model))
	b = binary.AppendUvarint(b, uint64(c.Price))
	b = binary.AppendUvarint(b, uint64(c.Factor))
	b = binary.AppendUvarint(b, uint64(c.Flags))
	b = binary.AppendVarint(b, c.Credits)
	e.column[colCharges] = binary.AppendVarint(b, c.Cost)
}

func (e *Encoder) paths(paths []Path) {
	b := binary.AppendUvarint(e.column[colPaths], uint64(len(paths)))
	for i := range paths {
		p := &paths[i]
		b = binary.AppendUvarint(b, uint64(p.Account))
		b = binary.AppendUvarint(b, uint64(p.Section))
		b = binary.AppendVarint(b, p.CycleStart)
		b = binary.AppendUvarint(b, uint64(len(p.Scopes)))
		for _, s := range p.Scopes {
			b = binary.AppendUvarint(b, uint64(s))
		}
	}
	e.column[colPaths] = b
}
