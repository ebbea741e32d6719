package journaltest

import (
	"maps"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/journal"
	body "github.com/alchemi/cockpit/schemas/journal"
)

// everything is an event of each decision at positions from 0 on, with the identity {100 + decision}.
func everything(at time.Time) []body.Entry {
	var entries []body.Entry
	for i, d := range []body.Decision{body.Charged, body.Duplicate, body.Observed, body.Quarantined, body.Moved, body.Skipped} {
		e := body.Entry{Decision: d, Position: int64(i), Identity: [16]byte{100 + byte(d)}}
		if d.HasCharge() {
			e.TimeMicros = at.UnixMicro()
		}
		entries = append(entries, e)
	}
	return entries
}

func identities(t *testing.T, s journal.Store) {
	l, neighbour := take(t, s, partition(0), 2, 0), take(t, s, partition(1), 2, 0)
	commit(t, s, l, batch(0, 6, noon, everything(noon)...))
	commit(t, s, l, row(6, 7, noon.Add(-30*time.Hour)))
	commit(t, s, neighbour, row(0, 3, noon))
	for since, want := range map[time.Duration]map[[16]byte]bool{
		-time.Hour:       {{100 + byte(body.Charged)}: true, {100 + byte(body.Observed)}: true, {100 + byte(body.Skipped)}: true},
		-30 * time.Hour:  {{100 + byte(body.Charged)}: true, {100 + byte(body.Observed)}: true, {100 + byte(body.Skipped)}: true, {6}: true},
		time.Microsecond: {},
	} {
		seen := map[[16]byte]bool{}
		if err := s.Identities(t.Context(), *l, noon.Add(since), func(id [16]byte, _ int64) { seen[id] = true }); err != nil || !maps.Equal(seen, want) {
			t.Errorf("since %s: %v, want %v, %v", since, seen, want, err)
		}
	}
}

// A window that is too large for one statement is loaded by several.
func manyRows(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 1, 0)
	const rows, events = 6, 1 << 16
	for i := range int64(rows) {
		commit(t, s, l, row(i*events, (i+1)*events, noon.Add(time.Duration(i)*time.Hour)))
	}
	seen := map[int64]int{}
	if err := s.Identities(t.Context(), *l, noon.Add(time.Hour), func(_ [16]byte, micros int64) { seen[micros]++ }); err != nil {
		t.Fatal(err)
	}
	for i := range int64(rows) {
		want := events
		if i == 0 {
			want = 0 // older than asked for
		}
		if n := seen[noon.Add(time.Duration(i)*time.Hour).UnixMicro()]; n != want {
			t.Errorf("%d identities of row %d, want %d", n, i, want)
		}
	}
}

func decided(t *testing.T, s journal.Store) {
	commit(t, s, take(t, s, partition(0), 2, 0), batch(0, 6, noon, everything(noon)...))
	commit(t, s, take(t, s, partition(1), 2, 0), row(0, 3, noon.Add(-48*time.Hour)))
	ask := func(from, to time.Duration, want ...byte) {
		t.Helper()
		asked := map[[16]byte]bool{{0}: false, {1}: false, {99}: false}
		for _, e := range everything(noon) {
			asked[e.Identity] = false
		}
		if err := s.Decided(t.Context(), "usage.v1", asked, noon.Add(from), noon.Add(to)); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(asked, func(_ [16]byte, yes bool) bool { return !yes })
		wanted := map[[16]byte]bool{}
		for _, id := range want {
			wanted[[16]byte{id}] = true
		}
		if !maps.Equal(asked, wanted) {
			t.Errorf("between %s and %s: %v, want %v", from, to, asked, wanted)
		}
	}
	ask(0, 0, 101, 103, 108)
	ask(-48*time.Hour, -48*time.Hour, 0, 1)
	ask(-48*time.Hour, 0, 0, 1, 101, 103, 108)
	ask(time.Hour, 2*time.Hour)
	none := map[[16]byte]bool{{0}: false}
	if err := s.Decided(t.Context(), "guardrail.v1", none, noon.Add(-48*time.Hour), noon); err != nil || none[[16]byte{0}] {
		t.Errorf("found in another topic: %v, %v", none, err)
	}
}

func wasMoved(t *testing.T, s journal.Store) {
	l := take(t, s, partition(0), 2, 0)
	commit(t, s, l, batch(0, 6, noon, everything(noon)...)) // position 4 was moved
	elsewhere := partition(0)
	elsewhere.TopicID = "other"
	for _, c := range []struct {
		why      string
		p        journal.Partition
		position int64
		identity byte
		want     bool
	}{
		{"the move", partition(0), 4, 105, true},
		{"another identity", partition(0), 4, 106, false},
		{"a charge", partition(0), 0, 101, false},
		{"another position", partition(0), 3, 105, false},
		{"beyond the log", partition(0), 6, 105, false},
		{"another partition", partition(1), 4, 105, false},
		{"another topic", elsewhere, 4, 105, false},
	} {
		if moved, err := s.WasMoved(t.Context(), c.p, c.position, [16]byte{c.identity}); err != nil || moved != c.want {
			t.Errorf("%s: %t, %v", c.why, moved, err)
		}
	}
}

func newest(t *testing.T, s journal.Store) {
	own, neighbour := take(t, s, partition(0), 2, 0), take(t, s, partition(1), 2, 0)
	check := func(l *journal.Lease, want time.Time) {
		t.Helper()
		got, ok, err := s.Newest(t.Context(), *l)
		if err != nil || ok == want.IsZero() || ok && !got.Equal(want) {
			t.Errorf("newest of partition %d: %s, %t, %v; want %s", l.Partition.Partition, got, ok, err, want)
		}
	}
	check(own, time.Time{})
	commit(t, s, own, row(0, 3, noon))
	check(own, noon)
	check(neighbour, noon)
	commit(t, s, neighbour, row(0, 3, noon.Add(time.Hour)))
	check(neighbour, noon.Add(time.Hour))
	commit(t, s, own, row(3, 4, noon.Add(-time.Hour)))
	check(own, noon)
}
