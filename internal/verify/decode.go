package verify

import (
	"encoding/binary"
	"errors"
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

type path struct {
	account, section, user, cycle int64
	scopes                        []int64
}

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

// decode reads a body by the description of versions 1 and 2.
func decode(body []byte, from int64) ([]decision, error) {
	if len(body) == 0 {
		return nil, nil
	}
	version := body[0]
	if version != 1 && version != 2 {
		return nil, errBody
	}
	whole := column{b: body[1:]}
	var cols [9]column
	for i := range cols {
		n := whole.unsigned()
		if whole.bad || n < 0 || n > int64(len(whole.b)) {
			return nil, errBody
		}
		cols[i].b = whole.bytes(int(n))
	}
	kinds, positions, identities, times, paths, charges, reasons, homes, origins := &cols[0], &cols[1], &cols[2], &cols[3], &cols[4], &cols[5], &cols[6], &cols[7], &cols[8]
	known := decodePaths(paths, version)
	out := make([]decision, 0, len(kinds.b))
	at, micros := from-1, int64(0)
	for _, kind := range kinds.b {
		d := decision{kind: kind}
		at += positions.unsigned() + 1
		d.position = at
		copy(d.identity[:], identities.bytes(16))
		switch kind {
		case charged, observed, reversal, recharge, recorded:
			micros += times.signed()
			d.micros = micros
			p := charges.unsigned()
			if p >= int64(len(known)) {
				return nil, errBody
			}
			d.path = &known[p]
			if version > 1 {
				d.path = d.path.below(charges.unsigned(), charges.signed())
			}
			d.model, d.price, d.factor, d.flags = charges.unsigned(), charges.unsigned(), charges.unsigned(), charges.unsigned()
			d.credits, d.costs = charges.signed(), charges.signed()
		case quarantined:
			d.reason, d.account = reasons.bytes(1)[0], reasons.unsigned()
		case moved:
			d.home = homes.unsigned()
		}
		if kind == reversal || kind == recharge {
			d.originLog, d.originPosition = origins.unsigned(), origins.unsigned()
		}
		out = append(out, d)
	}
	for i := range cols {
		if cols[i].bad {
			return nil, errBody
		}
	}
	return out, nil
}

// below is the path with a membership and the user's row, which is given as its distance from the membership; 0 is none.
func (p *path) below(membership, toUser int64) *path {
	q := *p
	q.user = membership + toUser
	if membership != 0 {
		q.scopes = append(q.scopes[:len(q.scopes):len(q.scopes)], membership)
	}
	return &q
}

func decodePaths(c *column, version byte) []path {
	n := c.unsigned()
	var out []path
	for range n {
		if c.bad {
			return nil
		}
		p := path{account: c.unsigned(), section: c.unsigned()}
		if version == 1 {
			p.user = c.unsigned()
		}
		p.cycle = c.signed()
		for range c.unsigned() {
			if c.bad {
				return nil
			}
			p.scopes = append(p.scopes, c.unsigned())
		}
		out = append(out, p)
	}
	return out
}
