package balances

import (
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/schemas/journal"
)

// PageScopes is how many neighbouring scopes a page holds. It is part of the schema (balance_pages).
const PageScopes = 64

// PageKey names the page of a section's tree in a cycle that a scope is on.
type PageKey struct {
	TreeKey
	Page int64 // scope ÷ PageScopes
}

// PageOf is where a scope's balance stands.
func PageOf(tree TreeKey, scope int64) (key PageKey, slot int) {
	return PageKey{tree, scope / PageScopes}, int(scope % PageScopes)
}

// Page is what was charged to neighbouring scopes in a cycle.
type Page [PageScopes]Sum

// Sum is what was charged to a scope in a cycle.
type Sum struct {
	Credits credit.Amount
	Events  int64 // charges less reversals
}

// add adds another sum. One that does not fit is credit.ErrOverflow.
func (s *Sum) add(o Sum) (err error) {
	s.Events += o.Events
	s.Credits, err = credit.Add(s.Credits, o.Credits)
	return err
}

// Sums are amounts by scope and cycle.
type Sums map[PageKey]*Page

// Of is the sum of a scope.
func (s Sums) Of(tree TreeKey, scope int64) Sum {
	key, slot := PageOf(tree, scope)
	if p := s[key]; p != nil {
		return p[slot]
	}
	return Sum{}
}

func (s Sums) add(tree TreeKey, scope int64, sum Sum) error {
	key, slot := PageOf(tree, scope)
	p := s[key]
	if p == nil {
		p = &Page{}
		s[key] = p
	}
	return p[slot].add(sum)
}

// Adder adds up journal bodies. It adds by path first, and spreads a path's sum over its scopes once a body. The zero value
// has no sums; make it with NewAdder.
type Adder struct {
	Sums   Sums
	byPath []Sum // of the body at hand
}

// NewAdder returns an adder that has added nothing.
func NewAdder() *Adder { return &Adder{Sums: Sums{}} }

// Add adds what a body's charges and corrections debit. A sum that does not fit is credit.ErrOverflow.
func (a *Adder) Add(b *journal.Body) error {
	if n := len(b.Paths); cap(a.byPath) < n {
		a.byPath = make([]Sum, n)
	}
	a.byPath = a.byPath[:len(b.Paths)]
	clear(a.byPath)
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
		if err := a.byPath[e.Charge.Path].add(Sum{credit.Amount(e.Charge.Credits), events}); err != nil {
			return err
		}
	}
	for i := range b.Paths {
		if a.byPath[i] == (Sum{}) {
			continue
		}
		if err := a.spread(&b.Paths[i], a.byPath[i]); err != nil {
			return err
		}
	}
	return nil
}

// spread adds a sum to every scope of a path, and to the user's row.
func (a *Adder) spread(p *journal.Path, sum Sum) error {
	tree := TreeKey{p.Account, p.Section, p.CycleStart}
	for _, scope := range p.Scopes {
		if err := a.Sums.add(tree, scope, sum); err != nil {
			return err
		}
	}
	if p.UserScope == 0 {
		return nil
	}
	return a.Sums.add(tree, p.UserScope, sum)
}
