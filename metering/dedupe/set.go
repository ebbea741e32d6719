package dedupe

import (
	"bytes"
	"encoding/binary"
)

// set is an open-addressing hash set with linear probing, at most three quarters full. Identities are keyed hashes already,
// so their own bytes place them. The zero hash marks an empty slot and is kept apart.
type set struct {
	slots []Hash
	used  int
	zero  bool
}

const setSizeMin = 1 << 8

func (s *set) contains(h Hash) bool {
	if h == (Hash{}) {
		return s.zero
	}
	if len(s.slots) == 0 {
		return false
	}
	_, found := s.find(h)
	return found
}

// insert adds h, which must not be in the set.
func (s *set) insert(h Hash) {
	s.used++
	if h == (Hash{}) {
		s.zero = true
		return
	}
	if 4*s.used > 3*len(s.slots) {
		s.grow()
	}
	i, _ := s.find(h)
	s.slots[i] = h
}

func (s *set) find(h Hash) (slot uint64, found bool) {
	mask := uint64(len(s.slots) - 1)
	for i := binary.LittleEndian.Uint64(h[:8]) & mask; ; i = (i + 1) & mask {
		if s.slots[i] == h {
			return i, true
		}
		if s.slots[i] == (Hash{}) {
			return i, false
		}
	}
}

func (s *set) grow() {
	old := s.slots
	s.slots = make([]Hash, max(setSizeMin, 2*len(old)))
	for _, h := range old {
		if h != (Hash{}) {
			i, _ := s.find(h)
			s.slots[i] = h
		}
	}
}

func (s *set) appendTo(run []Hash) []Hash {
	for _, h := range s.slots {
		if h != (Hash{}) {
			run = append(run, h)
		}
	}
	if s.zero {
		run = append(run, Hash{})
	}
	return run
}

func compare(a, b Hash) int { return bytes.Compare(a[:], b[:]) }
