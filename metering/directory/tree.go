package directory

import (
	"math"
	"slices"
)

// tree is the parent links of one section while paths are made of them.
type tree struct {
	parents map[int64][]link
	paths   map[int64][]step
	below   map[link][]step // of the members that came and went at the same times
	turns   *bool           // whether it was upside down once; nil: nobody asked
}

type link struct{ from, to, parent int64 }

func newTree() *tree {
	return &tree{parents: map[int64][]link{}, paths: map[int64][]step{}, below: map[link][]step{}}
}

// to is a scope's paths from the root over time.
func (t *tree) to(scope int64) []step {
	if known := t.paths[scope]; known != nil {
		return known
	}
	steps := []step{{path: &Path{Scopes: []int64{scope}}}} // the root
	if links := t.parents[scope]; len(links) > 0 {
		steps = extended(t.above(links), scope)
	}
	t.paths[scope] = steps
	return steps
}

// extended are the paths to a scope below others.
func extended(steps []step, scope int64) []step {
	for i := range steps {
		steps[i].path = &Path{Scopes: append(slices.Clone(steps[i].path.Scopes), scope)}
	}
	return steps
}

// member is the paths that a membership with these links is below, over time. Those of a team share them.
func (t *tree) member(links []link) []step {
	if len(links) > 1 {
		return t.above(links)
	}
	if t.below[links[0]] == nil {
		t.below[links[0]] = t.above(links)
	}
	return t.below[links[0]]
}

// above is the paths of whom the links name as parents, over time.
func (t *tree) above(links []link) (steps []step) {
	if t.turned() {
		return t.within(links, link{from: math.MinInt64, to: math.MaxInt64}, map[int64]bool{})
	}
	for _, link := range links {
		for j, above := range t.to(link.parent) {
			if j > 0 && above.from >= link.to {
				break
			}
			// The parent's last step before this link began holds when it begins, and its first at earlier times as well.
			from := link.from
			if j > 0 {
				from = max(above.from, link.from)
			}
			if len(steps) > 0 && steps[len(steps)-1].from >= from {
				steps = steps[:len(steps)-1]
			}
			steps = append(steps, step{from: from, path: above.path})
		}
	}
	return steps
}

// turned says whether a scope ever stood below one that stood below it at another time. No path goes in a circle then either, but
// the paths of one scope at all times can't be made of the paths of its parents at all times.
func (t *tree) turned() bool {
	if t.turns != nil {
		return *t.turns
	}
	const open, closed = 1, 2
	state, turns := map[int64]int{}, false
	var visit func(scope int64)
	visit = func(scope int64) {
		state[scope] = open
		for _, l := range t.parents[scope] {
			switch state[l.parent] {
			case 0:
				visit(l.parent)
			case open:
				turns = true
			}
		}
		state[scope] = closed
	}
	for _, links := range t.parents {
		for _, l := range links {
			if state[l.parent] == 0 {
				visit(l.parent)
			}
		}
	}
	t.turns = &turns
	return turns
}

// within is above, made for a window of time alone: from each parent it asks for no more than the time in which the link holds.
// Where links stand for times before and after they hold, it asks for their first or last moment. on are the scopes on the way
// down to here, which a path has once, whatever the links say.
func (t *tree) within(links []link, window link, on map[int64]bool) (steps []step) {
	for i, l := range links {
		from, to := window.from, window.to // as long as the link stands for
		if i > 0 {
			from = max(from, l.from)
		}
		if i+1 < len(links) {
			to = min(to, links[i+1].from)
		}
		if from >= to {
			continue
		}
		first := min(max(from, l.from), l.to-1)
		above := []step{{path: &Path{Scopes: []int64{l.parent}}}}
		if upper := t.parents[l.parent]; len(upper) > 0 && !on[l.parent] {
			on[l.parent] = true
			above = extended(t.within(upper, link{from: first, to: max(min(to, l.to), first+1)}, on), l.parent)
			delete(on, l.parent)
		}
		for j, s := range above {
			if j == 0 {
				s.from = from
			}
			steps = append(steps, s)
		}
	}
	return steps
}
