package journaltest

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/journal"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/google/uuid"
)

// Contract is what every journal.Store does. open makes an empty one.
func Contract(t *testing.T, open func(t *testing.T) journal.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, journal.Store){
		"only the last taker commits":                       lastTaker,
		"a lease commits from its position only":            position,
		"a generation ends the leases before it":            generation,
		"a paused log takes nothing":                        paused,
		"takers at once write each position once":           takersAtOnce,
		"two with the same lease race, and one writes":      race,
		"a commit that fails moves nothing":                 failedCommit,
		"a context that ended is no refusal":                endedContext,
		"a row keeps its bytes":                             bytesKept,
		"an unknown outcome is resolved by the row":         resolved,
		"what comes after it was resolved is refused":       resolvedThenLate,
		"more partitions are a generation, once":            repartition,
		"a new home knows what the old ones decided":        newHome,
		"a topic made anew is paused":                       madeAnew,
		"a window is of its own log, since a time":          identities,
		"a window of many rows is whole":                    manyRows,
		"an identity is looked up in all logs of a topic":   decided,
		"a move is found by position and identity":          wasMoved,
		"the newest time is the log's, or else the topic's": newest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func partition(n int32) journal.Partition {
	return journal.Partition{ClusterID: "c", TopicID: "id", Topic: "usage.v1", Partition: n}
}

// noon is the time of events that need one.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// row is a batch of charged events at each position of [from, to), with identities made of their positions.
func row(from, to int64, at time.Time) *journal.Row {
	var entries []body.Entry
	for p := from; p < to; p++ {
		entries = append(entries, body.Entry{Decision: body.Charged, Position: p, Identity: [16]byte{byte(p)}, TimeMicros: at.UnixMicro()})
	}
	return batch(from, to, at, entries...)
}

func batch(from, to int64, at time.Time, entries ...body.Entry) *journal.Row {
	b := body.Body{Paths: []body.Path{{Account: 1, Section: 1, Scopes: []int64{1}}}, Entries: entries}
	var e body.Encoder
	return &journal.Row{From: from, To: to, Kind: journal.Batch, ID: uuid.New(), MinTime: at, MaxTime: at,
		Counts: journal.Counts{Charged: len(entries)}, Body: e.Append(nil, from, &b)}
}

func take(t *testing.T, s journal.Store, p journal.Partition, partitions int32, start int64) *journal.Lease {
	t.Helper()
	l, err := s.Take(t.Context(), p, partitions, start)
	if err != nil {
		t.Fatal(err)
	}
	return &l
}

func commit(t *testing.T, s journal.Store, l *journal.Lease, r *journal.Row) {
	t.Helper()
	if err := s.Commit(t.Context(), l, r); err != nil || l.Next != r.To {
		t.Fatalf("commit [%d, %d): %v, next %d", r.From, r.To, err, l.Next)
	}
}

// refused fails the test when the commit is not, or when it moved the log or the lease.
func refused(t *testing.T, s journal.Store, l *journal.Lease, r *journal.Row, why string) {
	t.Helper()
	before := l.Next
	if err := s.Commit(t.Context(), l, r); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("%s: a commit answered %v, want ErrFenced", why, err)
	}
	if l.Next != before {
		t.Fatalf("%s: the lease moved to %d", why, l.Next)
	}
}

func lastTaker(t *testing.T, s journal.Store) {
	old := take(t, s, partition(0), 1, 5)
	young := take(t, s, partition(0), 1, 0)
	if young.Next != 5 || young.Epoch != old.Epoch+1 || young.LogID != old.LogID {
		t.Fatalf("taken as %+v after %+v", young, old)
	}
	refused(t, s, old, row(5, 8, noon), "an older lease")
	commit(t, s, young, row(5, 8, noon))
	refused(t, s, old, row(8, 9, noon), "an older lease that knows the position")
}

func position(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 1, 5)
	refused(t, s, l, row(4, 8, noon), "from below")
	refused(t, s, l, row(6, 8, noon), "from above")
	commit(t, s, l, row(5, 8, noon))
	refused(t, s, l, row(5, 8, noon), "again")
	if l := take(t, s, partition(0), 1, 0); l.Next != 8 {
		t.Fatalf("the log stands at %d", l.Next)
	}
}

func generation(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 1, 0)
	if err := s.Repartition(t.Context(), partition(0), 2, map[int32]int64{0: 0, 1: 0}); err != nil {
		t.Fatal(err)
	}
	refused(t, s, l, row(0, 3, noon), "under the old generation")
	commit(t, s, take(t, s, partition(0), 2, 0), row(0, 3, noon))
}

func paused(t *testing.T, s journal.Store) {
	old := take(t, s, partition(0), 1, 0)
	l := take(t, s, partition(0), 1, 0)
	if err := s.Pause(t.Context(), old, "no"); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("an older lease paused: %v", err)
	}
	if err := s.Pause(t.Context(), l, "lost"); err != nil || l.Paused != "lost" {
		t.Fatalf("pause: %v, %q", err, l.Paused)
	}
	refused(t, s, l, row(0, 3, noon), "a paused log")
	again := take(t, s, partition(0), 1, 0)
	if again.Paused != "lost" || again.Next != 0 {
		t.Fatalf("taken as %+v", again)
	}
	refused(t, s, again, row(0, 3, noon), "a paused log, taken again")
}

// However many take and commit at once, ranges stay contiguous and each position is written once.
func takersAtOnce(t *testing.T, s journal.Store) {
	var written atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				l, err := s.Take(t.Context(), partition(0), 1, 0)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Commit(t.Context(), &l, row(l.Next, l.Next+3, noon)); err == nil {
					written.Add(3)
				} else if !errors.Is(err, journal.ErrFenced) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if l := take(t, s, partition(0), 1, 0); l.Next != written.Load() || l.Next == 0 {
		t.Fatalf("the log stands at %d, and %d positions were committed", l.Next, written.Load())
	}
}

func race(t *testing.T, s journal.Store) {
	for n := range int64(20) {
		a := take(t, s, partition(0), 1, 0)
		b := *a
		var wrote atomic.Int32
		var wg sync.WaitGroup
		for _, l := range []*journal.Lease{a, &b} {
			wg.Go(func() {
				if err := s.Commit(t.Context(), l, row(n, n+1, noon)); err == nil {
					wrote.Add(1)
				} else if !errors.Is(err, journal.ErrFenced) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if wrote.Load() != 1 {
			t.Fatalf("position %d was written %d times", n, wrote.Load())
		}
	}
}

func failedCommit(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 1, 0)
	first, second := row(0, 3, noon), row(3, 5, noon)
	commit(t, s, l, first)
	second.ID = first.ID // which the table refuses
	if err := s.Commit(t.Context(), l, second); err == nil || errors.Is(err, journal.ErrFenced) {
		t.Fatalf("a batch with the id of another: %v", err)
	}
	if next := take(t, s, partition(0), 1, 0).Next; next != 3 || l.Next != 3 {
		t.Fatalf("a commit that failed moved the log to %d and the lease to %d: those events are lost", next, l.Next)
	}
}

func endedContext(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 1, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Commit(ctx, l, row(0, 3, noon)); err == nil || errors.Is(err, journal.ErrFenced) {
		t.Fatalf("%v: who is told that it was fenced does not ask what became of the row", err)
	}
}

func bytesKept(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 1, 0)
	r := row(0, 3, noon)
	commit(t, s, l, r)
	clear(r.Body) // a worker encodes its next batch into the same memory
	n := 0
	if err := s.Identities(t.Context(), *l, noon, func([16]byte, int64) { n++ }); err != nil || n != 3 {
		t.Fatalf("%d identities, %v", n, err)
	}
}

func resolved(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 1, 0)
	before := l.Epoch
	r := row(0, 2, noon)
	commit(t, s, l, r)
	written, err := s.Resolve(t.Context(), l, r.ID)
	if err != nil || !written || l.Next != 2 || l.Epoch <= before {
		t.Fatalf("written %t, %v, %+v", written, err, l)
	}
	// Whoever had the log in between wrote the same range: positions say nothing.
	other := take(t, s, partition(0), 1, 0)
	commit(t, s, other, row(2, 4, noon))
	if written, err := s.Resolve(t.Context(), l, uuid.New()); err != nil || written || l.Next != 4 {
		t.Fatalf("a row that was never committed: written %t, %v, next %d", written, err, l.Next)
	}
}

func resolvedThenLate(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 1, 0)
	late, r := *l, row(0, 2, noon)
	if written, err := s.Resolve(t.Context(), l, r.ID); err != nil || written {
		t.Fatalf("written %t, %v", written, err)
	}
	refused(t, s, &late, r, "a statement that was on its way")
	commit(t, s, l, row(0, 2, noon))
}

func repartition(t *testing.T, s journal.Store) {
	more := func(p journal.Partition, n int32, starts map[int32]int64) {
		t.Helper()
		if err := s.Repartition(t.Context(), p, n, starts); err != nil {
			t.Fatal(err)
		}
	}
	more(partition(0), 9, map[int32]int64{0: 0}) // a topic that is not known begins no generation
	l := take(t, s, partition(0), 1, 0)
	if l.Generation != 1 || l.Partitions != 1 {
		t.Fatalf("%+v", l)
	}
	for range 2 { // again is no change
		more(partition(0), 3, map[int32]int64{0: 7, 1: 0, 2: 4})
	}
	more(partition(0), 2, map[int32]int64{0: 0, 1: 0}) // metadata that lags
	for n, next := range []int64{0, 0, 4} {
		l := take(t, s, partition(int32(n)), 2, 100)
		if l.Generation != 2 || l.Partitions != 3 || l.Next != next || l.Paused != "" {
			t.Fatalf("partition %d: %+v", n, l)
		}
	}
	// A log that is taken for the first time later is of the newest generation.
	if l := take(t, s, partition(7), 1, 5); l.Generation != 2 || l.Partitions != 3 || l.Next != 5 {
		t.Fatalf("%+v", l)
	}
}

func newHome(t *testing.T, s journal.Store) {
	commit(t, s, take(t, s, partition(0), 1, 0), row(0, 3, noon))
	if err := s.Repartition(t.Context(), partition(0), 2, map[int32]int64{1: 0}); err != nil {
		t.Fatal(err)
	}
	young := take(t, s, partition(1), 2, 0)
	seen := map[[16]byte]bool{}
	if err := s.Identities(t.Context(), *young, noon.Add(-time.Hour), func(id [16]byte, micros int64) { seen[id] = micros == noon.UnixMicro() }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(seen, map[[16]byte]bool{{0}: true, {1}: true, {2}: true}) {
		t.Fatalf("%v", seen)
	}
}

func madeAnew(t *testing.T, s journal.Store) {
	commit(t, s, take(t, s, partition(0), 1, 0), row(0, 9, noon))
	other := partition(0)
	other.TopicID = "other"
	anew := take(t, s, other, 1, 0)
	if anew.Paused == "" {
		t.Fatal("a topic with another id was read without a word")
	}
	refused(t, s, anew, row(0, 1, noon), "a topic made anew")
	other.ClusterID = "d"
	if elsewhere := take(t, s, other, 1, 0); elsewhere.Paused != "" {
		t.Fatalf("another cluster's topic of that name: %q", elsewhere.Paused)
	}
}
