package dedupe

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// set holds identities in segments of 1,024 slots, by the first bits of the hash (extendible hashing): a full segment splits
// in two, so that a set grows without ever moving more than one segment's worth, and its segments in order are ranges of
// hashes in order. Inside of a segment the next bits say in which line of memory an identity stands, or behind it, so that
// one line answers for most. A set that is given the memory of another begins as wide as that was, and splits little.
// Identities are keyed hashes already, so their own bits place them. The zero value is an empty set.
type set struct {
	dir    []*segment // by the first depth bits; a segment with fewer bits stands there more than once; nil: not begun
	depth  uint8
	used   int
	mapped [][]byte // memory outside of the Go heap
	begun  int      // of mapped
	spare  []byte   // what is left of the last that was begun
	bytes  int      // taken by segments
}

const (
	segmentLines = 1 << 8
	segmentMax   = 4 * segmentLines * 7 / 8 // identities of a segment before it splits
	segmentFill  = segmentMax * 31 / 32     // identities a segment when most of a set's are about to split
	depthMax     = 26
	chunkMax     = 8 << 20
)

// line is four slots, filled from the first. An empty one is zero.
type line [4]Hash

// segment lives outside of the Go heap. Full it takes 18.4 bytes an identity, and split 36.7. It is an odd number of lines
// of memory, so that the same part of all segments does not fall on the same few lines of a cache.
type segment struct {
	used  uint32
	depth uint8 // the number of first bits that its identities share
	zero  bool  // it holds the identity of zeros, which no slot can
	_     [58]byte
	lines [segmentLines]line
}

const segmentBytes = int(unsafe.Sizeof(segment{}))

func (s *set) segment(h *Hash) *segment {
	if s.dir == nil {
		return nil
	}
	return s.dir[binary.BigEndian.Uint64(h[:8])>>(64-s.depth)]
}

func (s *set) contains(h *Hash) bool {
	g := s.segment(h)
	if g == nil {
		return false
	}
	_, found := g.find(h)
	return found
}

// add inserts h unless it is there.
func (s *set) add(h *Hash) (fresh bool, err error) {
	g := s.segment(h)
	if g == nil {
		if g, err = s.begin(h); err != nil {
			return false, err
		}
	}
	free, found := g.find(h)
	if found {
		return false, nil
	}
	if g.used == segmentMax {
		if err := s.split(h); err != nil {
			return false, err
		}
		return s.add(h)
	}
	g.put(free, h)
	s.used++
	return true, nil
}

// addAll adds many, and returns how many were fresh.
func (s *set) addAll(hashes []Hash) (fresh int, err error) {
	before := s.used
	for i := range hashes {
		h := &hashes[i]
		if g := s.segment(h); g != nil && g.used < segmentMax {
			if free, found := g.find(h); !found {
				g.put(free, h)
				s.used++
			}
		} else if _, err := s.add(h); err != nil {
			return s.used - before, err
		}
	}
	return s.used - before, nil
}

// touchAll reads what add will read first, for all hashes at once: what waits for memory then waits together.
func (s *set) touchAll(hashes []Hash) (sum uint64) {
	for i := range hashes {
		sum += s.touch(&hashes[i])
	}
	return sum
}

// touch reads what add or contains will read first: the line where most of a set's segments would have it, without waiting
// for what the segment says itself.
func (s *set) touch(h *Hash) uint64 {
	if g := s.segment(h); g != nil {
		return uint64(g.used) + uint64(g.lines[homeAt(h, s.depth)][0][0])
	}
	return 0
}

// home is the line where the search for h begins: lines are in the order of hashes, but for what finds its line full.
func (g *segment) home(h *Hash) uint { return homeAt(h, g.depth) }

func homeAt(h *Hash, depth uint8) uint {
	return uint(binary.BigEndian.Uint64(h[:8])<<(depth%64)>>56) % segmentLines
}

// find looks for h, and returns the slot where it belongs if it is not there.
func (g *segment) find(h *Hash) (free *Hash, found bool) {
	lo, hi := words(h)
	if lo|hi == 0 {
		return nil, g.zero
	}
	for at := g.home(h); ; at = (at + 1) % segmentLines {
		l := &g.lines[at]
		l0, h0 := words(&l[0])
		l1, h1 := words(&l[1])
		l2, h2 := words(&l[2])
		l3, h3 := words(&l[3])
		if l0 == lo && h0 == hi || l1 == lo && h1 == hi || l2 == lo && h2 == hi || l3 == lo && h3 == hi {
			return nil, true
		}
		if used := filled(l0|h0) + filled(l1|h1) + filled(l2|h2) + filled(l3|h3); used < 4 {
			return &l[used], false
		}
	}
}

func words(h *Hash) (lo, hi uint64) {
	return binary.LittleEndian.Uint64(h[:8]), binary.LittleEndian.Uint64(h[8:])
}

// filled is 1 unless v is 0. How many slots are filled can't be foreseen, so nothing is branched on.
func filled(v uint64) uint64 { return (v | -v) >> 63 }

// put writes h, which is not there, where find said.
func (g *segment) put(free, h *Hash) {
	g.used++
	if free == nil {
		g.zero = true
		return
	}
	*free = *h
}

// begin makes the segment of h, where there is none.
func (s *set) begin(h *Hash) (*segment, error) {
	g, err := s.allocate()
	if err != nil {
		return nil, err
	}
	if s.dir == nil {
		s.dir = make([]*segment, 1<<s.depth)
	}
	g.depth = s.depth
	s.dir[binary.BigEndian.Uint64(h[:8])>>(64-s.depth)] = g
	return g, nil
}

// split divides the segment of h by its next bit.
func (s *set) split(h *Hash) error {
	fresh, err := s.allocate()
	if err != nil {
		return err
	}
	g := s.segment(h)
	if g.depth == s.depth {
		s.widen()
	}
	g.depth++
	fresh.depth = g.depth
	g.divide(fresh)
	span := 1 << (s.depth - g.depth) // entries of each half
	at := int(binary.BigEndian.Uint64(h[:8]) >> (64 - s.depth) &^ uint64(2*span-1))
	for i := at + span; i < at+2*span; i++ {
		s.dir[i] = fresh
	}
	return nil
}

// divide moves the identities whose bit is 1 from g to fresh.
func (g *segment) divide(fresh *segment) {
	all := g.appendAll(make([]Hash, 0, segmentMax))
	g.empty()
	halves := [2]*segment{g, fresh}
	var filled [2][segmentLines]uint8
	for i := range all {
		h := &all[i]
		half := binary.BigEndian.Uint64(h[:8]) << (g.depth - 1) >> 63
		to, filled := halves[half], &filled[half]
		if *h == (Hash{}) {
			to.put(nil, h)
			continue
		}
		at := to.home(h)
		for filled[at] == 4 {
			at = (at + 1) % segmentLines
		}
		to.put(&to.lines[at][filled[at]], h)
		filled[at]++
	}
}

func (g *segment) empty() {
	g.used, g.zero = 0, false
	clear(g.lines[:])
}

func (s *set) widen() {
	if s.depth == depthMax {
		panic("BUG: hundreds of identities begin with the same bits, so they are no hashes")
	}
	dir := make([]*segment, 2*len(s.dir))
	for i, g := range s.dir {
		dir[2*i], dir[2*i+1] = g, g
	}
	s.dir, s.depth = dir, s.depth+1
}

// allocate returns an empty segment: memory is zeros, whether mapped anew or taken. Chunks grow, so that a small set takes
// little and a large one few of them.
func (s *set) allocate() (*segment, error) {
	if len(s.spare) < segmentBytes {
		if s.begun == len(s.mapped) {
			chunk, err := allocate(segmentBytes * min(chunkMax/segmentBytes, max(1, s.bytes/segmentBytes)))
			if err != nil {
				return nil, err
			}
			s.mapped = append(s.mapped, chunk)
		}
		s.spare = s.mapped[s.begun]
		s.begun++
	}
	g := (*segment)(unsafe.Pointer(unsafe.SliceData(s.spare)))
	s.spare = s.spare[segmentBytes:]
	s.bytes += segmentBytes
	return g, nil
}

// take gives an empty set memory that another had. It is as wide as that has segments.
func (s *set) take(mapped [][]byte) {
	s.mapped = mapped
	s.depth = uint8(max(1, bits.Len(uint(segments(mapped)))) - 1)
}

// empty empties the segments of these entries of the directory, and forgets them.
func (s *set) empty(from, to int) {
	var last *segment
	for _, g := range s.dir[from:to] {
		if g != last && g != nil {
			g.empty()
		}
		last = g
	}
	clear(s.dir[from:to])
}

// yield gives up the set, whose segments were emptied, and returns of its memory as much as one with so many identities
// needs. The rest goes back.
func (s *set) yield() (mapped [][]byte) {
	need := 1 << bits.Len(uint(s.used/segmentFill))
	for i := range s.mapped {
		if segments(s.mapped[:i]) >= need {
			mapped, s.mapped = s.mapped[:i:i], s.mapped[i:]
			break
		}
	}
	if mapped == nil {
		mapped, s.mapped = s.mapped, nil
	}
	s.close()
	return mapped
}

// kept is the memory of chunks that are not begun.
func (s *set) kept() int { return segments(s.mapped[s.begun:]) * segmentBytes }

// segments is how many fit into the chunks.
func segments(mapped [][]byte) (n int) {
	for _, chunk := range mapped {
		n += len(chunk) / segmentBytes
	}
	return n
}

// close gives the memory back and empties the set.
func (s *set) close() {
	release(s.mapped...)
	*s = set{}
}

// appendAll appends the segment's identities to buf, nearly in order.
func (g *segment) appendAll(buf []Hash) []Hash {
	if g.zero {
		buf = append(buf, Hash{})
	}
	for i := range g.lines {
		l := &g.lines[i]
		for k := range l {
			if l[k] == (Hash{}) {
				break
			}
			buf = append(buf, l[k])
		}
	}
	return buf
}

// appendSorted appends the segment's identities to buf, in order. They are so nearly.
func (g *segment) appendSorted(buf []Hash) []Hash {
	begin := len(buf)
	buf = g.appendAll(buf)
	sorted := buf[begin:]
	for i := 1; i < len(sorted); i++ {
		h, k := sorted[i], i
		for ; k > 0 && compare(h, sorted[k-1]) < 0; k-- {
			sorted[k] = sorted[k-1]
		}
		sorted[k] = h
	}
	return buf
}

func compare(a, b Hash) int {
	return cmp.Or(cmp.Compare(binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8])), cmp.Compare(binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:])))
}
