package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/alchemi/cockpit/schemas/events"
)

// ErrCorrupt is wrapped by every error of Decode: the bytes are no journal body.
var ErrCorrupt = errors.New("corrupt journal body")

// Decode reads the body of a row that begins at position from into b, reusing b's memory. An empty body (a loss) has no entries.
func Decode(data []byte, from int64, b *Body) error {
	b.Paths, b.Entries = b.Paths[:0], b.Entries[:0]
	if len(data) == 0 {
		return nil
	}
	var cols [columns]reader
	if err := split(data, &cols); err != nil {
		return err
	}
	if err := b.decodePaths(&cols[colPaths]); err != nil {
		return err
	}
	last, lastTime := from-1, int64(0)
	for _, d := range cols[colDecisions].data {
		en := Entry{Decision: Decision(d)}
		if en.Decision < Charged || en.Decision > Skipped {
			return fmt.Errorf("%w: decision %d", ErrCorrupt, d)
		}
		gap := cols[colPositions].uvarint()
		if gap >= uint64(math.MaxInt64-max(last, -1)) {
			return fmt.Errorf("%w: a position beyond 63 bits", ErrCorrupt)
		}
		last += int64(gap) + 1
		en.Position = last
		if en.Decision.HasIdentity() {
			copy(en.Identity[:], cols[colIdentities].bytes(16))
		}
		if en.Decision.HasCharge() {
			lastTime += cols[colTimes].varint()
			en.TimeMicros = lastTime
			en.Charge = cols[colCharges].charge()
			if en.Charge.Path >= len(b.Paths) {
				return fmt.Errorf("%w: path %d of %d", ErrCorrupt, en.Charge.Path, len(b.Paths))
			}
		}
		en.decodeRest(&cols)
		b.Entries = append(b.Entries, en)
	}
	for i := range cols {
		if i != colDecisions && (cols[i].bad || len(cols[i].data) > 0) {
			return fmt.Errorf("%w: column %d", ErrCorrupt, i)
		}
	}
	return nil
}

func (en *Entry) decodeRest(cols *[columns]reader) {
	switch {
	case en.Decision == Quarantined:
		if b := cols[colReasons].bytes(1); len(b) == 1 {
			en.Reason = events.Reason(b[0])
		}
		en.Account = int64(cols[colReasons].uvarint())
	case en.Decision == Moved:
		en.Home = int32(cols[colHomes].upTo(math.MaxInt32))
	case en.Decision.HasOrigin():
		en.Origin.OffsetsID = int64(cols[colOrigins].uvarint())
		en.Origin.Position = int64(cols[colOrigins].uvarint())
	}
}

func split(data []byte, cols *[columns]reader) error {
	if data[0] != Version {
		return fmt.Errorf("%w: version %d", ErrCorrupt, data[0])
	}
	data = data[1:]
	for i := range cols {
		n, w := binary.Uvarint(data)
		if w <= 0 || n > uint64(len(data)-w) {
			return fmt.Errorf("%w: length of column %d", ErrCorrupt, i)
		}
		cols[i].data = data[w : w+int(n)]
		data = data[w+int(n):]
	}
	if len(data) > 0 {
		return fmt.Errorf("%w: %d bytes behind the last column", ErrCorrupt, len(data))
	}
	return nil
}

func (b *Body) decodePaths(r *reader) error {
	n := r.uvarint()
	if n > uint64(len(r.data)) {
		return fmt.Errorf("%w: %d paths", ErrCorrupt, n)
	}
	for range n {
		p := Path{Account: int64(r.uvarint()), Section: int64(r.uvarint()), UserScope: int64(r.uvarint()), CycleStart: r.varint()}
		m := r.uvarint()
		if m > uint64(len(r.data)) {
			return fmt.Errorf("%w: %d scopes", ErrCorrupt, m)
		}
		p.Scopes = make([]int64, m)
		for i := range p.Scopes {
			p.Scopes[i] = int64(r.uvarint())
		}
		b.Paths = append(b.Paths, p)
	}
	return nil
}

// reader takes values from the front of a column; what is not there reads as zero and sets bad.
type reader struct {
	data []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

// upTo is a uvarint that must not be above limit.
func (r *reader) upTo(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.bad, r.data = true, nil
		return 0
	}
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) bytes(n int) []byte {
	if len(r.data) < n {
		r.bad, r.data = true, nil
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) charge() Charge {
	return Charge{
		Path: int(r.upTo(math.MaxInt32)), Model: int64(r.uvarint()), Price: int64(r.uvarint()), Factor: int64(r.uvarint()),
		Flags: events.Flag(r.upTo(math.MaxUint32)), Credits: r.varint(), Cost: r.varint(),
	}
}
