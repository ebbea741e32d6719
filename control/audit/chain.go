package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Keys authenticate the log. Neither is in the database.
type Keys struct {
	MAC  []byte             // of entries, 32 bytes
	Head ed25519.PrivateKey // signs the newest seal of each chain
}

func (k Keys) public() ed25519.PublicKey { return k.Head.Public().(ed25519.PublicKey) }

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

func (h *Head) sign(key ed25519.PrivateKey, at time.Time) {
	h.SignedAt = at.UTC().Truncate(time.Microsecond) // as Postgres keeps it
	h.Signature = ed25519.Sign(key, h.text())
}

// Genuine says whether the head was signed by the holder of the key.
func (h *Head) Genuine(key ed25519.PublicKey) bool {
	return len(h.Hash) == sha256.Size && ed25519.Verify(key, h.text(), h.Signature)
}
