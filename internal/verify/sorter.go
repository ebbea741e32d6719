package verify

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
)

// How much a sorter keeps in memory: records until they are written out as a sorted run, and the buffers of all runs
// together while they are merged.
const (
	runBytes   = 16 << 20
	mergeBytes = 16 << 20
)

// words are records of fixed width that are ordered by their words, first word first.
type words interface {
	~[4]uint64 | ~[11]uint64
}

// sorter puts any number of records in order with bounded memory: sorted runs in temporary files, which are merged.
type sorter[T words] struct {
	dir  string
	held []T
	runs []*os.File
}

func compareWords[T words](a, b T) int {
	for i := 0; i < len(a); i++ {
		if c := cmp.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

func (s *sorter[T]) add(r T) error {
	if len(s.held) == s.most() {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.held = append(s.held, r)
	return nil
}

// most is how many records a run has.
func (s *sorter[T]) most() int { var r T; return runBytes / (8 * len(r)) }

// spill writes what is held as a run. Its file has no name, so that nothing is left of it however the program ends.
func (s *sorter[T]) spill() error {
	f, err := os.CreateTemp(s.dir, "cockpit-verify-")
	if err != nil {
		return err
	}
	s.runs = append(s.runs, f)
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	slices.SortFunc(s.held, compareWords[T])
	w := bufio.NewWriterSize(f, 1<<20)
	var b []byte
	for _, r := range s.held {
		b = b[:0]
		for i := 0; i < len(r); i++ {
			b = binary.LittleEndian.AppendUint64(b, r[i])
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	s.held = s.held[:0]
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// each calls f for every record in order, and forgets them all.
func (s *sorter[T]) each(f func(T) error) error {
	defer s.close()
	if len(s.runs) == 0 {
		slices.SortFunc(s.held, compareWords[T])
		for _, r := range s.held {
			if err := f(r); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	s.held = nil
	var h runHeap[T]
	for _, file := range s.runs {
		r := &run[T]{from: bufio.NewReaderSize(file, max(4096, mergeBytes/len(s.runs)))}
		ok, err := r.next()
		if err != nil {
			return err
		}
		if ok {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		if err := f(h[0].head); err != nil {
			return err
		}
		ok, err := h[0].next()
		switch {
		case err != nil:
			return err
		case ok:
			heap.Fix(&h, 0)
		default:
			heap.Pop(&h)
		}
	}
	return nil
}

func (s *sorter[T]) close() {
	for _, f := range s.runs {
		_ = f.Close()
	}
	s.held, s.runs = nil, nil
}

// run is a sorted file that is read from its beginning.
type run[T words] struct {
	from *bufio.Reader
	head T
}

// next reads the next record; false at the end.
func (r *run[T]) next() (bool, error) {
	var b [8 * 11]byte
	n, err := io.ReadFull(r.from, b[:8*len(r.head)])
	if errors.Is(err, io.EOF) && n == 0 {
		return false, nil
	}
	for i := 0; i < len(r.head); i++ {
		r.head[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return err == nil, err
}

type runHeap[T words] []*run[T]

func (h runHeap[T]) Len() int           { return len(h) }
func (h runHeap[T]) Less(i, j int) bool { return compareWords(h[i].head, h[j].head) < 0 }
func (h runHeap[T]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap[T]) Push(x any)        { *h = append(*h, x.(*run[T])) }
func (h *runHeap[T]) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
