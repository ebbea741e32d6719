package allocation

import (
	"errors"
	"fmt"

	"github.com/alchemi/cockpit/metering/credit"
)

// Source says where an effective allocation comes from.
type Source string

// The sources.
const (
	FromOverride Source = "override"
	FromFixed    Source = "fixed"
	FromEqual    Source = "equal"
	FromAncestor Source = "inherited"
	FromCap      Source = "cap" // it has none, or more than its cap: the cap binds
	FromNowhere  Source = "none"
)

// Effective is what a scope really has.
type Effective struct {
	Allocation  credit.Amount // where Limited
	Limited     bool          // false: neither it nor an ancestor has an allocation, and it has no cap
	Source      Source
	BeforeCap   Source         // what Source would be without the cap: never FromCap
	Cap         *credit.Amount // nil: none
	Own         bool           // it has an allocation or a cap of its own, and so can bind
	Unallocated credit.Amount  // of scopes with an allocation of their own: what their descendants have not set aside
}

// CapBinds says whether the cap is what limits the scope.
func (e *Effective) CapBinds() bool { return e.Source == FromCap }

// Shortfall is a scope whose descendants set aside more than it has. It is the error of a change that would make it so.
type Shortfall struct {
	Scope   int64
	Missing credit.Amount
}

func (s Shortfall) Error() string {
	return fmt.Sprintf("scope %d: %s are missing: what is set aside below it is more than it has", s.Scope, s.Missing)
}

// Tree is the effective allocations of one section's scopes. Make it with Evaluate.
type Tree struct {
	Effective  map[int64]Effective
	Shortfalls []Shortfall // ancestors before their descendants
}

// Refusal is nil where no Unallocated is below zero. Otherwise it names every scope that lacks something, and how much;
// errors.As finds the first as a Shortfall.
func (t *Tree) Refusal() error {
	errs := make([]error, len(t.Shortfalls))
	for i, s := range t.Shortfalls {
		errs[i] = s
	}
	return errors.Join(errs...)
}

// Evaluate computes what every scope has. The package's comment says what is an error; scopes that set aside too much
// are in Shortfalls, and the equal shares below them are nothing.
func Evaluate(scopes []Scope) (*Tree, error) {
	sorted, parents, err := order(scopes)
	if err != nil {
		return nil, err
	}
	e := evaluation{scopes: scopes, parents: parents, pools: make([]pool, len(scopes)), effective: make([]Effective, len(scopes)),
		tree: &Tree{Effective: make(map[int64]Effective, len(scopes))}}
	for _, i := range sorted {
		if err := e.draw(i); err != nil {
			return nil, err
		}
	}
	for _, i := range sorted {
		if err := e.settle(i); err != nil {
			return nil, err
		}
		e.tree.Effective[scopes[i].ID] = e.effective[i]
	}
	return e.tree, nil
}

type evaluation struct {
	tree      *Tree
	scopes    []Scope
	parents   []int32
	pools     []pool      // by scope
	effective []Effective // by scope
}

// pool is what a scope draws on, and what is drawn from it.
type pool struct {
	above     int32 // the nearest ancestor with an allocation, −1: none has one
	allocates bool  // it has an allocation itself
	equal     int64 // how many equal shares are drawn from it
	setAside  credit.Amount
	share     credit.Amount
}

// draw counts what scope i sets aside from above. Its ancestors have been through it.
func (e *evaluation) draw(i int32) error {
	s, p := &e.scopes[i], &e.pools[i]
	if err := s.validate(); err != nil {
		return err
	}
	p.above = -1
	if parent := e.parents[i]; parent >= 0 {
		p.above = e.pools[parent].above
		if e.pools[parent].allocates {
			p.above = parent
		}
	}
	amount, _, own := s.own()
	p.allocates = own || s.Planned == Equal && p.above >= 0
	if p.above < 0 || !p.allocates {
		return nil
	}
	above := &e.pools[p.above]
	if !own {
		above.equal++
		return nil
	}
	var err error
	if above.setAside, err = credit.Add(above.setAside, amount); err != nil {
		return fmt.Errorf("scope %d: what is set aside below it: %w", e.scopes[p.above].ID, err)
	}
	return nil
}

// settle computes what scope i has. Its ancestors are settled.
func (e *evaluation) settle(i int32) error {
	s, p, eff := &e.scopes[i], &e.pools[i], &e.effective[i]
	amount, source, own := s.own()
	switch {
	case own:
	case p.allocates:
		amount, source = e.pools[p.above].share, FromEqual
	case e.parents[i] >= 0 && e.effective[e.parents[i]].Limited:
		amount, source = e.effective[e.parents[i]].Allocation, FromAncestor
	}
	if p.allocates {
		var err error
		if amount, err = credit.Add(amount, s.Rollover); err != nil {
			return fmt.Errorf("scope %d: its allocation and rollover: %w", s.ID, err)
		}
	}
	*eff = Effective{Allocation: amount, Limited: source != FromNowhere, Source: source, BeforeCap: source, Cap: s.cap()}
	eff.Own = p.allocates || eff.Cap != nil
	if eff.Cap != nil && (!eff.Limited || *eff.Cap < eff.Allocation) {
		eff.Allocation, eff.Limited, eff.Source = *eff.Cap, true, FromCap
	}
	if p.allocates {
		e.divide(s, p, eff)
	}
	return nil
}

// divide finds the equal share of those that draw on s, and what is left.
func (e *evaluation) divide(s *Scope, p *pool, eff *Effective) {
	eff.Unallocated = eff.Allocation - p.setAside // neither is below zero, so that it fits
	if eff.Unallocated < 0 {
		e.tree.Shortfalls = append(e.tree.Shortfalls, Shortfall{Scope: s.ID, Missing: -eff.Unallocated})
		return
	}
	if p.equal > 0 {
		p.share = eff.Unallocated / credit.Amount(p.equal)
		eff.Unallocated %= credit.Amount(p.equal)
	}
}
