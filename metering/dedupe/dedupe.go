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
	span    int64 // µs
	limit   int
	create  func() (File, error)
	count   int
	clock   int64 // the newest record's timestamp, Unix µs
	hours   map[int64]*hour
	list    []*hour   // the same hours
	filters []watched // of all runs
	last    *hour     // of the last call: events come in runs of one hour
	lastID  int64
	absent  Hash // what Contains did not find, if missed: until something else is asked
	missed  bool
	touched uint64   // keeps what touch reads
	kept    [][]byte // memory of an hour that was settled, for the next that begins
	making  *group   // nil: none
}

// New returns an empty window that reaches span back from Kafka's clock and holds at most limit identities. Past hours go
// to the files that create makes.
func New(span time.Duration, limit int, create func() (File, error)) *Window {
	return &Window{span: span.Microseconds(), limit: limit, create: create, hours: map[int64]*hour{}}
}

// Close gives back memory and files. The window is empty then.
func (w *Window) Close() {
	for _, h := range w.hours {
		h.close()
	}
	clear(w.hours)
	w.abandon()
	release(w.kept...)
	w.kept = nil
	w.list, w.filters, w.last, w.missed, w.count = nil, nil, nil, false, 0
}

// Floor is the oldest event time (Unix µs) that the window answers for. Before the first Advance it is the smallest time.
func (w *Window) Floor() int64 { return w.FloorAt(w.clock) }

// Clock is Kafka's clock as far as it was told, Unix µs.
func (w *Window) Clock() int64 { return w.clock }

// FloorAt is what Floor would be with Kafka's clock at that time (Unix µs).
func (w *Window) FloorAt(clock int64) int64 {
	if clock == 0 {
		return -1 << 62
	}
	return hourOf(clock-w.span) * hourMicros
}

// Len is the number of identities held, and Room how many more may be.
func (w *Window) Len() int  { return w.count }
func (w *Window) Room() int { return w.limit - w.count }

// Advance moves Kafka's clock on to a record's timestamp (Unix µs), and drops hours that end before its span. A clock that
// goes back is ignored.
func (w *Window) Advance(recordMicros int64) {
	if recordMicros <= w.clock {
		return
	}
	before := hourOf(w.clock)
	w.clock = recordMicros
	if hourOf(recordMicros) == before {
		return
	}
	floor := hourOf(w.clock - w.span)
	for id, h := range w.hours {
		if id < floor {
			w.count -= h.len()
			h.close()
			delete(w.hours, id)
			w.list = slices.DeleteFunc(w.list, func(other *hour) bool { return other == h })
			w.last = nil
		}
	}
	w.watch()
}

// Ahead reads what Contains and Add will read first of these identities, so that what waits for memory waits together. Some
// dozens at once are best.
func (w *Window) Ahead(hashes []Hash) {
	sum := uint64(0)
	for i := range w.filters {
		for k := range hashes {
			sum += w.filters[i].filter.block(&hashes[k])[0]
		}
	}
	for _, h := range w.list {
		if h.set.used > 0 {
			sum += h.set.touchAll(hashes)
		}
	}
	w.touched += sum
}

// Contains says whether the identity was added, with whatever event time. That of this event says where to look first.
func (w *Window) Contains(hash Hash, eventMicros int64) (bool, error) {
	w.missed = false
	w.touch(&hash)
	own := w.hour(hourOf(eventMicros), false)
	if own != nil {
		if found, err := own.contains(&hash); found || err != nil {
			return found, err
		}
	}
	p := probeOf(&hash)
	for i := range w.filters {
		if f := &w.filters[i]; p.in(f.block) {
			for _, h := range f.hours {
				if found, err := h.contains(&hash); found || err != nil {
					return found, err
				}
			}
		}
	}
	for _, h := range w.list {
		if h == own || h.onlyRun() { // most hours are past, and their filter has said that they have not had it
			continue
		}
		if found, err := h.contains(&hash); found || err != nil {
			return found, err
		}
	}
	w.absent, w.missed = hash, true
	return false, nil
}

// touch reads what Contains reads first, so that what waits for memory in many hours waits together.
func (w *Window) touch(hash *Hash) {
	sum := uint64(0)
	for i := range w.filters { // with little else in between, or the processor does not get to the next in time
		f := &w.filters[i]
		f.block = f.filter.block(hash)
		sum += f.block[0]
	}
	for _, h := range w.list {
		if h.set.used > 0 {
			sum += h.set.touch(hash)
		}
	}
	w.touched += sum
}

// Add inserts the identity unless the window contains it; fresh is false when it did. Right behind a Contains of the same
// identity it does not look again.
func (w *Window) Add(hash Hash, eventMicros int64) (fresh bool, err error) {
	if !w.missed || w.absent != hash {
		if found, err := w.Contains(hash, eventMicros); found || err != nil {
			return false, err
		}
	}
	w.missed = false
	return w.insert(w.hour(hourOf(eventMicros), true), &hash)
}

// Many is how many identities AddAll likes best to be given at once: so many that neighbours in the order of hashes share
// the lines of memory of a set of millions, and so few that they take only some megabytes.
const Many = 1 << 18

// together is how many identities wait for memory at once.
const together = 64

// AddAll inserts identities that were decided, with their event times (Unix µs), and returns how many were fresh. Those
// older than Floor are passed over. It is many times faster than Add: memory is waited for together, and an identity is only
// looked for in the hour of its own time, since what was decided was decided once. Many at once are faster again: those of
// an hour go in by ranges of hashes, and caches hold a range's part of the set.
func (w *Window) AddAll(hashes []Hash, eventMicros []int64) (fresh int, err error) {
	w.missed = false
	for len(hashes) > 0 {
		id, n := hourOf(eventMicros[0]), 1
		for n < len(hashes) && hourOf(eventMicros[n]) == id {
			n++
		}
		if id*hourMicros >= w.Floor() {
			added, err := w.addHour(w.hour(id, true), byRange(hashes[:n]))
			if fresh += added; err != nil {
				return fresh, err
			}
		}
		hashes, eventMicros = hashes[n:], eventMicros[n:]
	}
	return fresh, nil
}

// addHour inserts into one hour's set what is nowhere else in the hour.
func (w *Window) addHour(h *hour, hashes []Hash) (fresh int, err error) {
	before := w.count
	for group := range slices.Chunk(hashes, together) {
		w.touched += h.set.touchAll(group)
		if h.moving == nil && h.run == nil && w.Room() >= len(group) {
			added, err := h.set.addAll(group)
			if w.count += added; err != nil {
				return w.count - before, err
			}
			continue
		}
		for i := range group {
			hash := &group[i]
			found, err := h.settled(hash)
			if !found && err == nil {
				_, err = w.insert(h, hash)
			}
			if err != nil {
				return w.count - before, err
			}
		}
	}
	return w.count - before, nil
}

// insert puts into the hour's set what is nowhere else in the hour.
func (w *Window) insert(h *hour, hash *Hash) (fresh bool, err error) {
	if w.count >= w.limit {
		if h.set.contains(hash) {
			return false, nil
		}
		return false, ErrFull
	}
	if fresh, err = h.set.add(hash); fresh {
		w.count++
	}
	return fresh, err
}

func (w *Window) hour(id int64, make bool) *hour {
	if w.last != nil && w.lastID == id {
		return w.last
	}
	h := w.hours[id]
	if h == nil && make {
		h = &hour{}
		if id >= hourOf(w.clock)-1 {
			h.set.take(w.kept)
			w.kept = nil
		}
		w.hours[id] = h
		w.list = append(w.list, h)
	}
	if h != nil {
		w.last, w.lastID = h, id
	}
	return h
}

// Settle moves about limit identities of past hours, the oldest first, from memory to their runs, and then makes one filter
// of those of several runs. An error other than
// ErrBroken means that a run can't be written now: nothing has changed, and Settle may be called again.
//
// 10 million identities of an hour cost about a second of CPU and a file of 160 MB. Called with a few times what was added
// since the call before, it keeps up, and no call takes longer than a batch does.
func (w *Window) Settle(limit int) error {
	defer w.watch()
	for limit > 0 {
		h := w.due()
		if h == nil {
			moved, err := w.group(limit)
			if err != nil || moved == 0 {
				return err
			}
			limit -= moved
			continue
		}
		moved, err := h.settle(limit, w.create, w.keep)
		if err != nil {
			return err
		}
		limit -= moved
	}
	return nil
}

// keep keeps the memory for the next hour that begins, unless there is more already: memory that the kernel hands out anew
// costs about as much as inserting into it.
func (w *Window) keep(mapped [][]byte) {
	if segments(mapped) > segments(w.kept) {
		mapped, w.kept = w.kept, mapped
	}
	release(mapped...)
}

// due is the oldest past hour that holds enough to be settled.
func (w *Window) due() (oldest *hour) {
	var at int64
	for id, h := range w.hours {
		if id < hourOf(w.clock)-1 && h.due() && (oldest == nil || id < at) {
			oldest, at = h, id
		}
	}
	return oldest
}

// Unsettled is how many identities of past hours Settle would move.
func (w *Window) Unsettled() (n int) {
	for id, h := range w.hours {
		if id < hourOf(w.clock)-1 && h.due() {
			n += h.unsettled()
		}
	}
	return n
}

// Size is what a window takes.
type Size struct {
	Newest, Past         int // identities of the newest hours (whatever is not past) and of past ones
	NewestBytes          int // of memory
	PastBytes, DiskBytes int // of memory, and in scratch files
	KeptBytes            int // of memory that no identity is in yet: for the newest hours and those to come
}

// Size adds up what the window takes.
func (w *Window) Size() (s Size) {
	s.KeptBytes, s.PastBytes = segments(w.kept)*segmentBytes, w.groupBytes()
	for id, h := range w.hours {
		s.KeptBytes += h.set.kept()
		if id < hourOf(w.clock)-1 {
			s.Past += h.len()
			s.PastBytes += h.bytes()
		} else {
			s.Newest += h.len()
			s.NewestBytes += h.bytes()
		}
		s.DiskBytes += h.disk()
	}
	return s
}

// hourOf rounds down, also before 1970.
func hourOf(micros int64) int64 {
	h := micros / hourMicros
	if micros%hourMicros < 0 {
		h--
	}
	return h
}
