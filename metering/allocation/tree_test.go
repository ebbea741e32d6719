package allocation_test

import (
	"math"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
	"pgregory.net/rapid"
)

func amount(v credit.Amount) *credit.Amount { return &v }

func evaluate(t *testing.T, scopes ...allocation.Scope) *allocation.Tree {
	t.Helper()
	tree, err := allocation.Evaluate(scopes)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func expect(t *testing.T, tree *allocation.Tree, id int64, want allocation.Effective) {
	t.Helper()
	if got := tree.Effective[id]; got != want {
		t.Errorf("scope %d has %+v, want %+v", id, got, want)
	}
}

func TestEffectiveAllocations(t *testing.T) {
	t.Parallel()
	const fixed, equal = allocation.Fixed, allocation.Equal
	tree := evaluate(t,
		allocation.Scope{ID: 1, Planned: fixed, Amount: 1000},
		allocation.Scope{ID: 2, Parent: 1, Planned: fixed, Amount: 600},
		allocation.Scope{ID: 3, Parent: 2, Planned: equal, Cap: amount(90)},
		allocation.Scope{ID: 4, Parent: 2, Planned: equal},
		allocation.Scope{ID: 5, Parent: 2, Planned: equal, Override: amount(99)},
		allocation.Scope{ID: 6, Parent: 1},            // passes through
		allocation.Scope{ID: 7, Parent: 6, Amount: 5}, // inherits: its amount does not count
		allocation.Scope{ID: 8, Parent: 6, Planned: fixed, Amount: 300},
		allocation.Scope{ID: 9, Parent: 7, Cap: amount(50)},
		allocation.Scope{ID: 10, Cap: amount(7)}, // a user's row
		allocation.Scope{ID: 11},
		allocation.Scope{ID: 12, Parent: 9},
	)
	expect(t, tree, 1, allocation.Effective{Allocation: 1000, Limited: true, Source: "fixed", Own: true, Unallocated: 100})
	expect(t, tree, 2, allocation.Effective{Allocation: 600, Limited: true, Source: "fixed", Own: true, Unallocated: 1})
	expect(t, tree, 3, allocation.Effective{Allocation: 90, Limited: true, Source: "cap", Own: true, Unallocated: 90})
	expect(t, tree, 4, allocation.Effective{Allocation: 250, Limited: true, Source: "equal", Own: true, Unallocated: 250})
	expect(t, tree, 5, allocation.Effective{Allocation: 99, Limited: true, Source: "override", Own: true, Unallocated: 99})
	expect(t, tree, 6, allocation.Effective{Allocation: 1000, Limited: true, Source: "inherited"})
	expect(t, tree, 7, allocation.Effective{Allocation: 1000, Limited: true, Source: "inherited"})
	expect(t, tree, 8, allocation.Effective{Allocation: 300, Limited: true, Source: "fixed", Own: true, Unallocated: 300})
	expect(t, tree, 9, allocation.Effective{Allocation: 50, Limited: true, Source: "cap", Own: true})
	expect(t, tree, 10, allocation.Effective{Allocation: 7, Limited: true, Source: "cap", Own: true})
	expect(t, tree, 11, allocation.Effective{Source: "none"})
	expect(t, tree, 12, allocation.Effective{Allocation: 50, Limited: true, Source: "inherited"})
}

func TestWhatBinds(t *testing.T) {
	t.Parallel()
	tree := evaluate(t,
		allocation.Scope{ID: 1, Planned: allocation.Fixed, Amount: 100, Rollover: 20},
		allocation.Scope{ID: 2, Parent: 1, Planned: allocation.Fixed, Amount: 50},
		allocation.Scope{ID: 3, Parent: 2},
		allocation.Scope{ID: 4, Cap: amount(40)})
	used := map[int64]credit.Amount{1: 30, 2: 30, 3: 30, 4: 25}
	available, binding, ok := tree.Available([]int64{1, 2, 3, 4}, func(id int64) credit.Amount { return used[id] })
	if available != 15 || binding != 4 || !ok {
		t.Fatalf("%d by %d", available, binding)
	}
	if tree.Effective[1].Allocation != 120 {
		t.Fatalf("rollover: %+v", tree.Effective[1])
	}
}

func TestSettingAsideTooMuchIsNamed(t *testing.T) {
	t.Parallel()
	tree := evaluate(t,
		allocation.Scope{ID: 1, Planned: allocation.Fixed, Amount: 100},
		allocation.Scope{ID: 2, Parent: 1},
		allocation.Scope{ID: 3, Parent: 2, Planned: allocation.Fixed, Amount: 90},
		allocation.Scope{ID: 4, Parent: 1, Planned: allocation.Fixed, Amount: 30},
		allocation.Scope{ID: 5, Parent: 1, Planned: allocation.Equal})
	if len(tree.Shortfalls) != 1 || tree.Shortfalls[0] != (allocation.Shortfall{Scope: 1, Missing: 20}) {
		t.Fatalf("%+v", tree.Shortfalls)
	}
	expect(t, tree, 5, allocation.Effective{Limited: true, Source: "equal", Own: true})
}

func TestBadTrees(t *testing.T) {
	t.Parallel()
	for want, scopes := range map[string][]allocation.Scope{
		"circle":       {{ID: 1, Parent: 2}, {ID: 2, Parent: 1}},
		"is not there": {{ID: 1, Parent: 9}},
		"overflow":     {{ID: 1, Planned: allocation.Fixed, Amount: math.MaxInt64, Rollover: 1}},
	} {
		if _, err := allocation.Evaluate(scopes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", scopes, err)
		}
	}
}

// Whatever the tree: what is set aside and Unallocated make up what there is, and no share is below zero.
func TestNothingIsLostInDividing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "scopes")
		scopes := make([]allocation.Scope, n)
		for i := range scopes {
			s := &scopes[i]
			s.ID = int64(i + 1)
			if i > 0 {
				s.Parent = int64(rapid.IntRange(1, i).Draw(t, "parent"))
			}
			s.Planned = allocation.Planned(rapid.IntRange(0, 2).Draw(t, "planned"))
			s.Amount = credit.Amount(rapid.Int64Range(0, 1_000_000).Draw(t, "amount"))
		}
		scopes[0].Planned = allocation.Fixed
		tree, err := allocation.Evaluate(scopes)
		if err != nil {
			t.Fatal(err)
		}
		draws := map[int64]credit.Amount{} // by the scope that is drawn on
		for _, s := range scopes[1:] {
			if s.Planned == allocation.Inherited {
				continue
			}
			above := s.Parent
			for scopes[above-1].Planned == allocation.Inherited {
				above = scopes[above-1].Parent
			}
			draws[above] += tree.Effective[s.ID].Allocation
			if tree.Effective[s.ID].Allocation < 0 {
				t.Fatalf("scope %d has %d", s.ID, tree.Effective[s.ID].Allocation)
			}
		}
		for _, s := range scopes {
			if s.Planned != allocation.Inherited && draws[s.ID]+tree.Effective[s.ID].Unallocated != tree.Effective[s.ID].Allocation {
				t.Fatalf("scope %d: %d set aside, %+v", s.ID, draws[s.ID], tree.Effective[s.ID])
			}
		}
	})
}

func TestReached(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		used, allocation credit.Amount
		percent          int
		want             bool
	}{
		{49, 100, 50, false}, {50, 100, 50, true}, {0, 0, 50, false}, {1, 0, 100, true}, {-5, 100, 50, false},
		{math.MaxInt64, math.MaxInt64, 100, true}, {math.MaxInt64 - 1, math.MaxInt64, 100, false},
	} {
		if got := allocation.Reached(c.used, c.allocation, c.percent); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
