package allocation_test

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"slices"
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
	if want.BeforeCap == "" {
		want.BeforeCap = want.Source
	}
	got := tree.Effective[id]
	if (got.Cap == nil) != (want.Cap == nil) || got.Cap != nil && *got.Cap != *want.Cap {
		t.Errorf("scope %d has the cap %v, want %v", id, got.Cap, want.Cap)
	}
	if got.Cap, want.Cap = nil, nil; got != want {
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
	expect(t, tree, 3, allocation.Effective{Allocation: 90, Limited: true, Source: "cap", BeforeCap: "equal", Cap: amount(90), Own: true, Unallocated: 90})
	expect(t, tree, 4, allocation.Effective{Allocation: 250, Limited: true, Source: "equal", Own: true, Unallocated: 250})
	expect(t, tree, 5, allocation.Effective{Allocation: 99, Limited: true, Source: "override", Own: true, Unallocated: 99})
	expect(t, tree, 6, allocation.Effective{Allocation: 1000, Limited: true, Source: "inherited"})
	expect(t, tree, 7, allocation.Effective{Allocation: 1000, Limited: true, Source: "inherited"})
	expect(t, tree, 8, allocation.Effective{Allocation: 300, Limited: true, Source: "fixed", Own: true, Unallocated: 300})
	expect(t, tree, 9, allocation.Effective{Allocation: 50, Limited: true, Source: "cap", BeforeCap: "inherited", Cap: amount(50), Own: true})
	expect(t, tree, 10, allocation.Effective{Allocation: 7, Limited: true, Source: "cap", BeforeCap: "none", Cap: amount(7), Own: true})
	expect(t, tree, 11, allocation.Effective{Source: "none"})
	expect(t, tree, 12, allocation.Effective{Allocation: 50, Limited: true, Source: "inherited"})
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
	var missing allocation.Shortfall
	if err := tree.Refusal(); !errors.As(err, &missing) || missing.Scope != 1 || !strings.Contains(err.Error(), "scope 1: 0.000020 are missing") {
		t.Fatalf("refused with %v", err)
	}
	expect(t, tree, 5, allocation.Effective{Limited: true, Source: "equal", Own: true})
}

func TestBadTrees(t *testing.T) {
	t.Parallel()
	for want, scopes := range map[string][]allocation.Scope{
		"scope 2: its parents go round in a circle": {{ID: 1, Parent: 2}, {ID: 2, Parent: 3}, {ID: 3, Parent: 2}, {ID: 4}},
		"scope 5: its parents go round":             {{ID: 5, Parent: 5}},
		"scope 1 is there twice":                    {{ID: 1}, {ID: 1}},
		"scope 2: an amount is below zero":          {{ID: 1}, {ID: 2, Cap: amount(-1)}},
		"scope 1: what is set aside below it":       {{ID: 1, Planned: allocation.Fixed}, {ID: 2, Parent: 1, Override: amount(math.MaxInt64)}, {ID: 3, Parent: 1, Override: amount(1)}},
		"is not there":                              {{ID: 1, Parent: 9}},
		"overflow":                                  {{ID: 1, Planned: allocation.Fixed, Amount: math.MaxInt64, Rollover: 1}},
	} {
		if _, err := allocation.Evaluate(scopes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", scopes, err)
		}
	}
}

// A cap alone limits everything below it, however deep.
func TestACapIsInheritedToAnyDepth(t *testing.T) {
	t.Parallel()
	tree := evaluate(t,
		allocation.Scope{ID: 1, Cap: amount(7)}, allocation.Scope{ID: 2, Parent: 1},
		allocation.Scope{ID: 3, Parent: 2}, allocation.Scope{ID: 4, Parent: 3, Planned: allocation.Equal},
		allocation.Scope{ID: 5, Parent: 4, Planned: allocation.Fixed, Amount: 9})
	for id := range int64(3) {
		expect(t, tree, id+2, allocation.Effective{Allocation: 7, Limited: true, Source: "inherited"})
	}
	expect(t, tree, 5, allocation.Effective{Allocation: 9, Limited: true, Source: "fixed", Own: true, Unallocated: 9})
}

func TestRolloverIsAddedForTheCycle(t *testing.T) {
	t.Parallel()
	tree := evaluate(t,
		allocation.Scope{ID: 1, Planned: allocation.Fixed, Amount: 100, Rollover: 21},
		allocation.Scope{ID: 2, Parent: 1, Planned: allocation.Equal},
		allocation.Scope{ID: 3, Parent: 1, Planned: allocation.Equal, Rollover: 5},
		allocation.Scope{ID: 4, Parent: 3, Rollover: 8}, // has no allocation to add it to
		allocation.Scope{ID: 5, Planned: allocation.Fixed, Amount: 10, Rollover: 10, Cap: amount(15)})
	expect(t, tree, 1, allocation.Effective{Allocation: 121, Limited: true, Source: "fixed", Own: true, Unallocated: 1})
	expect(t, tree, 2, allocation.Effective{Allocation: 60, Limited: true, Source: "equal", Own: true, Unallocated: 60})
	expect(t, tree, 3, allocation.Effective{Allocation: 65, Limited: true, Source: "equal", Own: true, Unallocated: 65})
	expect(t, tree, 4, allocation.Effective{Allocation: 65, Limited: true, Source: "inherited"})
	expect(t, tree, 5, allocation.Effective{Allocation: 15, Limited: true, Source: "cap", BeforeCap: "fixed", Cap: amount(15), Own: true, Unallocated: 15})
}

func TestOverridesHoldFromUntil(t *testing.T) {
	t.Parallel()
	nodes := []allocation.Node{
		{Scope: allocation.Scope{ID: 1, Planned: allocation.Fixed, Amount: 100}},
		{Scope: allocation.Scope{ID: 2, Parent: 1, Planned: allocation.Fixed, Amount: 40, Cap: amount(90)}, Overrides: []allocation.Override{
			{Kind: allocation.OverrideAllocation, Amount: 60, From: day("2026-01-10"), Until: day("2026-01-20")},
			{Kind: allocation.OverrideAllocation, Amount: 70, From: day("2026-01-15"), Until: day("2026-01-17")},
			{Kind: allocation.OverrideCap, Amount: 50, From: day("2026-01-18")},
		}},
	}
	for _, c := range []struct {
		at, until         string
		has, cap, without credit.Amount
		source            allocation.Source
	}{
		{"2026-01-09", "2026-01-10", 40, 90, 60, "fixed"},
		{"2026-01-10", "2026-01-15", 60, 90, 40, "override"},
		{"2026-01-16", "2026-01-17", 70, 90, 30, "override"},
		{"2026-01-17", "2026-01-18", 60, 90, 40, "override"},
		{"2026-01-18", "2026-01-20", 50, 50, 40, "cap"},
		{"2026-01-20", "9999-12-31", 40, 50, 60, "fixed"},
	} {
		tree, until, err := allocation.EvaluateAt(nodes, day(c.at))
		if err != nil {
			t.Fatal(err)
		}
		eff := tree.Effective[2]
		if eff.Allocation != c.has || *eff.Cap != c.cap || eff.Source != c.source || eff.CapBinds() != (c.source == "cap") ||
			tree.Effective[1].Unallocated != c.without || !until.Equal(day(c.until)) {
			t.Errorf("%s: %+v, unallocated %d, until %s", c.at, eff, tree.Effective[1].Unallocated, until)
		}
	}
}

// drawTree is a tree that evaluates: parents come before their children.
func drawTree(t *rapid.T) []allocation.Scope {
	amounts := rapid.Int64Range(0, 1_000_000)
	optional := func(name string) *credit.Amount {
		if rapid.IntRange(0, 4).Draw(t, name+" given") > 0 {
			return nil
		}
		return amount(credit.Amount(amounts.Draw(t, name)))
	}
	scopes := make([]allocation.Scope, rapid.IntRange(1, 30).Draw(t, "scopes"))
	for i := range scopes {
		s := &scopes[i]
		s.ID = int64(i + 1)
		if i > 0 {
			s.Parent = int64(rapid.IntRange(1, i).Draw(t, "parent"))
		}
		s.Planned = allocation.Planned(rapid.IntRange(0, 2).Draw(t, "planned"))
		s.Amount = credit.Amount(amounts.Draw(t, "amount"))
		s.Override, s.Cap = optional("override"), optional("cap")
	}
	scopes[0].Planned, scopes[0].Amount = allocation.Fixed, 10_000_000
	return scopes
}

// Whatever the tree: what is set aside and Unallocated make up what there is, no share is below zero, and what is left
// beside equal shares is too little to give each one more.
func TestNothingIsLostInDividing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scopes := drawTree(t)
		tree, err := allocation.Evaluate(scopes)
		if err != nil {
			t.Fatal(err)
		}
		allocates := func(s *allocation.Scope) bool { return s.Override != nil || s.Planned != allocation.Inherited }
		draws, shares := map[int64]credit.Amount{}, map[int64]int64{} // by the scope that is drawn on
		given := map[int64]credit.Amount{}                            // an equal share, before the cap
		for i := range scopes[1:] {
			s := &scopes[i+1]
			above := &scopes[s.Parent-1]
			for !allocates(above) {
				above = &scopes[above.Parent-1]
			}
			switch eff := tree.Effective[s.ID]; {
			case s.Override != nil:
				draws[above.ID] += *s.Override
			case s.Planned == allocation.Fixed:
				draws[above.ID] += s.Amount
			case s.Planned == allocation.Equal:
				shares[above.ID]++
				if !eff.CapBinds() {
					given[above.ID] = eff.Allocation
				}
				if eff.Allocation < 0 {
					t.Fatalf("scope %d has %d", s.ID, eff.Allocation)
				}
			}
		}
		for i := range scopes {
			id := scopes[i].ID
			share, known := given[id]
			if !allocates(&scopes[i]) || shares[id] > 0 && !known {
				continue // caps hide how much the share is
			}
			eff := tree.Effective[id]
			if draws[id]+share*credit.Amount(shares[id])+eff.Unallocated != eff.Allocation {
				t.Fatalf("scope %d: %d set aside, %d shares of %d, %+v", id, draws[id], shares[id], share, eff)
			}
			if shares[id] > 0 && eff.Unallocated >= credit.Amount(shares[id]) {
				t.Fatalf("scope %d: %d left beside %d shares", id, eff.Unallocated, shares[id])
			}
		}
	})
}

// Two runs are one, and the order of the scopes says nothing.
func TestEvaluatingAgainInAnyOrderIsTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scopes := drawTree(t)
		before := slices.Clone(scopes)
		one, err := allocation.Evaluate(scopes)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(before, scopes) {
			t.Fatal("evaluating changed what went in")
		}
		two, err := allocation.Evaluate(rapid.Permutation(scopes).Draw(t, "order"))
		if err != nil || !maps.Equal(one.Effective, two.Effective) {
			t.Fatalf("%+v and %+v, %v", one.Effective, two.Effective, err)
		}
		byScope := func(a, b allocation.Shortfall) int { return cmp.Compare(a.Scope, b.Scope) }
		slices.SortFunc(one.Shortfalls, byScope)
		slices.SortFunc(two.Shortfalls, byScope)
		if !slices.Equal(one.Shortfalls, two.Shortfalls) {
			t.Fatalf("%+v and %+v", one.Shortfalls, two.Shortfalls)
		}
	})
}

// shapes are trees of n scopes: what makes a recursion, or a look at all children for each child, show.
func shapes(n int) map[string][]allocation.Scope {
	parent := map[string]func(i int) int{
		"wide": func(int) int { return 0 }, "deep": func(i int) int { return i - 1 }, "of fifty": func(i int) int { return (i - 1) / 50 },
	}
	planned := map[string]func(i int) allocation.Planned{
		"equal": func(int) allocation.Planned { return allocation.Equal }, "passing": func(int) allocation.Planned { return allocation.Inherited },
		"mixed": func(i int) allocation.Planned { return allocation.Planned(i % 3) },
	}
	trees := map[string][]allocation.Scope{}
	for shape, up := range parent {
		for plan, how := range planned {
			scopes := []allocation.Scope{{ID: 1, Planned: allocation.Fixed, Amount: 1 << 60}}
			for i := 1; i < n; i++ {
				scopes = append(scopes, allocation.Scope{ID: int64(i + 1), Parent: int64(up(i) + 1), Planned: how(i), Cap: amount(1 << 40)})
			}
			trees[shape+" "+plan] = scopes
		}
	}
	return trees
}

func TestLargeTrees(t *testing.T) {
	t.Parallel()
	for name, scopes := range shapes(100_000) {
		if tree := evaluate(t, scopes...); len(tree.Effective) != len(scopes) || tree.Refusal() != nil {
			t.Errorf("%s: %d scopes, %v", name, len(tree.Effective), tree.Refusal())
		}
	}
}

func BenchmarkEvaluate100kScopes(b *testing.B) {
	for name, scopes := range shapes(100_000) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := allocation.Evaluate(scopes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
