package audit

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// Keys authenticate the log. None is in the database. The first of each writes; what an older one wrote is still genuine.
type Keys struct {
	mac  [][]byte             // of entries
	head []ed25519.PrivateKey // of the newest seal of each chain
}

// NewKeys makes keys of secrets of 32 bytes, the newest first: macs are those that entries are written with (NewLog).
func NewKeys(macs, heads [][]byte) Keys {
	k := Keys{mac: macs}
	for _, seed := range heads {
		k.head = append(k.head, ed25519.NewKeyFromSeed(seed))
	}
	return k
}

// authentic says whether the entry is as the program wrote it.
func (k Keys) authentic(e *stored) bool {
	return slices.ContainsFunc(k.mac, func(key []byte) bool { return hmac.Equal(e.mac, authenticate(key, &e.Entry, e.actor, e.changes)) })
}

// Genuine says whether the head was signed by the program.
func (k Keys) Genuine(h *Head) bool {
	return len(h.Hash) == sha256.Size && slices.ContainsFunc(k.head, func(key ed25519.PrivateKey) bool {
		return ed25519.Verify(key.Public().(ed25519.PublicKey), h.text(), h.Signature)
	})
}

// sign signs the head with the newest key.
func (k Keys) sign(h *Head, at time.Time) {
	h.SignedAt = at.UTC().Truncate(time.Microsecond) // as Postgres keeps it
	h.Signature = ed25519.Sign(k.head[0], h.text())
}

// Head is the newest seal of a chain, signed: whoever keeps one can tell later that nothing below it was changed or cut off.
type Head struct {
	Chain     int64     `json:"chain"` // the account, or 0 for the platform
	Seq       int64     `json:"seq"`
	Hash      []byte    `json:"hash"`
	SignedAt  time.Time `json:"signed_at"`
	Signature []byte    `json:"signature"`
}

// genesis is what stands before the first hash of a chain.
func genesis(chain int64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("cockpit audit chain 1\n"), uint64(chain)))
	return sum[:]
}

// link is the hash of an entry at seq: over the previous hash, seq and the entry with its MAC.
func link(previous []byte, seq int64, e *stored) []byte {
	h := sha256.New()
	h.Write(previous)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(seq)))
	h.Write(canonical(&e.Entry, e.actor, e.changes))
	h.Write(e.mac)
	return h.Sum(nil)
}

// text is what a head's signature is over.
func (h *Head) text() []byte {
	b := []byte("cockpit audit head 1\n")
	for _, n := range []int64{h.Chain, h.Seq, h.SignedAt.UnixMicro()} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, h.Hash...)
}
