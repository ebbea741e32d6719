package allocation_test

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
	"pgregory.net/rapid"
)

func TestReached(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		used, allocation credit.Amount
		percent          int
		want             bool
	}{
		{49, 100, 50, false}, {50, 100, 50, true}, {0, 0, 50, false}, {1, 0, 100, true}, {-5, 100, 50, false},
		{math.MaxInt64, math.MaxInt64, 100, true}, {math.MaxInt64 - 1, math.MaxInt64, 100, false},
		{1, 3, 33, true}, {1, 3, 34, false}, {1, 100, -1, false}, {math.MaxInt64, 1, math.MaxInt, true},
	} {
		if got := allocation.Reached(c.used, c.allocation, c.percent); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

func TestCrossings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after, allocBefore, allocAfter credit.Amount
		want                                   []int
	}{
		"a charge":                        {49, 50, 100, 100, []int{50}},
		"it was there":                    {50, 79, 100, 100, nil},
		"all at once":                     {0, 100, 100, 100, []int{50, 80, 100}},
		"a lowered allocation":            {50, 50, 100, 60, []int{80}},
		"a raised allocation":             {90, 90, 100, 200, nil},
		"more used of more":               {40, 80, 100, 160, []int{50}},
		"downward":                        {100, 10, 100, 100, nil},
		"an allocation of nothing, later": {10, 10, 100, 0, []int{50, 80, 100}},
		"an allocation of nothing":        {0, 0, 100, 0, nil},
	} {
		if got := allocation.Crossings(c.before, c.after, c.allocBefore, c.allocAfter, []int{50, 80, 100}); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Against exact arithmetic; and in two steps everything is crossed that is crossed in one, while usage grows nothing else.
func TestCrossingsInTwoStepsAreThoseOfOne(t *testing.T) {
	t.Parallel()
	thresholds := []int{1, 33, 50, 80, 100, 250}
	rapid.Check(t, func(t *rapid.T) {
		amounts := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-10, 300), rapid.Int64Range(math.MaxInt64-300, math.MaxInt64))
		used, alloc := rapid.SliceOfN(amounts, 3, 3).Draw(t, "used"), rapid.SliceOfN(amounts, 3, 3).Draw(t, "allocation")
		steady := rapid.Bool().Draw(t, "steady")
		if steady {
			slices.Sort(used)
			alloc[1], alloc[2] = alloc[0], alloc[0]
		}
		step := func(i, j int) []int {
			return allocation.Crossings(credit.Amount(used[i]), credit.Amount(used[j]), credit.Amount(alloc[i]), credit.Amount(alloc[j]), thresholds)
		}
		one, two := step(0, 2), append(step(0, 1), step(1, 2)...)
		for _, percent := range thresholds {
			was, is := naiveReached(used[0], alloc[0], percent), naiveReached(used[2], alloc[2], percent)
			if slices.Contains(one, percent) != (is && !was) {
				t.Fatalf("%d %%: %v", percent, one)
			}
			if slices.Contains(one, percent) && !slices.Contains(two, percent) {
				t.Fatalf("%d %%: %v in one step, %v in two", percent, one, two)
			}
		}
		if steady && !slices.Equal(one, two) {
			t.Fatalf("%v in one step, %v in two", one, two)
		}
	})
}

func naiveReached(used, alloc int64, percent int) bool {
	left := new(big.Int).Mul(big.NewInt(used), big.NewInt(100))
	right := new(big.Int).Mul(big.NewInt(max(alloc, 0)), big.NewInt(int64(percent)))
	return used > 0 && left.Cmp(right) >= 0
}
