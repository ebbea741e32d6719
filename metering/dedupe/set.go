package dedupe

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"
)

// set holds identities in segments of 1,024 slots, by the first bits of the hash (extendible hashing): a full segment splits
// in two, so that a set grows without ever moving more than one segment's worth, and its segments in order are ranges of
// hashes in order. Inside of a segment, slots are filled one behind the other, so that of all a set's memory what is written
// next is a line a segment, which caches have; an index of 16 bits a slot tells what is not there without a look at the slots.
// Identities are keyed hashes already, so their own bits place them. The zero value is an empty set.
type set struct {
	dir    []*segment // by the first depth bits; a segment with fewer bits stands there more than once
	depth  uint8
	used   int
	mapped [][]byte // memory outside of the Go heap
	spare  []byte   // what is left of the last of mapped
	bytes  int      // taken by segments
}

const (
	segmentSlots = 1 << 10
	indexWords   = 304 // of four entries: 19/16 of the slots
	depthMax     = 26
	chunkMax     = 8 << 20
)

// segment lives outside of the Go heap. Full it takes 18.4 bytes an identity, and split 36.9. It is an odd number of lines
// of memory, so that the same part of all segments does not fall on the same few lines of a cache.
type segment struct {
	used  uint32
	depth uint8 // the number of first bits that its identities share
	_     [59]byte
	index [indexWords]uint64 // words of four entries, filled from the lowest: a slot below six bits of tag; 0: empty
	slots [segmentSlots]Hash
}

const (
	segmentBytes = int(unsafe.Sizeof(segment{}))
	entryBits    = 16
	lowBits      = 0x0001_0001_0001_0001
	highBits     = 0x8000_8000_8000_8000
	tagBits      = 0xfc00_fc00_fc00_fc00
)

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
		if g, err = s.first(); err != nil {
			return false, err
		}
	}
	word, found := g.find(h)
	if found {
		return false, nil
	}
	if g.used == segmentSlots {
		if err := s.split(h); err != nil {
			return false, err
		}
		return s.add(h)
	}
	g.put(word, h)
	s.used++
	return true, nil
}

// touch reads what add or contains will read first, for all hashes at once: what waits for memory then waits together.
func (s *set) touch(hashes []Hash) (sum uint64) {
	if s.dir == nil {
		return 0
	}
	shift := 64 - s.depth
	for i := range hashes {
		h := &hashes[i]
		g := s.dir[binary.BigEndian.Uint64(h[:8])>>shift]
		sum += g.index[home(h)] + uint64(g.slots[g.used%segmentSlots][0])
	}
	return sum
}

// tag is never 0, so that no entry is.
func tag(h *Hash) uint64 { return max(1, uint64(h[8]>>2)) << 10 }

// home is the word where the search for h begins.
func home(h *Hash) uint { return uint(uint64(binary.LittleEndian.Uint32(h[12:])) * indexWords >> 32) }

func after(word uint) uint {
	if word++; word < indexWords {
		return word
	}
	return 0
}

// find looks for h, and returns the word of the index where it belongs if it is not there. Tags are matched four at once.
func (g *segment) find(h *Hash) (word uint, found bool) {
	pattern := tag(h) * lowBits
	for word = home(h); ; word = after(word) {
		entries := g.index[word]
		x := (entries ^ pattern) & tagBits
		for match := (x - lowBits) &^ x & highBits; match != 0; match &= match - 1 {
			slot := entries >> (uint(bits.TrailingZeros64(match)) / entryBits * entryBits)
			if g.slots[slot%segmentSlots] == *h {
				return 0, true
			}
		}
		if !full(entries) {
			return word, false
		}
	}
}

func full(entries uint64) bool { return entries>>(64-entryBits) != 0 }

// put appends h, which is not there, with its entry in a word that is not full.
func (g *segment) put(word uint, h *Hash) {
	slot := g.used % segmentSlots
	at := (uint(bits.Len64(g.index[word])) + entryBits - 1) / entryBits * entryBits
	g.index[word] |= (tag(h) | uint64(slot)) << at
	g.slots[slot] = *h
	g.used++
}

func (s *set) first() (*segment, error) {
	g, err := s.allocate()
	if err != nil {
		return nil, err
	}
	s.dir, s.depth = []*segment{g}, 0
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

// divide moves the identities whose bit is 1 from g to fresh. The others move up, never past one that is still to be read.
func (g *segment) divide(fresh *segment) {
	used := g.used
	g.used = 0
	clear(g.index[:])
	halves := [2]*segment{g, fresh}
	for i := range used {
		h := g.slots[i%segmentSlots]
		to := halves[binary.BigEndian.Uint64(h[:8])<<(g.depth-1)>>63]
		word := home(&h)
		for full(to.index[word]) {
			word = after(word)
		}
		to.put(word, &h)
	}
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

// allocate returns an empty segment. Chunks grow, so that a small set takes little and a large one few of them.
func (s *set) allocate() (*segment, error) {
	if len(s.spare) < segmentBytes {
		chunk, err := allocate(segmentBytes * min(chunkMax/segmentBytes, max(1, s.bytes/segmentBytes)))
		if err != nil {
			return nil, err
		}
		s.mapped, s.spare = append(s.mapped, chunk), chunk
	}
	g := (*segment)(unsafe.Pointer(unsafe.SliceData(s.spare)))
	s.spare = s.spare[segmentBytes:]
	s.bytes += segmentBytes
	return g, nil
}

// close gives the memory back and empties the set.
func (s *set) close() {
	for _, chunk := range s.mapped {
		release(chunk)
	}
	*s = set{}
}

// appendSorted appends the segment's identities to buf, in order.
func (g *segment) appendSorted(buf []Hash) []Hash {
	begin := len(buf)
	buf = append(buf, g.slots[:g.used]...)
	slices.SortFunc(buf[begin:], compare)
	return buf
}

func compare(a, b Hash) int { return bytes.Compare(a[:], b[:]) }
