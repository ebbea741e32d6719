package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// filterBits is the size of the filter that says which identities may have been corrected.
const filterBits = 1 << 24

func (v *verification) filter(id [16]byte) (word *uint64, bit uint64) {
	n := binary.BigEndian.Uint32(id[:4]) % filterBits
	return &v.corrections[n/64], 1 << (n % 64)
}

// correction notes an entry of a correction.
func (v *verification) correction(l *logState, d *decision) error {
	word, bit := v.filter(d.identity)
	*word |= bit
	return v.note(l, d, uint64(d.position)+1)
}

// maybeCorrected notes a charge of an identity that may have been corrected.
func (v *verification) maybeCorrected(l *logState, d *decision) error {
	if word, bit := v.filter(d.identity); *word&bit == 0 {
		return nil
	}
	return v.note(l, d, 0)
}

// note keeps what a chain of corrections is checked with: the identity, then the order in its chain.
func (v *verification) note(l *logState, d *decision, order uint64) error {
	rates := uint64(d.model)*3 ^ uint64(d.price)*1_000_003 ^ uint64(d.factor)*1_000_000_007
	whom := uint64(d.path.user)*31 + uint64(d.path.account)*37 + uint64(d.path.section)*41 + uint64(d.path.cycle)*43
	for _, s := range d.path.scopes {
		whom = whom*1_000_003 + uint64(s)
	}
	return v.corrected.add([11]uint64{binary.BigEndian.Uint64(d.identity[:8]), binary.BigEndian.Uint64(d.identity[8:]), order, uint64(d.kind)<<56 | uint64(l.id), uint64(d.position),
		uint64(d.originLog), uint64(d.originPosition), uint64(d.credits), uint64(d.costs), rates, whom<<8 ^ uint64(d.micros)*0x9e3779b97f4a7c15})
}

// link of a chain, as it was noted.
type noted [11]uint64

func (n *noted) kind() byte   { return byte(n[3] >> 56) }
func (n *noted) at() spot     { return spot{n[3] & (1<<32 - 1), n[4]} }
func (n *noted) origin() spot { return spot{n[5], n[6]} }

// chain is the corrections of one identity, in order.
type chain struct {
	key    [2]uint64
	base   spot  // the event's own charge
	now    noted // the charge that counts
	undone noted // a reversal whose new charge is still to come
	open   bool
}

// correctionChains checks that each reversal takes back exactly the charge that counts, and that the new charge behind it
// is what the directory makes of the event (I4).
func (v *verification) correctionChains(ctx context.Context) error {
	again := &sorter[[4]uint64]{dir: v.Scratch}
	defer again.close()
	var c chain
	err := v.corrected.each(func(r [11]uint64) error {
		if key := [2]uint64{r[0], r[1]}; key != c.key || c.now[3] == 0 {
			v.closed(&c)
			c = chain{key: key}
		}
		n := noted(r)
		return v.follow(&c, &n, again)
	})
	if err != nil {
		return err
	}
	v.closed(&c)
	return v.redecided(ctx, again)
}

func (v *verification) closed(c *chain) {
	if c.open {
		v.results["I4"].fail("the reversal at %s has no new charge", v.spot(c.undone.at()))
	}
}

// follow checks the next link.
func (v *verification) follow(c *chain, n *noted, again *sorter[[4]uint64]) error {
	i4 := v.results["I4"]
	switch n.kind() {
	case charged:
		if c.now[3] == 0 { // a second one is I2's
			c.base, c.now = n.at(), *n
		}
	case reversal:
		i4.Checked++
		switch was := &c.now; {
		case was[3] == 0:
			i4.fail("the reversal at %s takes back nothing (%s)", v.spot(n.at()), v.spot(n.origin()))
		case n.origin() != was.at():
			i4.fail("the reversal at %s takes back %s, and the charge that counted was %s", v.spot(n.at()), v.spot(n.origin()), v.spot(was.at()))
		case n[7] != -was[7] || n[8] != -was[8] || n[9] != was[9] || n[10] != was[10]:
			i4.fail("the reversal at %s does not match the charge at %s", v.spot(n.at()), v.spot(was.at()))
		}
		v.closed(c)
		c.undone, c.open = *n, true
	case recharge:
		i4.Checked++
		if !c.open || n.origin() != c.undone.origin() {
			i4.fail("the new charge at %s has no reversal of %s", v.spot(n.at()), v.spot(n.origin()))
			return nil
		}
		c.open = false
		whom := n[10] != c.undone[10]
		if whom && (n[7] != -c.undone[7] || n[8] != -c.undone[8] || n[9] != c.undone[9]) {
			i4.fail("the new charge at %s changes both whom it charges and what", v.spot(n.at()))
		}
		was := c.now[3] != 0
		c.now = *n
		if was && c.base.log != 0 {
			return again.add([4]uint64{c.base.log, c.base.position, n[4], n[3] & (1<<32 - 1)})
		}
	}
	return nil
}

// redecided checks new charges against their events, as far as Kafka still has them: in the order of the events, so that
// Kafka is read once.
func (v *verification) redecided(ctx context.Context, again *sorter[[4]uint64]) error {
	logs := map[uint64]*logState{}
	for _, l := range v.logs {
		logs[uint64(l.id)] = l
	}
	var kafka *reader
	var e *event
	last := spot{}
	defer func() {
		if kafka != nil {
			kafka.close()
		}
	}()
	rows := recent{v: v}
	return again.each(func(r [4]uint64) error {
		at := spot{r[0], r[1]}
		if kafka == nil || at.log != last.log {
			if kafka != nil {
				kafka.close()
			}
			var err error
			if kafka, err = v.read(ctx, logs[at.log], int64(at.position)); err != nil {
				return err
			}
		}
		if at != last {
			last, e = at, nil
			rec, err := kafka.at(ctx, int64(at.position))
			if err != nil {
				return err
			}
			if rec != nil {
				if e, err = readEvent(rec, true); err != nil {
					v.results["I4"].fail("%s was charged and can't be read: %v", v.spot(at), err)
					e = nil
				}
			}
		}
		if e == nil {
			return nil
		}
		d, before, err := rows.entry(ctx, int64(r[3]), int64(r[2]))
		if err != nil {
			return err
		}
		v.again(e, d, before, logs[r[3]])
		return nil
	})
}

// again checks a new charge: where it charges whom it charged before, that was for the rates, and they must be those of the
// event's own time; else it was for whom.
func (v *verification) again(e *event, d, before *decision, l *logState) {
	if before.path != nil && !before.path.is(d.path) {
		if err := v.dir.whom(e, d); err != nil {
			v.results["I4"].fail("%s@%d: %v", l, d.position, err)
		}
		return
	}
	if err := v.cost(e, d); err != nil {
		v.results["I4"].fail("%s@%d: %v", l, d.position, err)
	}
}

// recent keeps the rows of corrections that were read last: events and their corrections are in the same order.
type recent struct {
	v    *verification
	rows []*correctionRow // last used last
}

type correctionRow struct {
	log, from, to int64
	body          body
}

const recentMax = 8

var errNoRow = errors.New("the row of a correction is gone")

// entry is the decision at a position of the log of corrections, and the reversal before it.
func (c *recent) entry(ctx context.Context, log, position int64) (d, before *decision, err error) {
	row, err := c.row(ctx, log, position)
	if err != nil {
		return nil, nil, err
	}
	n := int(position - row.from)
	if n < 1 || n >= len(row.body.decisions) || row.body.decisions[n].position != position {
		return nil, nil, fmt.Errorf("corrections@%d: %w", position, errNoRow)
	}
	return &row.body.decisions[n], &row.body.decisions[n-1], nil
}

func (c *recent) row(ctx context.Context, log, position int64) (*correctionRow, error) {
	for i, r := range c.rows {
		if r.log == log && r.from <= position && position < r.to {
			c.rows = append(append(c.rows[:i:i], c.rows[i+1:]...), r)
			return r, nil
		}
	}
	r := &correctionRow{log: log}
	var recorded int64
	var data []byte
	err := c.v.tx.QueryRow(ctx, `SELECT from_pos, to_pos, `+in("recorded_at")+`, body FROM journal WHERE offsets_id = $1 AND from_pos <= $2 AND to_pos > $2`, log, position).Scan(&r.from, &r.to, &recorded, &data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errNoRow
	}
	if err == nil {
		err = r.body.decode(data, r.from)
	}
	for i := range r.body.decisions {
		r.body.decisions[i].decided = recorded
	}
	if len(c.rows) == recentMax {
		c.rows = c.rows[1:]
	}
	c.rows = append(c.rows, r)
	return r, err
}
