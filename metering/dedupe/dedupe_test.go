package dedupe_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/dedupe"
	"pgregory.net/rapid"
)

const hour = int64(time.Hour / time.Microsecond)

// disk is a real scratch file whose writes and reads can be made to fail, and whose bytes can be spoiled.
type disk struct {
	create      func() (dedupe.File, error)
	failWrites  bool
	failReads   bool
	spoil       bool // the next write changes a byte
	open, reads int
}

type diskFile struct {
	dedupe.File
	d *disk
}

var errDisk = errors.New("no space left on device")

func (d *disk) make() (dedupe.File, error) {
	f, err := d.create()
	d.open++
	return &diskFile{f, d}, err
}

func (f *diskFile) WriteAt(b []byte, at int64) (int, error) {
	if f.d.failWrites {
		n, _ := f.File.WriteAt(b[:len(b)/2], at)
		return n, errDisk
	}
	n, err := f.File.WriteAt(b, at)
	if f.d.spoil {
		f.d.spoil = false
		_, err = f.File.WriteAt([]byte{b[20] ^ 1}, at+20)
	}
	return n, err
}

func (f *diskFile) ReadAt(b []byte, at int64) (int, error) {
	f.d.reads++
	if f.d.failReads {
		return 0, io.ErrUnexpectedEOF
	}
	return f.File.ReadAt(b, at)
}

func (f *diskFile) Close() error {
	f.d.open--
	return f.File.Close()
}

func window(t interface {
	Helper()
	Cleanup(func())
}, dir string, limit int) (*dedupe.Window, *disk) {
	t.Helper()
	d := &disk{create: dedupe.Scratch(dir)}
	w := dedupe.New(24*time.Hour, limit, d.make)
	t.Cleanup(w.Close)
	return w, d
}

type source struct{ *rand.Rand }

func newSource(seed uint64) source { return source{rand.New(rand.NewPCG(seed, 2))} }

func (r source) hash() (h dedupe.Hash) {
	binary.LittleEndian.PutUint64(h[:8], r.Uint64())
	binary.LittleEndian.PutUint64(h[8:], r.Uint64())
	return h
}

// model is a window as a plain set: what was added, with its hour.
type model struct {
	t     *rapid.T
	w     *dedupe.Window
	disk  *disk
	seen  map[dedupe.Hash]int64
	all   []dedupe.Hash // added at any time
	clock int64
	limit int
	r     source
}

func (m *model) add(h dedupe.Hash, micros int64) {
	_, seen := m.seen[h]
	if found, err := m.w.Contains(h, micros); err != nil || found != seen {
		m.t.Fatalf("contains: %t %v, want %t", found, err, seen)
	}
	fresh, err := m.w.Add(h, micros)
	switch full := len(m.seen) >= m.limit; {
	case full && !seen:
		if !errors.Is(err, dedupe.ErrFull) {
			m.t.Fatalf("a full window: %t, %v", fresh, err)
		}
	case err != nil || fresh == seen:
		m.t.Fatalf("add: %t %v, seen %t", fresh, err, seen)
	case fresh:
		m.seen[h] = micros / hour
	}
	m.all = append(m.all, h)
}

// many adds n identities to one hour, some of them twice.
func (m *model) many(n int, micros int64) {
	var hashes []dedupe.Hash
	var times []int64
	want := 0
	for range n {
		h := m.r.hash()
		hashes, times = append(hashes, h), append(times, micros)
		m.seen[h], want = micros/hour, want+1
		if m.r.IntN(8) == 0 {
			hashes, times = append(hashes, h), append(times, micros)
		}
	}
	if fresh, err := m.w.AddAll(hashes, times); err != nil || fresh != want {
		m.t.Fatalf("%d fresh of %d, %v", fresh, want, err)
	}
	m.all = append(m.all, hashes...)
}

func (m *model) advance(by int64) {
	m.clock += by
	m.w.Advance(m.clock)
	for h, at := range m.seen {
		if at*hour < m.w.Floor() {
			delete(m.seen, h)
		}
	}
}

func (m *model) settle(n int) {
	if err := m.w.Settle(n); err != nil && (!m.disk.failWrites || !errors.Is(err, errDisk)) {
		m.t.Fatal(err)
	}
}

// check compares what is known of everything that was ever added, and of what never was.
func (m *model) check() {
	if m.w.Len() != len(m.seen) || m.w.Room() != m.limit-len(m.seen) {
		m.t.Fatalf("%d identities, want %d", m.w.Len(), len(m.seen))
	}
	s := m.w.Size()
	if s.Newest+s.Past != len(m.seen) {
		m.t.Fatalf("%+v, of %d", s, len(m.seen))
	}
	for h, at := range m.seen {
		if found, err := m.w.Contains(h, at*hour+5); err != nil || !found {
			m.t.Fatalf("%x of hour %d was forgotten (%v)", h, at, err)
		}
		if found, err := m.w.Contains(h, m.clock); err != nil || !found {
			m.t.Fatalf("a copy of %x with another time is not recognized (%v)", h, err)
		}
		if found, err := m.w.Contains(m.r.hash(), at*hour); err != nil || found {
			m.t.Fatalf("something was found that never was added (%v)", err)
		}
	}
}

// Whatever is added, late or not, settled, merged, dropped or refused, and however often the disk is full in between: the
// window says of every identity what a plain set would.
func TestWindowAgainstASetOfEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, seen: map[dedupe.Hash]int64{}, clock: 1_000_000 * hour, limit: rapid.SampledFrom([]int{20_000, 1 << 20}).Draw(t, "limit"),
			r: newSource(rapid.Uint64().Draw(t, "seed"))}
		m.w, m.disk = window(t, dir, m.limit)
		m.w.Advance(m.clock)
		at := func() int64 { // mostly an hour that has been filled before
			return max(m.w.Floor(), m.clock-rapid.SampledFrom([]int64{-1, 0, 2, 3, 3, 3, 20}).Draw(t, "ago")*hour)
		}
		steps := map[string]func(*rapid.T){
			"many": func(t *rapid.T) {
				if n := rapid.IntRange(1, 6000).Draw(t, "n"); n <= m.limit-len(m.seen) {
					m.many(n, at())
				}
			},
			"one": func(t *rapid.T) {
				h := m.r.hash()
				if len(m.all) > 0 && rapid.Bool().Draw(t, "again") {
					h = m.all[rapid.IntRange(0, len(m.all)-1).Draw(t, "which")]
				}
				if rapid.IntRange(0, 9).Draw(t, "zero") == 0 {
					h = dedupe.Hash{}
				}
				m.add(h, at())
			},
			"advance": func(t *rapid.T) {
				m.advance(rapid.SampledFrom([]int64{1, hour / 2, hour, 2 * hour, 9 * hour}).Draw(t, "by"))
			},
			"settle": func(t *rapid.T) { m.settle(rapid.SampledFrom([]int{1, 10_000, 1 << 30}).Draw(t, "n")) },
			"disk":   func(t *rapid.T) { m.disk.failWrites = rapid.Bool().Draw(t, "full") },
		}
		t.Repeat(steps)
		m.check()
		m.disk.failWrites = false
		m.settle(1 << 30)
		m.check()
		m.w.Close()
		if m.disk.open != 0 {
			t.Fatalf("%d files are left open", m.disk.open)
		}
	})
}

func TestOldHoursAreDropped(t *testing.T) {
	t.Parallel()
	w, _ := window(t, t.TempDir(), 1<<20)
	start := int64(500_000) * hour
	for i := range int64(100) {
		w.Advance(start + i*hour)
		if _, err := w.Add(dedupe.Hash{byte(i), 1}, start+i*hour); err != nil {
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
	w, _ := window(t, t.TempDir(), 2)
	for i := range byte(2) {
		if _, err := w.Add(dedupe.Hash{i + 1}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Add(dedupe.Hash{9}, 0); !errors.Is(err, dedupe.ErrFull) {
		t.Errorf("a third: %v", err)
	}
	if fresh, err := w.Add(dedupe.Hash{1}, 0); fresh || err != nil {
		t.Errorf("one that is there: %v, %v", fresh, err)
	}
	if w.Len() != 2 || w.Room() != 0 {
		t.Errorf("%d held, room for %d", w.Len(), w.Room())
	}
}

// sealed is a window with a run of n identities in an hour that is past.
func sealed(t *testing.T, n int) (w *dedupe.Window, d *disk, hashes []dedupe.Hash) {
	w, d = window(t, t.TempDir(), 1<<30)
	r := newSource(7)
	for range n {
		hashes = append(hashes, r.hash())
	}
	times := make([]int64, n)
	if fresh, err := w.AddAll(hashes, times); err != nil || fresh != n {
		t.Fatal(fresh, err)
	}
	w.Advance(3 * hour)
	if err := w.Settle(1 << 30); err != nil {
		t.Fatal(err)
	}
	if s := w.Size(); s.DiskBytes != 16*n || w.Unsettled() != 0 {
		t.Fatalf("%+v, %d unsettled", s, w.Unsettled())
	}
	return w, d, hashes
}

// What a past hour takes in memory, and how often something absent is looked for on the disk, is what the gates promise.
func TestPastHoursTakeLittle(t *testing.T) {
	t.Parallel()
	const n = 1 << 18
	w, d, _ := sealed(t, n)
	if s := w.Size(); s.PastBytes > 3*n {
		t.Errorf("%d bytes of memory for %d identities", s.PastBytes, n)
	}
	r := newSource(8)
	for range n {
		if found, err := w.Contains(r.hash(), 0); found || err != nil {
			t.Fatal(found, err)
		}
	}
	if d.reads > n/100 {
		t.Errorf("%d reads for %d lookups of what is not there", d.reads, n)
	}
}

func TestNewestHoursTakeLittle(t *testing.T) {
	t.Parallel()
	w, _ := window(t, t.TempDir(), 1<<30)
	r := newSource(9)
	for n := 1; n <= 1<<19; n++ {
		if _, err := w.Add(r.hash(), 0); err != nil {
			t.Fatal(err)
		}
		if s := w.Size(); n%1000 == 0 && n > 10_000 && s.NewestBytes > 40*n {
			t.Fatalf("%d bytes of memory for %d identities", s.NewestBytes, n)
		}
	}
}

// A disk that can't be read, or gives back other bytes, is an error; never “not seen”.
func TestABrokenRunIsAnError(t *testing.T) {
	t.Parallel()
	t.Run("unreadable", func(t *testing.T) {
		t.Parallel()
		w, d, hashes := sealed(t, 50_000)
		d.failReads = true
		for _, h := range hashes {
			if found, err := w.Contains(h, 0); found || !errors.Is(err, dedupe.ErrBroken) {
				t.Fatal(found, err)
			}
			if fresh, err := w.Add(h, 0); fresh || !errors.Is(err, dedupe.ErrBroken) {
				t.Fatal(fresh, err)
			}
		}
		// Nor does a merge pass over what it can't read, not even when the disk is well again.
		r := newSource(3)
		d.failReads = false
		for range 5000 {
			if _, err := w.Add(r.hash(), 0); err != nil {
				t.Fatal(err)
			}
		}
		d.failReads = true
		if err := w.Settle(1 << 30); !errors.Is(err, dedupe.ErrBroken) {
			t.Fatal(err)
		}
		d.failReads = false
		if err := w.Settle(1 << 30); !errors.Is(err, dedupe.ErrBroken) {
			t.Fatal(err)
		}
	})
	t.Run("spoiled", func(t *testing.T) {
		t.Parallel()
		w, d := window(t, t.TempDir(), 1<<30)
		r := newSource(4)
		var hashes []dedupe.Hash
		for range 50_000 {
			hashes = append(hashes, r.hash())
		}
		if _, err := w.AddAll(hashes, make([]int64, len(hashes))); err != nil {
			t.Fatal(err)
		}
		w.Advance(3 * hour)
		d.spoil = true
		if err := w.Settle(1 << 30); err != nil {
			t.Fatal(err)
		}
		broken := 0
		for _, h := range hashes {
			switch found, err := w.Contains(h, 0); {
			case errors.Is(err, dedupe.ErrBroken):
				broken++
			case err != nil || !found:
				t.Fatal(found, err)
			}
		}
		if broken != 256 {
			t.Errorf("%d lookups said that the run is broken, want those of one block", broken)
		}
	})
}
