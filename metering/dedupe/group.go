package dedupe

import (
	"cmp"
	"slices"
)

// groupRuns is how many runs share a filter. With more of them, more of the filter is of hours that were dropped.
const groupRuns = 4

// group is one filter for the runs of several past hours, made from what the runs hold: an identity that none of them has
// costs one line of memory, and not one an hour. It stays until the last of its runs is closed.
type group struct {
	filter filter
	runs   []*run
	next   int    // of runs, the one that is added
	rest   cursor // what of it is not added
	open   int    // runs that it answers for
}

// leave is called by a run that is closed.
func (g *group) leave() {
	if g.open--; g.open == 0 {
		g.filter.close()
	}
}

// group adds about limit identities to the group that is being made, and begins one if there are runs for it. It returns how
// many it added.
func (w *Window) group(limit int) (moved int, err error) {
	if w.making != nil && slices.ContainsFunc(w.making.runs, func(r *run) bool { return r.closed }) {
		w.abandon() // an hour was dropped, or made anew: others will do
	}
	if w.making == nil {
		if w.making, err = w.begin(); w.making == nil {
			return 0, err
		}
	}
	g := w.making
	for ; moved < limit; moved++ {
		h, err := g.rest.peek()
		if err != nil {
			return moved, err
		}
		if h != nil {
			g.filter.add(h)
			g.rest.skip()
			continue
		}
		if g.next++; g.next == len(g.runs) {
			w.making = nil
			g.answer()
			return moved, nil
		}
		g.rest = cursor{run: g.runs[g.next]}
	}
	return moved, nil
}

// begin begins a group of the oldest runs that have a filter of their own; nil if they are too few.
func (w *Window) begin() (*group, error) {
	var ids []int64
	for id, h := range w.hours {
		if h.run != nil && h.run.group == nil && h.moving == nil {
			ids = append(ids, id)
		}
	}
	if len(ids) < groupRuns {
		return nil, nil
	}
	slices.SortFunc(ids, cmp.Compare[int64])
	g, n := &group{}, 0
	for _, id := range ids[:groupRuns] {
		g.runs = append(g.runs, w.hours[id].run)
		n += w.hours[id].run.n
	}
	g.rest = cursor{run: g.runs[0]}
	var err error
	g.filter, err = newFilter(n)
	return g, err
}

// answer makes the group's filter that of its runs.
func (g *group) answer() {
	for _, r := range g.runs {
		r.filter.close()
		r.filter, r.group = g.filter, g
	}
	g.open, g.runs, g.rest = len(g.runs), nil, cursor{}
}

func (w *Window) abandon() {
	if w.making != nil {
		w.making.filter.close()
		w.making = nil
	}
}

// groupBytes is the memory of the filters that runs share, and of the one that is being made.
func (w *Window) groupBytes() (n int) {
	var counted []*group
	for _, h := range w.list {
		if h.run != nil && h.run.group != nil && !slices.Contains(counted, h.run.group) {
			counted = append(counted, h.run.group)
			n += len(h.run.group.filter.mapped)
		}
	}
	if w.making != nil {
		n += len(w.making.filter.mapped)
	}
	return n
}

// watched is a filter, the hours whose runs it answers for, and its block of what is asked at the moment.
type watched struct {
	filter filter
	hours  []*hour
	block  *[8]uint64
}

// watch lists the filters anew, after runs have come or gone.
func (w *Window) watch() {
	w.filters = w.filters[:0]
	at := map[*group]int{}
	for _, h := range w.list {
		if h.run == nil {
			continue
		}
		if i, known := at[h.run.group]; known && h.run.group != nil {
			w.filters[i].hours = append(w.filters[i].hours, h)
			continue
		}
		at[h.run.group] = len(w.filters)
		w.filters = append(w.filters, watched{filter: h.run.filter, hours: []*hour{h}})
	}
}
