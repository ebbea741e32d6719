package allocation

import (
	"fmt"
	"math/bits"

	"github.com/alchemi/cockpit/metering/credit"
)

// Planned is how a scope's allocation is set aside from its parent's.
type Planned uint8

// The ways.
const (
	Inherited Planned = iota // nothing is set aside
	Fixed
	Equal
)

// Scope is a node as it is set up at one instant: overrides that have expired are not in it.
type Scope struct {
	ID, Parent  int64 // Parent 0: a root, or a user's row
	Planned     Planned
	Amount      credit.Amount  // of Fixed
	Override    *credit.Amount // replaces Planned
	Cap         *credit.Amount // sets nothing aside
	CapOverride *credit.Amount // replaces Cap
	Rollover    credit.Amount  // added to what the scope has, out of the cycle before
}

// Source says where an effective allocation comes from.
type Source string

// The sources.
const (
	FromOverride Source = "override"
	FromFixed    Source = "fixed"
	FromEqual    Source = "equal"
	FromAncestor Source = "inherited"
	FromCap      Source = "cap" // it has none, or more than its cap
	FromNowhere  Source = "none"
)

// Effective is what a scope really has.
type Effective struct {
	Allocation  credit.Amount // where Limited
	Limited     bool          // false: neither it nor an ancestor has an allocation, and it has no cap
	Source      Source
	Own         bool          // it has an allocation or a cap of its own, and so can bind
	Unallocated credit.Amount // of scopes with an allocation of their own: what their descendants have not set aside
}

// Shortfall is a scope whose descendants set aside more than it has.
type Shortfall struct {
	Scope   int64
	Missing credit.Amount
}

// Tree is the effective allocations of one section's scopes. Make it with Evaluate.
type Tree struct {
	Effective  map[int64]Effective
	Shortfalls []Shortfall
	parents    map[int64]int64
}

// Evaluate computes what every scope has. Amounts that do not fit and parents that go round in a circle, or are not
// there, are errors; scopes that set aside too much are in Shortfalls, and their equal shares are nothing.
func Evaluate(scopes []Scope) (*Tree, error) {
	e := evaluation{tree: &Tree{Effective: make(map[int64]Effective, len(scopes)), parents: make(map[int64]int64, len(scopes))},
		children: make(map[int64][]*Scope, len(scopes))}
	known := make(map[int64]bool, len(scopes))
	for i := range scopes {
		known[scopes[i].ID] = true
	}
	for i := range scopes {
		s := &scopes[i]
		if s.Parent != 0 && !known[s.Parent] {
			return nil, fmt.Errorf("scope %d: its parent %d is not there", s.ID, s.Parent)
		}
		e.tree.parents[s.ID] = s.Parent
		e.children[s.Parent] = append(e.children[s.Parent], s)
	}
	for _, root := range e.children[0] {
		e.top(root)
	}
	if e.err == nil && len(e.tree.Effective) != len(scopes) {
		e.err = fmt.Errorf("%d scopes have parents that go round in a circle", len(scopes)-len(e.tree.Effective))
	}
	return e.tree, e.err
}

type evaluation struct {
	tree     *Tree
	children map[int64][]*Scope
	err      error
}

// own is the amount that the scope sets aside by itself, equal shares apart.
func (s *Scope) own() (credit.Amount, Source, bool) {
	switch {
	case s.Override != nil:
		return *s.Override, FromOverride, true
	case s.Planned == Fixed:
		return s.Amount, FromFixed, true
	}
	return 0, FromNowhere, false
}

func (s *Scope) cap() *credit.Amount {
	if s.CapOverride != nil {
		return s.CapOverride
	}
	return s.Cap
}

// top settles a scope that draws on no ancestor.
func (e *evaluation) top(s *Scope) {
	amount, source, ok := s.own()
	e.settle(s, amount, source, ok)
}

// settle records what s has and goes on below it.
func (e *evaluation) settle(s *Scope, amount credit.Amount, source Source, allocated bool) {
	eff := Effective{Allocation: amount, Limited: allocated, Source: source, Own: allocated}
	if allocated && s.Rollover != 0 {
		eff.Allocation = e.add(amount, s.Rollover)
	}
	if c := s.cap(); c != nil {
		eff.Own = true
		if !eff.Limited || *c < eff.Allocation {
			eff.Allocation, eff.Limited, eff.Source = *c, true, FromCap
		}
	}
	if allocated {
		eff.Unallocated = e.divide(s, eff.Allocation)
	} else {
		e.below(s, eff)
	}
	e.tree.Effective[s.ID] = eff
}

// below settles the children of a scope without an allocation where no ancestor has one.
func (e *evaluation) below(s *Scope, parent Effective) {
	for _, c := range e.children[s.ID] {
		amount, source, ok := c.own()
		e.settle(c, amount, source, ok)
		if !ok {
			e.inherit(c, parent)
		}
	}
}

// inherit gives a scope without an allocation what the nearest ancestor has, then the least of it and the cap.
func (e *evaluation) inherit(s *Scope, ancestor Effective) Effective {
	eff := e.tree.Effective[s.ID]
	if ancestor.Limited && (!eff.Limited || ancestor.Allocation <= eff.Allocation) {
		eff.Allocation, eff.Limited, eff.Source = ancestor.Allocation, true, FromAncestor
		e.tree.Effective[s.ID] = eff
	}
	return eff
}

// divide gives the descendants of s that draw on it their part of its allocation, and returns what is Unallocated.
func (e *evaluation) divide(s *Scope, allocation credit.Amount) credit.Amount {
	rest, equal := allocation, int64(0)
	var drawing, passing []*Scope
	var walk func(parent int64)
	walk = func(parent int64) {
		for _, c := range e.children[parent] {
			amount, _, ok := c.own()
			switch {
			case ok:
				rest = e.sub(rest, amount)
				drawing = append(drawing, c)
			case c.Planned == Equal:
				equal++
				drawing = append(drawing, c)
			default:
				passing = append(passing, c)
				walk(c.ID)
			}
		}
	}
	walk(s.ID)
	var share credit.Amount
	if rest < 0 {
		e.tree.Shortfalls = append(e.tree.Shortfalls, Shortfall{Scope: s.ID, Missing: -rest})
	} else if equal > 0 {
		share = rest / credit.Amount(equal)
	}
	for _, c := range drawing {
		if amount, source, ok := c.own(); ok {
			e.settle(c, amount, source, true)
		} else {
			e.settle(c, share, FromEqual, true)
		}
	}
	above := map[int64]Effective{s.ID: {Allocation: allocation, Limited: true}}
	for _, c := range passing { // parents come before their children
		eff := Effective{Source: FromNowhere}
		if limit := c.cap(); limit != nil {
			eff = Effective{Allocation: *limit, Limited: true, Source: FromCap, Own: true}
		}
		e.tree.Effective[c.ID] = eff
		above[c.ID] = e.inherit(c, above[c.Parent])
	}
	return rest - share*credit.Amount(equal)
}

func (e *evaluation) add(a, b credit.Amount) credit.Amount {
	sum, err := credit.Add(a, b)
	if err != nil && e.err == nil {
		e.err = err
	}
	return sum
}

func (e *evaluation) sub(a, b credit.Amount) credit.Amount {
	rest, err := credit.Sub(a, b)
	if err != nil && e.err == nil {
		e.err = err
	}
	return rest
}

// Available is the least Remaining over the scopes of a path that can bind, and which one that is. used is what was
// charged and reserved. ok is false when none binds.
func (t *Tree) Available(path []int64, used func(scope int64) credit.Amount) (available credit.Amount, binding int64, ok bool) {
	for _, id := range path {
		eff := t.Effective[id]
		if !eff.Own {
			continue
		}
		remaining, err := credit.Sub(eff.Allocation, used(id))
		if err == nil && (!ok || remaining < available) {
			available, binding, ok = remaining, id, true
		}
	}
	return available, binding, ok
}

// Reached says whether used is at least percent of the allocation. Nothing used reaches nothing.
func Reached(used, allocation credit.Amount, percent int) bool {
	if used <= 0 {
		return false
	}
	if allocation <= 0 {
		return true
	}
	uh, ul := bits.Mul64(uint64(used), 100)
	ah, al := bits.Mul64(uint64(allocation), uint64(percent))
	return uh > ah || uh == ah && ul >= al
}
