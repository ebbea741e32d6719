package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/control/pause"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	sealMax     = 1000 // entries of one transaction
	pauseIdle   = 250 * time.Millisecond
	pauseError  = time.Second
	brokenAgain = time.Minute // until a chain that can't go on is looked at again
)

// Sealer appends committed entries to their chains. Make it with NewSealer.
type Sealer struct {
	pool   *pgxpool.Pool
	keys   Keys
	log    *slog.Logger
	now    func() time.Time
	broken map[int64]time.Time // chains whose end is not what was signed, and when that was seen
	sealed atomic.Int64
}

// NewSealer returns a sealer. The pool's role works across accounts.
func NewSealer(pool *pgxpool.Pool, keys Keys, log *slog.Logger, now func() time.Time) *Sealer {
	return &Sealer{pool: pool, keys: keys, log: log, now: now, broken: map[int64]time.Time{}}
}

// Sealed is the number of entries that were sealed since the start.
func (s *Sealer) Sealed() int64 { return s.sealed.Load() }

// Run seals until ctx ends.
func (s *Sealer) Run(ctx context.Context) error {
	for {
		n, err := s.Once(ctx)
		wait := pauseIdle
		if err != nil && ctx.Err() == nil {
			s.log.Warn("sealing the audit log", "error", err)
			wait = pauseError
		}
		if n == sealMax {
			continue
		}
		if !pause.For(ctx, wait) {
			return nil
		}
	}
}

// Once seals at most a batch, and returns how many entries that was: none where another sealer is at work.
func (s *Sealer) Once(ctx context.Context) (n int, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtext('cockpit audit seal'))`).Scan(&mine); err != nil || !mine {
			return err
		}
		b, err := s.batch(ctx, tx)
		if err != nil || len(b.taken) == 0 {
			return err
		}
		n = len(b.taken)
		if err := s.link(ctx, tx, b); err != nil {
			return err
		}
		return b.write(ctx, tx, s)
	})
	if err != nil {
		return 0, err
	}
	s.sealed.Add(int64(n))
	return n, nil
}

// batch is what one transaction seals: seals in columns, and the heads as they move.
type batch struct {
	taken                []int64 // rows of the queue that are done with
	entries              []int64 // to seal: all of them but those that have a seal
	chains, seqs, sealed []int64
	hashes               [][]byte
	heads                map[int64]*Head
}

// batch takes entries from the queue: by being in it and never by an id beyond the last one, since ids commit in any order.
func (s *Sealer) batch(ctx context.Context, tx pgx.Tx) (*batch, error) {
	for chain, at := range s.broken {
		if s.now().Sub(at) >= brokenAgain {
			delete(s.broken, chain)
		}
	}
	for {
		b, chains, err := s.take(ctx, tx)
		if err != nil || len(b.taken) == 0 {
			return b, err
		}
		if b.heads, err = s.ends(ctx, tx, chains); err != nil {
			return nil, err
		}
		if len(b.heads) == len(chains) {
			return b, nil
		}
	}
}

func (s *Sealer) take(ctx context.Context, tx pgx.Tx) (*batch, []int64, error) {
	avoid := make([]int64, 0, len(s.broken))
	for chain := range s.broken {
		avoid = append(avoid, chain)
	}
	// Each queued entry is looked up by its id, whatever the planner thinks of how long the queue is: any other way reads all
	// that is sealed.
	rows, err := tx.Query(ctx, `SELECT u.entry_id, e.chain, (SELECT s.seq FROM audit_seals s WHERE s.entry_id = u.entry_id) IS NOT NULL
		FROM audit_unsealed u CROSS JOIN LATERAL (SELECT coalesce(account_id, 0) AS chain FROM audit_entries WHERE id = u.entry_id OFFSET 0) e
		WHERE e.chain <> ALL($2) ORDER BY u.entry_id LIMIT $1`, sealMax, avoid)
	if err != nil {
		return nil, nil, err
	}
	b := &batch{}
	var chains []int64
	var id, chain int64
	var done bool
	_, err = pgx.ForEachRow(rows, []any{&id, &chain, &done}, func() error {
		b.taken = append(b.taken, id)
		if !done {
			b.entries = append(b.entries, id)
			chains = append(chains, chain)
		}
		return nil
	})
	slices.Sort(chains)
	return b, slices.Compact(chains), err
}

// ends are the heads that chains go on from. A chain whose newest seal is not what its signed head says is left alone, and
// kept in mind: appending to it would cover up what somebody did.
func (s *Sealer) ends(ctx context.Context, tx pgx.Tx, chains []int64) (map[int64]*Head, error) {
	rows, err := tx.Query(ctx, `SELECT c, coalesce(l.seq, 0), l.hash, coalesce(h.seq, 0), h.hash, h.signature, coalesce(h.signed_at, 'epoch')
		FROM unnest($1::bigint[]) c LEFT JOIN audit_heads h ON h.chain = c
		LEFT JOIN LATERAL (SELECT seq, hash FROM audit_seals WHERE chain = c ORDER BY seq DESC LIMIT 1) l ON true`, chains)
	if err != nil {
		return nil, err
	}
	heads := map[int64]*Head{}
	var chain, last int64
	var hash []byte
	var h Head
	_, err = pgx.ForEachRow(rows, []any{&chain, &last, &hash, &h.Seq, &h.Hash, &h.Signature, &h.SignedAt}, func() error {
		head := &Head{Chain: chain, Seq: h.Seq, Hash: bytes.Clone(h.Hash), SignedAt: h.SignedAt, Signature: bytes.Clone(h.Signature)}
		switch {
		case last == 0 && head.Seq == 0:
			head.Hash = genesis(chain)
		case last != head.Seq || !bytes.Equal(hash, head.Hash) || !s.keys.Genuine(head):
			s.broken[chain] = s.now()
			s.log.Error("a chain of the audit log is not what was signed, and is not sealed any further; run `cockpit audit verify`", "chain", chain, "seq", head.Seq)
			return nil
		}
		heads[chain] = head
		return nil
	})
	return heads, err
}

// link computes the seals of the batch's entries, an entry in memory at a time.
func (s *Sealer) link(ctx context.Context, tx pgx.Tx, b *batch) error {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM audit_entries e WHERE e.id = ANY($1) ORDER BY e.id`, b.entries)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return fmt.Errorf("read an audit entry: %w", err)
		}
		if !s.keys.authentic(e) {
			// It is sealed all the same: what is in a chain can't be changed back, and verify names it.
			s.log.Error("an audit entry was not written by this program, or changed since; run `cockpit audit verify`", "entry", e.ID)
		}
		head := b.heads[e.chain()]
		if head == nil {
			return fmt.Errorf("audit entry %d changed its chain while it was sealed", e.ID)
		}
		head.Seq++
		head.Hash = link(head.Hash, head.Seq, e)
		b.chains, b.seqs, b.sealed, b.hashes = append(b.chains, head.Chain), append(b.seqs, head.Seq), append(b.sealed, e.ID), append(b.hashes, head.Hash)
	}
	return rows.Err()
}

func (b *batch) write(ctx context.Context, tx pgx.Tx, s *Sealer) error {
	var chains, seqs []int64
	var hashes, signatures [][]byte
	at := s.now()
	for _, h := range b.heads {
		s.keys.sign(h, at)
		at = h.SignedAt
		chains, seqs, hashes, signatures = append(chains, h.Chain), append(seqs, h.Seq), append(hashes, h.Hash), append(signatures, h.Signature)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO audit_seals (chain, seq, entry_id, hash) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])`,
		b.chains, b.seqs, b.sealed, b.hashes); err != nil {
		return fmt.Errorf("seal audit entries: %w", err)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO audit_heads (chain, seq, hash, signature, signed_at)
		SELECT c, s, h, g, $5 FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[]) AS n (c, s, h, g)
		ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, signature = excluded.signature, signed_at = excluded.signed_at`,
		chains, seqs, hashes, signatures, at); err != nil {
		return fmt.Errorf("move the audit log's heads: %w", err)
	}
	_, err := tx.Exec(ctx, `DELETE FROM audit_unsealed WHERE entry_id = ANY($1)`, b.taken)
	return err
}
