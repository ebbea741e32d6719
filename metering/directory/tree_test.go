package directory

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const root = 1

// history draws the moves of a few scopes, each at a moment of its own and none that makes a circle, and may leave scopes below nothing
// for a while. links are what came of it.
func history(t *rapid.T) *tree {
	tree := newTree()
	at := map[int64]int64{} // whom each is below now
	for now := range int64(rapid.IntRange(1, 40).Draw(t, "moves")) {
		scope, parent := int64(rapid.IntRange(2, 6).Draw(t, "scope")), int64(rapid.IntRange(0, 6).Draw(t, "parent"))
		for up := parent; up != 0; up = at[up] {
			if up == scope {
				parent = 0
			}
		}
		if links := tree.parents[scope]; at[scope] != 0 {
			links[len(links)-1].to = now
		}
		if at[scope] = parent; parent != 0 {
			tree.parents[scope] = append(tree.parents[scope], link{now, math.MaxInt64, parent})
		}
	}
	return tree
}

// naive is the path at a moment, link by link; whole says whether each of it held then, up to the root.
func naive(t *tree, scope, at int64) (path []int64, whole bool) {
	for path = []int64{scope}; scope != root; {
		i := slices.IndexFunc(t.parents[scope], func(l link) bool { return l.from <= at && at < l.to })
		if i < 0 {
			return path, false
		}
		scope = t.parents[scope][i].parent
		path = append([]int64{scope}, path...)
	}
	return path, true
}

func (t *tree) at(scope, at int64) []int64 {
	steps := t.to(scope)
	path := steps[0].path
	for _, s := range steps[1:] {
		if s.from <= at {
			path = s.path
		}
	}
	return path.Scopes
}

// The path of a scope at any moment is what the links of that moment say, however the tree was turned before and after it.
func TestPathsOfATreeThatWasTurned(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tree := history(t)
		for scope := int64(root); scope <= 6; scope++ {
			for at := int64(0); at <= 41; at++ {
				if want, whole := naive(tree, scope, at); whole && !slices.Equal(tree.at(scope, at), want) {
					t.Fatalf("%v: %d at %d is %v, want %v", tree.parents, scope, at, tree.at(scope, at), want)
				}
			}
		}
	})
}

// In a tree that was never turned, the two ways to find paths find the same.
func TestPathsInWindows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		one := history(t)
		if one.turned() {
			t.Skip()
		}
		other, turned := newTree(), true
		other.parents, other.turns = one.parents, &turned
		for scope := int64(root); scope <= 6; scope++ {
			for at := int64(0); at <= 41; at++ {
				if a, b := one.at(scope, at), other.at(scope, at); !slices.Equal(a, b) {
					t.Fatalf("%v: %d at %d is %v, and in windows %v", one.parents, scope, at, a, b)
				}
			}
		}
	})
}
