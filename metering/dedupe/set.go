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
// hashes in order. Inside of a segment, a byte of tag a slot tells what is not there without a look at the slots. Identities
// are keyed hashes already, so their own bits place them. The zero value is an empty set.
type set struct {
	dir    []*segment // by the first depth bits; a segment with fewer bits stands there more than once
	depth  uint8
	used   int
	mapped [][]byte // memory outside of the Go heap
	spare  []byte   // what is left of the last of mapped
	bytes  int      // taken by segments

	displaced []Hash // while a segment is divided
}

const (
	segmentSlots = 1 << 10
	segmentMax   = segmentSlots / 16 * 15 // fuller than this it splits, and is then 15/32 full: 36.4 bytes an identity
	groups       = segmentSlots / 8
	depthMax     = 26
	chunkMax     = 8 << 20
)

// segment lives outside of the Go heap.
type segment struct {
	used  uint32
	depth uint8 // the number of first bits that its identities share
	_     [59]byte
	tags  [groups]uint64 // eight to a group; 0: empty
	slots [segmentSlots]Hash
}

const (
	segmentBytes = int(unsafe.Sizeof(segment{}))
	lowBits      = 0x0101010101010101
	highBits     = 0x8080808080808080
)

func (s *set) segment(h Hash) *segment {
	if s.dir == nil {
		return nil
	}
	return s.dir[binary.BigEndian.Uint64(h[:8])>>(64-s.depth)]
}

func (s *set) contains(h Hash) bool {
	g := s.segment(h)
	if g == nil {
		return false
	}
	_, found := g.find(h)
	return found
}

// add inserts h unless it is there.
func (s *set) add(h Hash) (fresh bool, err error) {
	g := s.segment(h)
	if g == nil {
		if g, err = s.first(); err != nil {
			return false, err
		}
	}
	slot, found := g.find(h)
	if found {
		return false, nil
	}
	if g.used >= segmentMax {
		if err := s.split(h); err != nil {
			return false, err
		}
		return s.add(h)
	}
	g.put(slot, h)
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
		i := home(h)
		empty := (g.tags[i] - lowBits) &^ g.tags[i] & highBits
		slot := i*8 + uint(bits.TrailingZeros64(empty))/8
		sum += uint64(g.used) + uint64(g.slots[slot%segmentSlots][0])
	}
	return sum
}

// tag is never 0.
func tag(h *Hash) uint64 { return max(1, uint64(h[15])) }

// home is the group where the search for h begins.
func home(h *Hash) uint { return uint(h[14]) % groups }

// find returns h's slot, or the one where it belongs. Tags are matched eight at once; the trick to find a zero byte is exact
// for the lowest one, and what it finds above is compared anyway, with a slot that must not be empty: that may hold
// what was moved away.
func (g *segment) find(h Hash) (slot uint, found bool) {
	pattern := tag(&h) * lowBits
	for i := home(&h); ; i = (i + 1) % groups {
		tags := g.tags[i]
		x := tags ^ pattern
		for match := (x - lowBits) &^ x & highBits; match != 0; match &= match - 1 {
			slot = i*8 + uint(bits.TrailingZeros64(match))/8
			if g.slots[slot%segmentSlots] == h && tags>>(slot%8*8)&0xff != 0 {
				return slot, true
			}
		}
		if empty := (tags - lowBits) &^ tags & highBits; empty != 0 {
			return i*8 + uint(bits.TrailingZeros64(empty))/8, false
		}
	}
}

// vacancy is where h belongs, which is not there.
func (g *segment) vacancy(h Hash) (slot uint) {
	for i := home(&h); ; i = (i + 1) % groups {
		if empty := (g.tags[i] - lowBits) &^ g.tags[i] & highBits; empty != 0 {
			return i*8 + uint(bits.TrailingZeros64(empty))/8
		}
	}
}

func (g *segment) put(slot uint, h Hash) {
	g.tags[slot/8%groups] |= tag(&h) << (slot % 8 * 8)
	g.slots[slot%segmentSlots] = h
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
func (s *set) split(h Hash) error {
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
	s.divide(g, fresh)
	span := 1 << (s.depth - g.depth) // entries of each half
	at := int(binary.BigEndian.Uint64(h[:8]) >> (64 - s.depth) &^ uint64(2*span-1))
	for i := at + span; i < at+2*span; i++ {
		s.dir[i] = fresh
	}
	return nil
}

// divide moves the identities whose bit is 1 from g to fresh. What is in its home group stays where it is; what stands
// elsewhere, because that was full, is placed anew, or it would not be found behind the gap.
func (s *set) divide(g, fresh *segment) {
	s.displaced = s.displaced[:0]
	for i := range g.tags {
		for tags := g.tags[i]; tags != 0; {
			at := uint(bits.TrailingZeros64(tags)) / 8
			tags &^= 0xff << (at * 8)
			h := &g.slots[uint(i)*8+at]
			switch {
			case binary.BigEndian.Uint64(h[:8])<<(g.depth-1)>>63 == 1:
				fresh.put(fresh.vacancy(*h), *h)
			case home(h) != uint(i):
				s.displaced = append(s.displaced, *h)
			default:
				continue
			}
			g.tags[i] &^= 0xff << (at * 8)
			g.used--
		}
	}
	for _, h := range s.displaced {
		g.put(g.vacancy(h), h)
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
	for i := range g.slots {
		if g.tags[i/8]>>(i%8*8)&0xff != 0 {
			buf = append(buf, g.slots[i])
		}
	}
	slices.SortFunc(buf[begin:], compare)
	return buf
}

func compare(a, b Hash) int { return bytes.Compare(a[:], b[:]) }
