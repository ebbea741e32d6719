package dedupe

import "encoding/binary"

const (
	runMin     = 1 << 12 // fewer identities than this stay in a set
	lateShare  = 64      // a run is made anew when a 64th of it has come late
	settleStep = 1 << 13 // identities that go to a run with one write
)

// hour is one hour's identities. Each is in set, in old or in run, and while it moves from old to next, in both.
type hour struct {
	set set  // what is added goes here
	run *run // nil: none yet
	*moving
}

// moving is the work of settling: what the hour's set was, merged with the run into the next one.
type moving struct {
	old     set
	next    *run
	rest    cursor // what of the run is not in next
	at      int    // entry of old's directory from which on nothing is in next
	pending []Hash // in order: read from old and the run, and to be written to next
	until   int    // entry of old's directory up to which pending reaches
	sorted  []Hash // of one segment
	broken  error  // the run can't be read: settling can't go on
}

func (h *hour) len() int {
	n := h.set.used
	if h.moving != nil {
		n += h.old.used
	}
	if h.run != nil {
		n += h.run.n
	}
	return n
}

func (h *hour) contains(hash *Hash) (bool, error) {
	if h.set.contains(hash) {
		return true, nil
	}
	return h.settled(hash)
}

// onlyRun says that all of the hour is in its run.
func (h *hour) onlyRun() bool { return h.set.used == 0 && h.moving == nil }

// settled says whether the identity is in what is no longer the hour's set.
func (h *hour) settled(hash *Hash) (found bool, err error) {
	if h.moving != nil {
		if h.old.contains(hash) {
			return true, nil
		}
		if found, err = h.next.contains(hash); found || err != nil {
			return found, err
		}
	}
	if h.run != nil {
		return h.run.contains(hash)
	}
	return false, nil
}

// due says whether there is enough in memory to be worth a run.
func (h *hour) due() bool {
	enough := runMin
	if h.run != nil {
		enough = max(enough, h.run.n/lateShare)
	}
	return h.moving != nil || h.set.used >= enough
}

// unsettled is how many identities are in memory.
func (h *hour) unsettled() int {
	if h.moving != nil {
		return h.set.used + h.old.used
	}
	return h.set.used
}

// settle moves about limit identities, those of the run that is made anew included, and returns how many. The memory that is
// free in the end is handed to keep.
func (h *hour) settle(limit int, create func() (File, error), keep func([][]byte)) (moved int, err error) {
	if h.moving == nil {
		if err := h.begin(create); err != nil {
			return 0, err
		}
	}
	for moved < limit {
		if h.broken == nil && len(h.pending) == 0 {
			h.broken = h.collect()
		}
		if h.broken != nil {
			return moved, h.broken
		}
		if len(h.pending) == 0 {
			return moved, h.end(keep)
		}
		if err := h.next.append(h.pending); err != nil {
			return moved, err
		}
		h.old.empty(h.at, h.until) // it is found in next from now on
		h.at = h.until
		moved += len(h.pending)
		h.pending = h.pending[:0]
	}
	return moved, nil
}

func (h *hour) begin(create func() (File, error)) error {
	n := h.set.used
	if h.run != nil {
		n += h.run.n
	}
	next, err := newRun(n, create)
	if err != nil {
		return err
	}
	h.moving = &moving{old: h.set, next: next, rest: cursor{run: h.run}}
	h.set = set{}
	return nil
}

// collect makes the next step's identities pending: some of old's segments, and what the run has of their range.
func (h *hour) collect() error {
	for h.until < len(h.old.dir) && len(h.pending) < settleStep {
		g := h.old.dir[h.until]
		h.until += 1 << (h.old.depth - g.depth)
		last := h.until == len(h.old.dir)
		bound := uint64(h.until) << (64 - h.old.depth) // of no meaning for the last
		h.sorted = g.appendSorted(h.sorted[:0])
		for _, hash := range h.sorted {
			if err := h.take(func(r *Hash) bool { return compare(*r, hash) < 0 }); err != nil {
				return err
			}
			h.pending = append(h.pending, hash)
		}
		if err := h.take(func(r *Hash) bool { return last || binary.BigEndian.Uint64(r[:8]) < bound }); err != nil {
			return err
		}
	}
	return nil
}

// take makes pending what comes next in the run, as long as ok.
func (h *hour) take(ok func(*Hash) bool) error {
	for {
		r, err := h.rest.peek()
		if err != nil || r == nil || !ok(r) {
			return err
		}
		h.pending = append(h.pending, *r)
		h.rest.skip()
	}
}

func (h *hour) end(keep func([][]byte)) error {
	if err := h.next.finish(); err != nil {
		return err
	}
	if h.run != nil {
		h.run.close()
	}
	h.run = h.next
	keep(h.old.yield())
	h.moving = nil
	return nil
}

func (h *hour) close() {
	h.set.close()
	if h.moving != nil {
		h.old.close()
		h.next.close()
	}
	if h.run != nil {
		h.run.close()
	}
	*h = hour{}
}

// bytes is the memory that the hour takes, and disk what is in files.
func (h *hour) bytes() int {
	n := h.set.bytes
	if h.moving != nil {
		n += h.old.bytes + h.next.bytes() + 16*cap(h.pending)
	}
	if h.run != nil {
		n += h.run.bytes()
	}
	return n
}

func (h *hour) disk() (n int) {
	if h.moving != nil {
		n += 16 * h.next.n
	}
	if h.run != nil {
		n += 16 * h.run.n
	}
	return n
}
