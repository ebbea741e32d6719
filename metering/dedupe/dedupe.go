// Package dedupe is the window of identities seen before, by the hour of the event's own time.
//
// It is pure: its clock is Kafka's, told by Advance. An hour that still receives many events is an open-addressing set of
// 128-bit hashes; an hour that is past is a sorted run beside a small set of what came for it late. Whatever is older than
// Floor the window does not hold, and says so; the journal knows it exactly.
//
// Invariants: within [Floor, ∞) Contains is exact: no false positive, no false negative. Insert beyond the limit is
// ErrFull, and the worker pauses rather than forget.
package dedupe

import (
	"errors"
	"slices"
	"time"
)

// ErrFull says that the window holds as many identities as it may.
var ErrFull = errors.New("the dedupe window is full")

const hourMicros = int64(time.Hour / time.Microsecond)

// Hash is an identity's keyed hash.
type Hash = [16]byte

// Window holds the identities of one partition. It is not safe for concurrent use. Make it with New.
type Window struct {
	span   int64 // µs
	limit  int
	count  int
	clock  int64 // the newest record's timestamp, Unix µs
	hours  map[int64]*hour
	last   *hour // of the last call: events come in runs of one hour
	lastID int64
}

type hour struct {
	recent set
	run    []Hash // sorted; hashes that were sealed
}

// New returns an empty window that reaches span back from Kafka's clock and holds at most limit identities.
func New(span time.Duration, limit int) *Window {
	return &Window{span: span.Microseconds(), limit: limit, hours: map[int64]*hour{}}
}

// Floor is the oldest event time (Unix µs) that the window answers for. Before the first Advance it is the smallest time.
func (w *Window) Floor() int64 {
	if w.clock == 0 {
		return -1 << 62
	}
	return hourOf(w.clock-w.span) * hourMicros
}

// Len is the number of identities held.
func (w *Window) Len() int { return w.count }

// Advance moves Kafka's clock on to a record's timestamp (Unix µs): hours that end before its span are dropped, and hours
// that are past are sealed. A clock that goes back is ignored.
func (w *Window) Advance(recordMicros int64) {
	if recordMicros <= w.clock {
		return
	}
	before := hourOf(w.clock)
	w.clock = recordMicros
	now := hourOf(recordMicros)
	if now == before {
		return
	}
	floor := hourOf(w.clock - w.span)
	for id, h := range w.hours {
		switch {
		case id < floor:
			w.count -= h.len()
			delete(w.hours, id)
			w.last = nil
		case id < now-1:
			h.seal()
		}
	}
}

// Contains says whether the identity was inserted with an event time of the same hour.
func (w *Window) Contains(hash Hash, eventMicros int64) bool {
	h := w.hour(hourOf(eventMicros), false)
	return h != nil && h.contains(hash)
}

// Insert adds the identity; fresh is false when it was there.
func (w *Window) Insert(hash Hash, eventMicros int64) (fresh bool, err error) {
	h := w.hour(hourOf(eventMicros), true)
	if h.contains(hash) {
		return false, nil
	}
	if w.count >= w.limit {
		return false, ErrFull
	}
	h.recent.insert(hash)
	w.count++
	return true, nil
}

func (w *Window) hour(id int64, make bool) *hour {
	if w.last != nil && w.lastID == id {
		return w.last
	}
	h := w.hours[id]
	if h == nil && make {
		h = &hour{}
		w.hours[id] = h
	}
	if h != nil {
		w.last, w.lastID = h, id
	}
	return h
}

// Bytes is the memory that the identities take.
func (w *Window) Bytes() (n int) {
	for _, h := range w.hours {
		n += 16 * (cap(h.run) + len(h.recent.slots))
	}
	return n
}

func (h *hour) len() int { return len(h.run) + h.recent.used }

func (h *hour) contains(hash Hash) bool {
	if h.recent.contains(hash) {
		return true
	}
	_, found := slices.BinarySearchFunc(h.run, hash, compare)
	return found
}

// seal moves what the set holds into the run.
func (h *hour) seal() {
	if h.recent.used == 0 {
		return
	}
	run := make([]Hash, 0, h.len())
	run = append(run, h.run...)
	run = h.recent.appendTo(run)
	slices.SortFunc(run, compare)
	h.run, h.recent = run, set{}
}

// hourOf rounds down, also before 1970.
func hourOf(micros int64) int64 {
	h := micros / hourMicros
	if micros%hourMicros < 0 {
		h--
	}
	return h
}
