package balances

import (
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

// pathSum is what the events of one body charged along one of its paths.
type pathSum struct {
	credits credit.Amount
	events  int64
}

// Add adds what a body's charges and corrections debit. A sum that does not fit is credit.ErrOverflow.
func (s Sums) Add(b *journal.Body) error {
	byPath := make([]pathSum, len(b.Paths))
	var err error
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
		p := &byPath[e.Charge.Path]
		p.events += events
		if p.credits, err = credit.Add(p.credits, credit.Amount(e.Charge.Credits)); err != nil {
			return err
		}
	}
	for i := range byPath {
		if byPath[i] == (pathSum{}) {
			continue
		}
		p := &b.Paths[i]
		for _, scope := range p.Scopes {
			if err := s.add(Key{scope, p.CycleStart}, p, byPath[i]); err != nil {
				return err
			}
		}
		if p.UserScope != 0 {
			if err := s.add(Key{p.UserScope, p.CycleStart}, p, byPath[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s Sums) add(k Key, p *journal.Path, by pathSum) (err error) {
	sum := s[k]
	sum.Account, sum.Section = p.Account, p.Section
	sum.Events += by.events
	if sum.Credits, err = credit.Add(sum.Credits, by.credits); err != nil {
		return err
	}
	s[k] = sum
	return nil
}
