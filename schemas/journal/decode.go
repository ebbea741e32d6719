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
	b.Paths, b.Entries, b.scopes, b.users = b.Paths[:0], b.Entries[:0], b.scopes[:0], b.users[:0]
	if len(data) == 0 {
		return nil
	}
	var cols [columns]reader
	if err := split(data, &cols); err != nil {
		return err
	}
	version := data[0]
	if err := b.decodePaths(&cols[colPaths], version); err != nil {
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
			en.Charge = cols[colCharges].charge(version)
			if en.Charge.Path >= len(b.Paths) {
				return fmt.Errorf("%w: path %d of %d", ErrCorrupt, en.Charge.Path, len(b.Paths))
			}
			if version == 1 {
				en.Charge.User = b.users[en.Charge.Path]
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

// Identities appends to hashes and micros the identities and times (Unix µs) of a row's charged, observed and recorded
// events: those that make later events duplicates. It reads nothing else, and is many times faster than Decode.
func Identities(data []byte, hashes [][16]byte, micros []int64) ([][16]byte, []int64, error) {
	if len(data) == 0 {
		return hashes, micros, nil
	}
	var cols [columns]reader
	if err := split(data, &cols); err != nil {
		return hashes, micros, err
	}
	identities, times := cols[colIdentities].data, &cols[colTimes]
	var last int64
	for _, b := range cols[colDecisions].data {
		d := Decision(b)
		var identity []byte
		if d.HasIdentity() {
			if len(identities) < 16 {
				return hashes, micros, fmt.Errorf("%w: column %d", ErrCorrupt, colIdentities)
			}
			identity, identities = identities[:16], identities[16:]
		}
		if d.HasCharge() {
			last += times.varint()
		}
		if d.Remembered() {
			hashes, micros = append(hashes, [16]byte(identity)), append(micros, last)
		}
	}
	if len(identities) > 0 || times.bad || len(times.data) > 0 {
		return hashes, micros, fmt.Errorf("%w: identities and times do not fit the decisions", ErrCorrupt)
	}
	return hashes, micros, nil
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
	if data[0] != Version && data[0] != 1 {
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

func (b *Body) decodePaths(r *reader, version byte) error {
	n := r.uvarint()
	if n > uint64(len(r.data)) {
		return fmt.Errorf("%w: %d paths", ErrCorrupt, n)
	}
	for range n {
		p := Path{Account: int64(r.uvarint()), Section: int64(r.uvarint())}
		if version == 1 {
			b.users = append(b.users, int64(r.uvarint()))
		}
		p.CycleStart = r.varint()
		m := r.uvarint()
		if m > uint64(len(r.data)) {
			return fmt.Errorf("%w: %d scopes", ErrCorrupt, m)
		}
		begin := len(b.scopes)
		for range m {
			b.scopes = append(b.scopes, int64(r.uvarint()))
		}
		p.Scopes = b.scopes[begin:len(b.scopes):len(b.scopes)]
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

func (r *reader) charge(version byte) (c Charge) {
	c.Path = int(r.upTo(math.MaxInt32))
	if version > 1 {
		c.Membership = int64(r.uvarint())
		c.User = c.Membership + r.varint()
	}
	c.Model, c.Price, c.Factor = int64(r.uvarint()), int64(r.uvarint()), int64(r.uvarint())
	c.Flags = events.Flag(r.upTo(math.MaxUint32))
	c.Credits, c.Cost = r.varint(), r.varint()
	return c
}
