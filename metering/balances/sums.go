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
	return s.page(key)[slot].add(sum)
}

func (s Sums) page(key PageKey) *Page {
	p := s[key]
	if p == nil {
		p = &Page{}
		s[key] = p
	}
	return p
}

// Adder adds up journal bodies. What members of a team share is added up by path first, and spread over the path's scopes
// once a body. Make it with NewAdder.
type Adder struct {
	Sums   Sums
	byPath []Sum // of the body at hand
	key    PageKey
	page   *Page // the page of key: neighbours come together
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
		sum := Sum{credit.Amount(e.Charge.Credits), events}
		if err := a.byPath[e.Charge.Path].add(sum); err != nil {
			return err
		}
		p := &b.Paths[e.Charge.Path]
		tree := TreeKey{p.Account, p.Section, p.CycleStart}
		if err := a.scope(tree, e.Charge.Membership, sum); err != nil {
			return err
		}
		if err := a.scope(tree, e.Charge.User, sum); err != nil {
			return err
		}
	}
	for i := range b.Paths {
		p := &b.Paths[i]
		for _, scope := range p.Scopes {
			if err := a.scope(TreeKey{p.Account, p.Section, p.CycleStart}, scope, a.byPath[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// scope adds to one scope; 0 is none.
func (a *Adder) scope(tree TreeKey, scope int64, sum Sum) error {
	if scope == 0 || sum == (Sum{}) {
		return nil
	}
	key, slot := PageOf(tree, scope)
	if a.page == nil || key != a.key {
		a.key, a.page = key, a.Sums.page(key)
	}
	return a.page[slot].add(sum)
}
