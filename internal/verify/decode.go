package verify

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Decisions, by their numbers in the journal's format (schemas/journal).
const (
	charged, duplicate, observed, quarantined, moved, reversal, recharge, recorded = 1, 2, 3, 4, 5, 6, 7, 8
)

var decisionNames = []string{"", "charged", "duplicate", "observed", "quarantined", "moved", "reversal", "recharge", "recorded"}

// decision is one event of a journal row.
type decision struct {
	kind                                        byte
	position                                    int64
	identity                                    [16]byte
	micros, decided                             int64 // Unix µs: the event's own time, the journal row's
	path                                        *path
	model, price, factor, flags, credits, costs int64
	reason                                      byte
	account, home, originLog, originPosition    int64
}

// charges says whether the event has a time, a path and a charge, be it of nothing.
func (d *decision) charges() bool {
	return d.kind == charged || d.kind == observed || d.kind >= reversal
}

type path struct {
	account, section, user, cycle int64
	scopes                        []int64
}

// is says whether two paths are of the same scopes.
func (p *path) is(o *path) bool { return p.user == o.user && slices.Equal(p.scopes, o.scopes) }

var errBody = errors.New("a journal body that is not as its format says")

// column reads one column of a body.
type column struct {
	b   []byte
	bad bool
}

func (c *column) unsigned() int64 {
	v, n := binary.Uvarint(c.b)
	return c.took(int64(v), n)
}

func (c *column) signed() int64 {
	v, n := binary.Varint(c.b)
	return c.took(v, n)
}

func (c *column) took(v int64, n int) int64 {
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *column) bytes(n int) []byte {
	if len(c.b) < n {
		c.bad = true
		return make([]byte, n)
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

// body is the decisions of a journal row. Its memory is used again for the next row.
type body struct {
	decisions []decision
	paths     []path // the dictionary, and of version 2 behind it each decision's own
	scopes    []int64
}

// decode reads a body by the description of versions 1 and 2.
func (b *body) decode(data []byte, from int64) error {
	b.decisions, b.paths, b.scopes = b.decisions[:0], b.paths[:0], b.scopes[:0]
	if len(data) == 0 {
		return nil
	}
	version := data[0]
	if version != 1 && version != 2 {
		return errBody
	}
	whole := column{b: data[1:]}
	var cols [9]column
	for i := range cols {
		n := whole.unsigned()
		if whole.bad || n < 0 || n > int64(len(whole.b)) {
			return errBody
		}
		cols[i].b = whole.bytes(int(n))
	}
	if len(whole.b) > 0 {
		return errBody
	}
	kinds := cols[0].b
	cols[0].b = nil
	b.readPaths(&cols[4], version)
	known := b.paths
	at, micros := from-1, int64(0)
	for _, kind := range kinds {
		if kind < charged || kind > recorded {
			return errBody
		}
		d := decision{kind: kind}
		at += cols[1].unsigned() + 1
		d.position = at
		copy(d.identity[:], cols[2].bytes(16))
		if d.charges() {
			micros += cols[3].signed()
			d.micros = micros
			c := &cols[5]
			p := c.unsigned()
			if p < 0 || p >= int64(len(known)) {
				return errBody
			}
			d.path = &known[p]
			if version > 1 {
				d.path = b.below(d.path, c.unsigned(), c.signed())
			}
			d.model, d.price, d.factor, d.flags = c.unsigned(), c.unsigned(), c.unsigned(), c.unsigned()
			d.credits, d.costs = c.signed(), c.signed()
		}
		switch kind {
		case quarantined:
			d.reason, d.account = cols[6].bytes(1)[0], cols[6].unsigned()
		case moved:
			d.home = cols[7].unsigned()
		case reversal, recharge:
			d.originLog, d.originPosition = cols[8].unsigned(), cols[8].unsigned()
		}
		b.decisions = append(b.decisions, d)
	}
	for i := range cols {
		if cols[i].bad || len(cols[i].b) > 0 {
			return errBody
		}
	}
	return nil
}

// below is a path with a membership and the user's row, which is given as its distance from the membership; 0 is none.
func (b *body) below(p *path, membership, toUser int64) *path {
	q := *p
	q.user = membership + toUser
	if membership != 0 {
		begin := len(b.scopes)
		b.scopes = append(append(b.scopes, p.scopes...), membership)
		q.scopes = b.scopes[begin:len(b.scopes):len(b.scopes)]
	}
	b.paths = append(b.paths, q)
	return &b.paths[len(b.paths)-1]
}

func (b *body) readPaths(c *column, version byte) {
	for range c.unsigned() {
		if c.bad {
			return
		}
		p := path{account: c.unsigned(), section: c.unsigned()}
		if version == 1 {
			p.user = c.unsigned()
		}
		p.cycle = c.signed()
		begin := len(b.scopes)
		for range c.unsigned() {
			if c.bad {
				return
			}
			b.scopes = append(b.scopes, c.unsigned())
		}
		p.scopes = b.scopes[begin:len(b.scopes):len(b.scopes)]
		b.paths = append(b.paths, p)
	}
}
