package dedupe

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// filter is a blocked Bloom filter: an identity sets one bit in each of the eight words of its block, so that one line of
// memory answers. Of what is absent, about 1 in 2,000 passes, and costs a read of the file. Blocks are in the order of hashes,
// so that a run, which is appended in order, fills its filter from front to back.
type filter struct {
	mapped []byte // outside of the Go heap
	blocks [][8]uint64
}

const filterBits = 18 // an identity

func newFilter(n int) (f filter, err error) {
	blocks := n*filterBits/512 + 1
	if f.mapped, err = allocate(blocks * 64); err != nil {
		return f, err
	}
	f.blocks = unsafe.Slice((*[8]uint64)(unsafe.Pointer(unsafe.SliceData(f.mapped))), blocks)
	return f, nil
}

func (f *filter) block(h *Hash) *[8]uint64 {
	i, _ := bits.Mul64(binary.BigEndian.Uint64(h[:8]), uint64(len(f.blocks)))
	return &f.blocks[i]
}

func (f *filter) add(h *Hash) {
	b, which := f.block(h), binary.LittleEndian.Uint64(h[8:])
	for i := range b {
		b[i] |= 1 << (which >> (6 * i) % 64)
	}
}

func (f *filter) has(h *Hash) bool {
	b, which := f.block(h), binary.LittleEndian.Uint64(h[8:])
	all := uint64(1)
	for i := range b {
		all &= b[i] >> (which >> (6 * i) % 64)
	}
	return all == 1
}

func (f *filter) close() { release(f.mapped) }
