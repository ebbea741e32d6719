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

// probe is the bits of an identity in its block, the same in every filter.
type probe [8]uint64

func probeOf(h *Hash) (p probe) {
	which := binary.LittleEndian.Uint64(h[8:])
	for i := range p {
		p[i] = 1 << (which >> (6 * i) % 64)
	}
	return p
}

func (f *filter) add(h *Hash) {
	b, p := f.block(h), probeOf(h)
	for i := range b {
		b[i] |= p[i]
	}
}

// in says whether the block has all bits of the probe.
func (p *probe) in(b *[8]uint64) bool {
	missing := p[0]&^b[0] | p[1]&^b[1] | p[2]&^b[2] | p[3]&^b[3] | p[4]&^b[4] | p[5]&^b[5] | p[6]&^b[6] | p[7]&^b[7]
	return missing == 0
}

func (f *filter) close() { release(f.mapped) }
