package dedupe_test

import (
	"math"
	"testing"

	"github.com/alchemi/cockpit/metering/dedupe"
)

// Past hours share filters. Whatever is asked while one is made, after an hour of it was made anew or dropped, and when it is
// gone, the window says what it should, and what it takes stays within the gate.
func TestPastHoursShareFilters(t *testing.T) {
	t.Parallel()
	const hours, each = 10, 1 << 14
	w, d := window(t, t.TempDir(), 1<<30)
	r := newSource(11)
	var have [hours][]dedupe.Hash
	add := func(h int64, n int) {
		some, times := make([]dedupe.Hash, n), make([]int64, n)
		for i := range some {
			some[i], times[i] = r.hash(), h*hour
		}
		if fresh, err := w.AddAll(some, times); err != nil || fresh != n {
			t.Fatal(fresh, err)
		}
		have[h] = append(have[h], some...)
	}
	check := func(every int, present bool, from int) {
		t.Helper()
		for h := from; h < hours; h++ {
			for i := 0; i < len(have[h]); i += every {
				if found, err := w.Contains(have[h][i], int64(i%hours)*hour); err != nil || found != present {
					t.Fatalf("identity %d of hour %d: %t %v", i, h, found, err)
				}
			}
		}
	}
	for h := range int64(hours) {
		w.Advance(h*hour + 1)
		add(h, each)
	}
	w.Advance((hours + 2) * hour)
	for range 3 * hours * each / 10_000 {
		if err := w.Settle(10_000); err != nil {
			t.Fatal(err)
		}
		check(997, true, 0)
	}
	if s := w.Size(); s.PastBytes > 3*s.Past {
		t.Errorf("%d bytes of memory for %d identities of past hours", s.PastBytes, s.Past)
	}
	d.reads = 0
	for range each {
		if found, err := w.Contains(r.hash(), 3*hour); found || err != nil {
			t.Fatal(found, err)
		}
	}
	if d.reads > each/20 {
		t.Errorf("%d reads for %d lookups of what is in none of %d hours", d.reads, each, hours)
	}
	add(2, each) // late: the run is made anew, and leaves its filter
	if err := w.Settle(each + 1); err != nil {
		t.Fatal(err)
	}
	check(499, true, 0)
	w.Advance(28 * hour) // hours 0 to 3 are dropped, a whole filter's and one that may be in the making
	have[0], have[1], have[2], have[3] = nil, nil, nil, nil
	if err := w.Settle(math.MaxInt); err != nil {
		t.Fatal(err)
	}
	check(499, true, 4)
	w.Advance(60 * hour)
	if w.Len() != 0 || d.open != 0 || w.Size().PastBytes != 0 {
		t.Errorf("%d identities, %d files, %+v when all hours were dropped", w.Len(), d.open, w.Size())
	}
	check(499, false, 4)
}
