package dedupe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"unsafe"
)

// ErrBroken says that a run can't be read, or is not what was written. The window is to be made anew.
var ErrBroken = errors.New("a run of the dedupe window can't be read back")

// blockHashes is how many identities are read, and checked, at once: 4 KiB.
const blockHashes = 256

// run is identities in order, in a file. It is appended to until finish, and may be asked all the while.
type run struct {
	file   File
	n      int
	first  []uint64 // of each block in the file, its first identity's first 8 bytes
	sums   []uint32 // of each block, its CRC-32C
	tail   []Hash   // what does not fill a block yet
	filter filter   // its own, or its group's
	group  *group   // nil: none
	closed bool
	block  [blockHashes]Hash // read last, by contains
}

// newRun begins a run of about n identities.
func newRun(n int, create func() (File, error)) (*run, error) {
	f, err := newFilter(n)
	if err != nil {
		return nil, err
	}
	file, err := create()
	if err != nil {
		f.close()
		return nil, fmt.Errorf("make a file for a run of the dedupe window: %w", err)
	}
	blocks := n/blockHashes + 1
	return &run{file: file, filter: f, first: make([]uint64, 0, blocks), sums: make([]uint32, 0, blocks)}, nil
}

// append adds identities, which are in order and behind all that are there. After an error nothing has changed.
func (r *run) append(sorted []Hash) error {
	all := append(r.tail, sorted...)
	whole := len(all) / blockHashes * blockHashes
	if err := r.write(all[:whole]); err != nil {
		return err
	}
	r.tail = append(all[:0], all[whole:]...)
	for i := range sorted {
		r.filter.add(&sorted[i])
	}
	r.n += len(sorted)
	return nil
}

// finish writes what is left. The run does not change any more.
func (r *run) finish() error {
	if err := r.write(r.tail); err != nil {
		return err
	}
	r.tail = nil
	return nil
}

func (r *run) write(hashes []Hash) error {
	if len(hashes) == 0 {
		return nil
	}
	if _, err := r.file.WriteAt(bytesOf(hashes), int64(len(r.first))*blockHashes*16); err != nil {
		return fmt.Errorf("write a run of the dedupe window: %w", err)
	}
	for block := range slices.Chunk(hashes, blockHashes) {
		r.first = append(r.first, binary.BigEndian.Uint64(block[0][:8]))
		r.sums = append(r.sums, crc32.Checksum(bytesOf(block), castagnoli))
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bytesOf is the same memory.
func bytesOf(hashes []Hash) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(hashes))), 16*len(hashes))
}

func (r *run) contains(h *Hash) (bool, error) {
	if p := probeOf(h); !p.in(r.filter.block(h)) {
		return false, nil
	}
	if _, found := slices.BinarySearchFunc(r.tail, *h, compare); found {
		return true, nil
	}
	hi := binary.BigEndian.Uint64(h[:8])
	at := sort.Search(len(r.first), func(i int) bool { return r.first[i] > hi }) - 1
	for ; at >= 0; at-- {
		block, err := r.read(at, r.block[:])
		if err != nil {
			return false, err
		}
		if _, found := slices.BinarySearchFunc(block, *h, compare); found {
			return true, nil
		}
		if r.first[at] != hi { // else the block before may end with the same 8 bytes
			return false, nil
		}
	}
	return false, nil
}

// read reads a block into buf and checks it.
func (r *run) read(block int, buf []Hash) ([]Hash, error) {
	buf = buf[:min(blockHashes, r.n-len(r.tail)-block*blockHashes)]
	if _, err := r.file.ReadAt(bytesOf(buf), int64(block)*blockHashes*16); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if crc32.Checksum(bytesOf(buf), castagnoli) != r.sums[block] {
		return nil, fmt.Errorf("%w: block %d has another checksum", ErrBroken, block)
	}
	return buf, nil
}

func (r *run) close() {
	_ = r.file.Close()
	r.closed = true
	if r.group != nil {
		r.group.leave()
		return
	}
	r.filter.close()
}

// bytes is the memory that the run takes, without its group's filter.
func (r *run) bytes() int {
	own := len(r.filter.mapped)
	if r.group != nil {
		own = 0
	}
	return own + 8*cap(r.first) + 4*cap(r.sums) + 16*cap(r.tail) + int(unsafe.Sizeof(*r))
}

// cursor goes through a finished run in order. A nil run is an empty one.
type cursor struct {
	run  *run
	next int // block
	left []Hash
	buf  []Hash
}

// peek is the next identity, nil at the end.
func (c *cursor) peek() (_ *Hash, err error) {
	if len(c.left) == 0 {
		if c.run == nil || c.next == len(c.run.first) {
			return nil, nil
		}
		if c.buf == nil {
			c.buf = make([]Hash, blockHashes)
		}
		if c.left, err = c.run.read(c.next, c.buf); err != nil {
			return nil, err
		}
		c.next++
	}
	return &c.left[0], nil
}

func (c *cursor) skip() { c.left = c.left[1:] }
