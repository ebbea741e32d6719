package balances

import (
	"slices"

	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/schemas/journal"
)

// Key is a scope in a cycle.
type Key struct {
	Scope      int64
	CycleStart int64 // Unix s
}

// Sum is what was charged to a scope in a cycle.
type Sum struct {
	Account, Section int64
	Credits          credit.Amount
	Events           int64 // charges less reversals
}

// Sums are amounts by scope and cycle.
type Sums map[Key]Sum

// Adder adds up journal bodies. It adds by path, and spreads the sums over the scopes once at the end, because a path has
// many scopes and comes again and again. Make it with NewAdder.
type Adder struct {
	paths  map[pathKey]*pathTotal
	byPath []pathSum // of the body at hand
}

// pathKey finds a path quickly; paths that differ may share one.
type pathKey struct {
	user, cycle, last int64
	scopes            int
}

type pathTotal struct {
	path journal.Path
	pathSum
	next *pathTotal // another path with the same key: a team that moved, for one
}

// pathSum is what was charged along a path.
type pathSum struct {
	credits credit.Amount
	events  int64
}

// NewAdder returns an adder that has added nothing.
func NewAdder() *Adder { return &Adder{paths: map[pathKey]*pathTotal{}} }

// Add adds what a body's charges and corrections debit. A sum that does not fit is credit.ErrOverflow.
func (a *Adder) Add(b *journal.Body) (err error) {
	a.byPath = append(a.byPath[:0], make([]pathSum, len(b.Paths))...)
	for i := range b.Entries {
		e := &b.Entries[i]
		var events int64
		switch e.Decision {
		case journal.Charged, journal.Recharge:
			events = 1
		case journal.Reversal:
			events = -1
		default:
			continue
		}
		p := &a.byPath[e.Charge.Path]
		p.events += events
		if p.credits, err = credit.Add(p.credits, credit.Amount(e.Charge.Credits)); err != nil {
			return err
		}
	}
	for i := range a.byPath {
		if a.byPath[i] == (pathSum{}) {
			continue
		}
		t := a.total(&b.Paths[i])
		t.events += a.byPath[i].events
		if t.credits, err = credit.Add(t.credits, a.byPath[i].credits); err != nil {
			return err
		}
	}
	return nil
}

// total is where a path's sums are.
func (a *Adder) total(p *journal.Path) *pathTotal {
	key := pathKey{user: p.UserScope, cycle: p.CycleStart, scopes: len(p.Scopes)}
	if key.scopes > 0 {
		key.last = p.Scopes[key.scopes-1]
	}
	first := a.paths[key]
	for t := first; t != nil; t = t.next {
		if t.path.Account == p.Account && t.path.Section == p.Section && slices.Equal(t.path.Scopes, p.Scopes) {
			return t
		}
	}
	t := &pathTotal{path: *p, next: first}
	t.path.Scopes = slices.Clone(p.Scopes)
	a.paths[key] = t
	return t
}

// Sums spreads what was added over the scopes of each path, and the user's row.
func (a *Adder) Sums() (Sums, error) {
	s := make(Sums, 2*len(a.paths))
	for _, t := range a.paths {
		for ; t != nil; t = t.next {
			for _, scope := range t.path.Scopes {
				if err := s.add(Key{scope, t.path.CycleStart}, t); err != nil {
					return nil, err
				}
			}
			if t.path.UserScope != 0 {
				if err := s.add(Key{t.path.UserScope, t.path.CycleStart}, t); err != nil {
					return nil, err
				}
			}
		}
	}
	return s, nil
}

func (s Sums) add(k Key, t *pathTotal) (err error) {
	sum := s[k]
	sum.Account, sum.Section = t.path.Account, t.path.Section
	sum.Events += t.events
	if sum.Credits, err = credit.Add(sum.Credits, t.credits); err != nil {
		return err
	}
	s[k] = sum
	return nil
}
