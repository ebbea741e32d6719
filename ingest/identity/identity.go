// Package identity says which event an event is, and where it belongs.
//
// An event's identity is (account, source, id), as products write them. Its hash is keyed, because with a known hash
// crafted ids collide and a collision is free use. Its home partition is Kafka's default partitioning of the key
// account/source/id, computed from the decoded event, so that all copies of an event meet in one partition however they
// were sent. Nothing here fails or blocks.
package identity

import (
	"encoding/binary"
	"sync"

	"github.com/dchest/siphash"
)

// Hasher makes the deployment's identity hashes. It is safe for concurrent use.
type Hasher struct {
	k0, k1  uint64
	buffers sync.Pool
}

// NewHasher returns the hasher of a deployment's secret.
func NewHasher(secret [16]byte) *Hasher {
	return &Hasher{k0: binary.LittleEndian.Uint64(secret[:8]), k1: binary.LittleEndian.Uint64(secret[8:]),
		buffers: sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}}
}

// Sum is SipHash-128 over account, source and id, each behind its length as a little-endian uint32, so that no two
// identities have the same bytes. The two words are stored little-endian, the first one first.
func (h *Hasher) Sum(account, source, id string) (sum [16]byte) {
	p := h.buffers.Get().(*[]byte)
	b := (*p)[:0]
	for _, s := range [...]string{account, source, id} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	lo, hi := siphash.Hash128(h.k0, h.k1, b)
	*p = b
	h.buffers.Put(p)
	binary.LittleEndian.PutUint64(sum[:8], lo)
	binary.LittleEndian.PutUint64(sum[8:], hi)
	return sum
}

// AppendKey appends the record key that sends an event straight to its home.
func AppendKey(to []byte, account, source, id string) []byte {
	to = append(to, account...)
	to = append(to, '/')
	to = append(to, source...)
	to = append(to, '/')
	return append(to, id...)
}

// Home is the event's partition of a topic with that many: (murmur2(key) & 0x7fffffff) mod partitions, as Kafka's own
// default partitioner places a record with that key.
func Home(account, source, id string, partitions int) int {
	var buf [400]byte
	key := AppendKey(buf[:0], account, source, id)
	return int(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is Kafka's: org.apache.kafka.common.utils.Utils.murmur2.
func murmur2(b []byte) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
		r           = 24
	)
	h := seed ^ uint32(len(b))
	for len(b) >= 4 {
		k := binary.LittleEndian.Uint32(b)
		b = b[4:]
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
