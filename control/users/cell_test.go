package users

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestIdentitiesInACell(t *testing.T) {
	t.Parallel()
	part := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune(`\;= aä`)), 0, 6, -1))
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.Custom(func(t *rapid.T) called { return called{part.Draw(t, "source"), part.Draw(t, "value")} })).Draw(t, "list")
		cell := identitiesCell(list)
		again, err := readIdentities(cell)
		slices.SortFunc(list, called.compare)
		if list = slices.Compact(list); err != nil || !slices.Equal(list, again) {
			t.Fatalf("%q is written %q and read %q (%v)", list, cell, again, err)
		}
	})
}
