package allocation

import (
	"errors"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/credit"
)

// ErrNegative says that an allocation, a cap, an override or a rollover is below zero.
var ErrNegative = errors.New("an amount is below zero")

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
	Rollover    credit.Amount  // added to an allocation of its own, out of the cycle before
}

// OverrideKind is what an override replaces.
type OverrideKind string

// The kinds.
const (
	OverrideAllocation OverrideKind = "allocation"
	OverrideCap        OverrideKind = "cap"
)

// Override replaces a scope's allocation or cap in [From, Until).
type Override struct {
	Kind        OverrideKind
	Amount      credit.Amount
	From, Until time.Time // Until zero: it never expires
}

// Node is a scope with all its overrides, oldest first: where two of a kind are valid at once, the last counts.
type Node struct {
	Scope
	Overrides []Override
}

// At is the scopes as they are set up at an instant, and until when they stay so: Forever, or when an override begins or
// expires next. What the scopes' own Override and CapOverride say holds where no override of the node does.
func At(nodes []Node, at time.Time) (scopes []Scope, until time.Time) {
	scopes, until = make([]Scope, len(nodes)), Forever
	change := func(t time.Time) {
		if t.After(at) && t.Before(until) {
			until = t
		}
	}
	for i := range nodes {
		scopes[i] = nodes[i].Scope
		for j := range nodes[i].Overrides {
			o := &nodes[i].Overrides[j]
			change(o.From)
			change(o.Until)
			if o.From.After(at) || !o.Until.IsZero() && !o.Until.After(at) {
				continue
			}
			if o.Kind == OverrideCap {
				scopes[i].CapOverride = &o.Amount
			} else {
				scopes[i].Override = &o.Amount
			}
		}
	}
	return scopes, until
}

// EvaluateAt is Evaluate of At.
func EvaluateAt(nodes []Node, at time.Time) (tree *Tree, until time.Time, err error) {
	scopes, until := At(nodes, at)
	tree, err = Evaluate(scopes)
	return tree, until, err
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

func (s *Scope) validate() error {
	own, _, _ := s.own()
	if c := s.cap(); own < 0 || s.Rollover < 0 || c != nil && *c < 0 {
		return fmt.Errorf("scope %d: %w", s.ID, ErrNegative)
	}
	return nil
}

// order returns the indexes of scopes, parents before their children, and for each scope its parent's index, −1 for roots.
func order(scopes []Scope) (sorted, parents []int32, err error) {
	n := len(scopes)
	index := make(map[int64]int32, n)
	for i := range scopes {
		if _, twice := index[scopes[i].ID]; twice {
			return nil, nil, fmt.Errorf("scope %d is there twice", scopes[i].ID)
		}
		index[scopes[i].ID] = int32(i)
	}
	sorted, parents = make([]int32, 0, n), make([]int32, n)
	first, next := make([]int32, n), make([]int32, n) // children as linked lists, by index + 1: 0 ends one
	for i := n - 1; i >= 0; i-- {
		s := &scopes[i]
		if s.Parent == 0 {
			parents[i] = -1
			continue
		}
		p, ok := index[s.Parent]
		if !ok {
			return nil, nil, fmt.Errorf("scope %d: its parent %d is not there", s.ID, s.Parent)
		}
		parents[i], next[i], first[p] = p, first[p], int32(i)+1
	}
	for i := range parents {
		if parents[i] < 0 {
			sorted = append(sorted, int32(i))
		}
	}
	for at := 0; at < len(sorted); at++ {
		for c := first[sorted[at]]; c != 0; c = next[c-1] {
			sorted = append(sorted, c-1)
		}
	}
	if len(sorted) < n {
		return nil, nil, circle(scopes, sorted, parents)
	}
	return sorted, parents, nil
}

// circle names one scope whose parents go round.
func circle(scopes []Scope, sorted, parents []int32) error {
	reached := make([]bool, len(scopes))
	for _, i := range sorted {
		reached[i] = true
	}
	var at int32
	for reached[at] {
		at++
	}
	for !reached[at] { // its first ancestor met twice is in the circle, and not merely below it
		reached[at] = true
		at = parents[at]
	}
	return fmt.Errorf("scope %d: its parents go round in a circle", scopes[at].ID)
}
