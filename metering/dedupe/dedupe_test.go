package dedupe_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/dedupe"
	"pgregory.net/rapid"
)

const hour = int64(time.Hour / time.Microsecond)

func TestWindowAgainstASetOfEverything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := dedupe.New(24*time.Hour, 1<<20)
		clock := int64(1_000_000) * hour
		seen := map[dedupe.Hash]bool{} // with its hour in the last bytes: an identity has one time
		w.Advance(clock)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "what") == 0 {
				clock += rapid.Int64Range(0, 5*hour).Draw(t, "passes")
				w.Advance(clock)
				continue
			}
			micros := w.Floor() + rapid.Int64Range(0, 25*hour).Draw(t, "at")
			var h dedupe.Hash
			h[0] = rapid.Byte().Draw(t, "id")
			binary.LittleEndian.PutUint64(h[8:], uint64(micros/hour))
			if h[0] == 0 {
				h = dedupe.Hash{}
				micros = 1_000_500 * hour
			}
			if got := w.Contains(h, micros); got != seen[h] {
				t.Fatalf("contains %v, want %v", got, seen[h])
			}
			fresh, err := w.Insert(h, micros)
			if err != nil || fresh == seen[h] {
				t.Fatalf("fresh %v, %v, seen %v", fresh, err, seen[h])
			}
			seen[h] = true
		}
	})
}

func TestOldHoursAreDropped(t *testing.T) {
	t.Parallel()
	w := dedupe.New(24*time.Hour, 1<<20)
	start := int64(500_000) * hour
	for i := range int64(100) {
		w.Advance(start + i*hour)
		if _, err := w.Insert(dedupe.Hash{byte(i), 1}, start+i*hour); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.Len(); n != 25 {
		t.Errorf("%d identities after 100 hours, one an hour; the window spans 24 hours and the begun one", n)
	}
	if floor := w.Floor(); floor != start+75*hour {
		t.Errorf("floor is %d hours after the start", (floor-start)/hour)
	}
}

func TestFullWindowSaysSo(t *testing.T) {
	t.Parallel()
	w := dedupe.New(24*time.Hour, 2)
	for i := range byte(2) {
		if _, err := w.Insert(dedupe.Hash{i + 1}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Insert(dedupe.Hash{9}, 0); !errors.Is(err, dedupe.ErrFull) {
		t.Errorf("a third: %v", err)
	}
	if fresh, err := w.Insert(dedupe.Hash{1}, 0); fresh || err != nil {
		t.Errorf("one that is there: %v, %v", fresh, err)
	}
}

func identities(n int) []dedupe.Hash {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]dedupe.Hash, n)
	for i := range all {
		binary.LittleEndian.PutUint64(all[i][:8], r.Uint64())
		binary.LittleEndian.PutUint64(all[i][8:], r.Uint64())
	}
	return all
}

func BenchmarkInsertMillion(b *testing.B) {
	all := identities(1 << 20)
	for b.Loop() {
		w := dedupe.New(24*time.Hour, 1<<30)
		for _, h := range all {
			_, _ = w.Insert(h, 5*hour)
		}
		b.ReportMetric(float64(w.Bytes())/1e6, "MB")
	}
}

func BenchmarkInsertMillionGoMap(b *testing.B) {
	all := identities(1 << 20)
	for b.Loop() {
		m := map[dedupe.Hash]struct{}{}
		for _, h := range all {
			m[h] = struct{}{}
		}
	}
}
