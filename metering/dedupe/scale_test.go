//go:build scale && unix

package dedupe_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/dedupe"
)

// A day of 100 million identities through one window, as a worker has it: batches, each settled a little. It prints what
// docs/performance-window.md shows, and fails where the window is not exact. COCKPIT_SCALE_IDENTITIES is another number.
//
//	go test -tags scale -run ADayOfIdentities -v -timeout 60m ./metering/dedupe
func TestADayOfIdentities(t *testing.T) {
	total := 100_000_000
	if n, err := strconv.Atoi(os.Getenv("COCKPIT_SCALE_IDENTITIES")); err == nil {
		total = n
	}
	const hours, batch = 25, 1 << 14
	each := total / 24 // the begun hour comes on top
	w := dedupe.New(24*time.Hour, 2*total, dedupe.Scratch(t.TempDir()))
	defer w.Close()
	begin := int64(1_000_000) * hour
	hashes, micros := make([]dedupe.Hash, batch), make([]int64, batch)
	var settling, worst time.Duration
	from := time.Now()
	for h := range int64(hours) {
		r := newSource(uint64(h))
		w.Advance(begin + h*hour)
		for left := each; left > 0; left -= batch {
			n := min(left, batch)
			for i := range n {
				hashes[i], micros[i] = r.hash(), begin+h*hour+int64(i)
			}
			if fresh, err := w.AddAll(hashes[:n], micros[:n]); err != nil || fresh != n {
				t.Fatal(fresh, err)
			}
			at := time.Now()
			if err := w.Settle(4*n + 1<<16); err != nil {
				t.Fatal(err)
			}
			settling, worst = settling+time.Since(at), max(worst, time.Since(at))
		}
	}
	took, cpu := time.Since(from), used(t)
	s := w.Size()
	t.Logf("%d identities in %v, of CPU %v (%v of it settling; the longest step %v)", w.Len(), took.Round(time.Millisecond), cpu.Round(time.Millisecond), settling.Round(time.Millisecond), worst)
	t.Logf("newest hours: %d identities, %.1f bytes each; past ones: %d, %.2f bytes of memory each; %d MB in files; resident %s", s.Newest,
		float64(s.NewestBytes)/float64(s.Newest), s.Past, float64(s.PastBytes)/float64(s.Past), s.DiskBytes>>20, resident(t))
	lookups(t, w, begin, each)
	live(t, w, begin+24*hour)
	at, before := time.Now(), w.Len()
	w.Advance(begin + 25*hour)
	t.Logf("an hour later: %d identities dropped in %v", before-w.Len(), time.Since(at))
	if before-w.Len() != each {
		t.Errorf("want %d", each)
	}
	if found, err := w.Contains(newSource(0).hash(), begin); found || err != nil {
		t.Error("an identity of the dropped hour is there", err)
	}
}

// lookups asks for a million identities that are there, of all hours, and a million that are not.
func lookups(t *testing.T, w *dedupe.Window, begin int64, each int) {
	t.Helper()
	const n = 1_000_000
	var present []dedupe.Hash
	var micros []int64
	for h := range int64(25) {
		r := newSource(uint64(h))
		for i := range each {
			if hash := r.hash(); i%(each*25/n+1) == 0 {
				present, micros = append(present, hash), append(micros, begin+h*hour)
			}
		}
	}
	at := used(t)
	for i, hash := range present {
		if found, err := w.Contains(hash, micros[i]); !found || err != nil {
			t.Fatalf("%x is not there: %v", hash, err)
		}
	}
	t.Logf("present: %.0f lookups a second of CPU", float64(len(present))/(used(t)-at).Seconds())
	r := newSource(999)
	at = used(t)
	for i := range n {
		if found, err := w.Contains(r.hash(), micros[i%len(micros)]); found || err != nil {
			t.Fatal("something is there that never was added", err)
		}
	}
	t.Logf("absent: %.0f lookups a second of CPU", n/(used(t)-at).Seconds())
}

// live adds as a worker decides: Contains and then Add, one at a time.
func live(t *testing.T, w *dedupe.Window, micros int64) {
	t.Helper()
	const n = 1_000_000
	r := newSource(1000)
	at := used(t)
	for range n {
		h := r.hash()
		if found, err := w.Contains(h, micros); found || err != nil {
			t.Fatal(found, err)
		}
		if fresh, err := w.Add(h, micros); !fresh || err != nil {
			t.Fatal(fresh, err)
		}
	}
	t.Logf("as a worker decides: %v of CPU an identity", (used(t)-at)/n)
}

// used is the CPU time of the process, which a machine that is shared changes less than the time of the clock.
func used(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func resident(t *testing.T) string {
	t.Helper()
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
