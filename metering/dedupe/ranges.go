package dedupe

import "encoding/binary"

const (
	rangeBits = 10
	rangeMin  = 1 << 12 // fewer identities than this are not worth it
)

// byRange returns the identities in the order of their first bits, so that those next to each other go to the same few
// segments.
func byRange(hashes []Hash) []Hash {
	if len(hashes) < rangeMin {
		return hashes
	}
	var next [1 << rangeBits]int // where the next of each range goes
	for i := range hashes {
		next[rangeOf(&hashes[i])]++
	}
	begin := 0
	for i, n := range next {
		next[i] = begin
		begin += n
	}
	ordered := make([]Hash, len(hashes))
	for i := range hashes {
		at := &next[rangeOf(&hashes[i])]
		ordered[*at] = hashes[i]
		*at++
	}
	return ordered
}

func rangeOf(h *Hash) uint64 { return binary.BigEndian.Uint64(h[:8]) >> (64 - rangeBits) }
