package audit

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// sealedWithin is how old an entry may become before it must be in its chain.
const sealedWithin = time.Minute

// What a finding says.
const (
	EntryEdited    = "entry_edited"    // its MAC does not fit: changed, or not written by the program
	EntryMissing   = "entry_missing"   // it was sealed, or is queued for it, and is not there
	EntryMoved     = "entry_moved"     // it is of another account than the chain
	EntryUnsealed  = "entry_unsealed"  // it is older than a minute and in no chain
	SealMissing    = "seal_missing"    // seq is not contiguous
	SealBroken     = "seal_broken"     // the hash is not over the one before and the entry: edited, reordered or put in
	HeadMissing    = "head_missing"    // a chain without its signed end
	HeadForged     = "head_forged"     // a head whose signature does not fit
	HeadDiffers    = "head_differs"    // the chain ends elsewhere than its head says
	ChainTruncated = "chain_truncated" // a head that was kept outside names a seal that is not there
	ChainRewritten = "chain_rewritten" // or one with another hash
)

// Finding is one thing that is wrong, and where.
type Finding struct {
	Chain   int64  `json:"chain"` // the account, or 0 for the platform
	Account string `json:"account,omitempty"`
	Seq     int64  `json:"seq,omitempty"`
	Entry   int64  `json:"entry,omitempty"`
	What    string `json:"what"`
	Detail  string `json:"detail"`
}

// Checked is how much was looked at.
type Checked struct {
	Chains  int64 `json:"chains"`
	Sealed  int64 `json:"sealed"`
	Waiting int64 `json:"waiting"` // not sealed yet
	Heads   int64 `json:"heads"`   // that were kept outside
}

// Verifier proves that the log is what was written. It holds the heads and a row at a time in memory.
type Verifier struct {
	Keys     Keys
	Now      func() time.Time
	Kept     map[int64][]Head        // heads that were kept outside, by chain
	Account  *int64                  // only this chain; nil: all
	Progress func(done, total int64) // nil: nobody asks
	Found    func(Finding)           // called for each finding
	names    map[int64]string        // of accounts
	heads    map[int64]*Head         // as the database has them
	kept     map[int64][]Head        // those of Kept that are genuine
	erased   map[int64]time.Time     // chains that went with their accounts, and when
	checked  Checked
	total    int64
}

// Verify looks through the log in one snapshot.
func (v *Verifier) Verify(ctx context.Context, pool *pgxpool.Pool) (c Checked, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return err
		}
		c, err = v.VerifyIn(ctx, tx)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("verify the audit log: %w", err)
	}
	return c, nil
}

// VerifyIn looks through the log as tx sees it.
func (v *Verifier) VerifyIn(ctx context.Context, tx pgx.Tx) (Checked, error) {
	v.checked, v.heads = Checked{}, map[int64]*Head{}
	for _, step := range []func(context.Context, pgx.Tx) error{v.prepare, v.chains, v.waiting, v.queue} {
		if err := step(ctx, tx); err != nil {
			return v.checked, err
		}
	}
	return v.checked, nil
}

func (v *Verifier) find(chain, seq, entry int64, what, format string, args ...any) {
	v.Found(Finding{Chain: chain, Account: v.names[chain], Seq: seq, Entry: entry, What: what, Detail: fmt.Sprintf(format, args...)})
}

func (v *Verifier) asked(chain int64) bool { return v.Account == nil || *v.Account == chain }

// only is the condition for the chain that was asked for, by its column; a number, so that indexes are of use.
func (v *Verifier) only(column string) string {
	switch {
	case v.Account == nil:
		return "true"
	case *v.Account == 0 && strings.HasSuffix(column, "account_id"):
		return column + " IS NULL"
	}
	return fmt.Sprintf("%s = %d", column, *v.Account)
}

// prepare reads what the pass over the seals needs: names, heads, and how much there is.
func (v *Verifier) prepare(ctx context.Context, tx pgx.Tx) (err error) {
	v.names = map[int64]string{0: "platform"}
	rows, err := tx.Query(ctx, `SELECT account_id, key FROM accounts WHERE `+v.only("account_id"))
	if err != nil {
		return err
	}
	var id int64
	var key string
	if _, err := pgx.ForEachRow(rows, []any{&id, &key}, func() error { v.names[id] = key; return nil }); err != nil {
		return err
	}
	if rows, err = tx.Query(ctx, `SELECT chain, seq, hash, signature, signed_at FROM audit_heads WHERE `+v.only("chain")); err != nil {
		return err
	}
	for rows.Next() {
		h, err := scanHead(rows)
		if err != nil {
			return err
		}
		v.heads[h.Chain] = h
	}
	if rows.Err() != nil {
		return rows.Err()
	}
	if err := v.erasures(ctx, tx); err != nil {
		return err
	}
	v.keep()
	return tx.QueryRow(ctx, `SELECT count(*) FROM audit_seals WHERE `+v.only("chain")).Scan(&v.total)
}

// Heads are the newest heads of all chains, to be kept outside of the database.
func Heads(ctx context.Context, pool *pgxpool.Pool) ([]Head, error) {
	rows, err := pool.Query(ctx, `SELECT chain, seq, hash, signature, signed_at FROM audit_heads ORDER BY chain`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var heads []Head
	for rows.Next() {
		h, err := scanHead(rows)
		if err != nil {
			return nil, err
		}
		heads = append(heads, *h)
	}
	return heads, rows.Err()
}

// erasures reads which chains went with their accounts. The platform's log says so; what it says is proved with its chain.
func (v *Verifier) erasures(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT object_id, at FROM audit_entries WHERE account_id IS NULL AND action = $1 ORDER BY at`, AccountErased)
	if err != nil {
		return err
	}
	v.erased = map[int64]time.Time{}
	var id string
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		_, number, _ := strings.Cut(id, "_")
		if chain, err := strconv.ParseInt(number, 36, 64); err == nil {
			v.erased[chain] = at
		}
		return nil
	})
	return err
}

// keep takes in the heads that were kept outside, and were signed by the program.
func (v *Verifier) keep() {
	v.kept = map[int64][]Head{}
	for chain, heads := range v.Kept {
		if !v.asked(chain) {
			continue
		}
		for _, h := range heads {
			if h.SignedAt.Before(v.erased[chain]) {
				continue // of a chain that went with its account
			}
			if v.checked.Heads++; v.Keys.Genuine(&h) {
				v.kept[chain] = append(v.kept[chain], h)
			} else {
				v.find(chain, h.Seq, 0, HeadForged, "a head that was kept outside was not signed by this program")
			}
		}
	}
}

func scanHead(rows pgx.CollectableRow) (*Head, error) {
	h, at := &Head{}, pgtype.Timestamptz{}
	if err := rows.Scan(&h.Chain, &h.Seq, &h.Hash, &h.Signature, &at); err != nil {
		return nil, err
	}
	h.SignedAt = time.UnixMicro(-1) // which the program never signs
	if at.InfinityModifier == pgtype.Finite {
		h.SignedAt = at.Time.UTC()
	}
	return h, nil
}

// end is where the pass stands in a chain.
type end struct {
	chain, seq int64
	hash       []byte
	kept       []Head
}

// chains goes over all seals with their entries, in the order of the chains.
func (v *Verifier) chains(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT s.chain, s.seq, s.entry_id, s.hash, `+columns+` FROM audit_seals s LEFT JOIN audit_entries e ON e.id = s.entry_id
		WHERE `+v.only("s.chain")+` ORDER BY s.chain, s.seq`)
	if err != nil {
		return err
	}
	defer rows.Close()
	at := (*end)(nil)
	seen := map[int64]bool{}
	for rows.Next() {
		var chain, seq, entry int64
		var hash []byte
		var r row
		if err := rows.Scan(append([]any{&chain, &seq, &entry, &hash}, r.targets()...)...); err != nil {
			return err
		}
		if at == nil || at.chain != chain {
			v.ends(at)
			at, seen[chain] = &end{chain: chain, hash: genesis(chain), kept: v.kept[chain]}, true
		}
		v.seal(at, seq, entry, hash, &r)
		if v.Progress != nil {
			v.Progress(v.checked.Sealed, v.total)
		}
	}
	if rows.Err() != nil {
		return rows.Err()
	}
	v.ends(at)
	for chain := range v.heads {
		if !seen[chain] {
			v.ends(&end{chain: chain, hash: genesis(chain), kept: v.kept[chain]})
			seen[chain] = true
		}
	}
	for chain := range v.kept {
		if !seen[chain] {
			v.ends(&end{chain: chain, hash: genesis(chain), kept: v.kept[chain]})
		}
	}
	v.checked.Chains = int64(len(seen))
	return nil
}

// seal checks one seal, and goes on from what it says, so that one change is one finding.
func (v *Verifier) seal(at *end, seq, entry int64, hash []byte, r *row) {
	v.checked.Sealed++
	whole := seq == at.seq+1
	if !whole {
		v.find(at.chain, seq, entry, SealMissing, "the seals %d to %d are not there", at.seq+1, seq-1)
	}
	switch e := r.stored(); {
	case !r.id.Valid:
		v.find(at.chain, seq, entry, EntryMissing, "the entry was sealed and is not there")
	case e.Account != at.chain:
		v.find(at.chain, seq, entry, EntryMoved, "the entry is of account %d", e.Account)
	case !v.Keys.authentic(e):
		v.find(at.chain, seq, entry, EntryEdited, "the entry is not as it was written")
	case whole && !bytes.Equal(link(at.hash, seq, e), hash):
		v.find(at.chain, seq, entry, SealBroken, "the hash is not over the one before and this entry: an edited seal, another order, or an entry put in")
	}
	for _, h := range at.kept {
		if h.Seq == seq && !bytes.Equal(h.Hash, hash) {
			v.find(at.chain, seq, entry, ChainRewritten, "a head signed at %s has another hash here", h.SignedAt.Format(time.RFC3339))
		}
	}
	at.seq, at.hash = seq, hash
}

// ends checks the end of a chain against its head, and those that were kept outside.
func (v *Verifier) ends(at *end) {
	if at == nil {
		return
	}
	head := v.heads[at.chain]
	switch {
	case head == nil && at.seq > 0:
		v.find(at.chain, at.seq, 0, HeadMissing, "the chain has no signed head")
	case head == nil:
	case !v.Keys.Genuine(head):
		v.find(at.chain, head.Seq, 0, HeadForged, "the head was not signed by this program")
	case head.Seq != at.seq:
		v.find(at.chain, head.Seq, 0, HeadDiffers, "the chain ends at %d, and its head says %d", at.seq, head.Seq)
	case !bytes.Equal(head.Hash, at.hash):
		v.find(at.chain, head.Seq, 0, HeadDiffers, "the newest seal has another hash than the head")
	}
	for _, h := range at.kept {
		if h.Seq > at.seq {
			v.find(at.chain, h.Seq, 0, ChainTruncated, "the chain ends at %d, and a head signed at %s names %d", at.seq, h.SignedAt.Format(time.RFC3339), h.Seq)
		}
	}
}

// waiting goes over the entries that are in no chain. They have their MACs, and must not be old.
func (v *Verifier) waiting(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM audit_entries e
		WHERE `+v.only("e.account_id")+` AND NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = e.id) ORDER BY e.id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return err
		}
		v.checked.Waiting++
		if !v.Keys.authentic(e) {
			v.find(e.chain(), 0, e.ID, EntryEdited, "the entry is not sealed, and not as the program writes them: changed, or put in")
		} else if age := v.Now().Sub(e.At); age > sealedWithin {
			v.find(e.chain(), 0, e.ID, EntryUnsealed, "the entry is %s old and in no chain: does the module api run, and what does it log?", age.Round(time.Second))
		}
	}
	return rows.Err()
}

// queue looks for entries that were to be sealed and are gone. A queue does not know of which account they were.
func (v *Verifier) queue(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT u.entry_id FROM audit_unsealed u LEFT JOIN audit_entries e ON e.id = u.entry_id WHERE e.id IS NULL ORDER BY 1`)
	if err != nil {
		return err
	}
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		v.find(0, 0, id, EntryMissing, "the entry waited for its seal and is not there")
		return nil
	})
	return err
}
