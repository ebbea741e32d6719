package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

const edits = 1000

// vandal does to a log what a superuser can, within a transaction that is rolled back.
type vandal struct {
	t       *testing.T
	tx      pgx.Tx
	r       *rand.Rand
	chains  []int64 // the chains' accounts
	entries []int64 // all entries; the last waiting ones are not sealed
	waiting int
	states  int // how many older states of heads and seals were put aside
}

func (v *vandal) exec(sql string, args ...any) int64 {
	v.t.Helper()
	tag, err := v.tx.Exec(v.t.Context(), sql, args...)
	if err != nil {
		v.t.Fatalf("%s: %v", sql, err)
	}
	return tag.RowsAffected()
}

func (v *vandal) number(sql string, args ...any) (n int64) {
	v.t.Helper()
	if err := v.tx.QueryRow(v.t.Context(), sql, args...).Scan(&n); err != nil {
		v.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func pick[T any](v *vandal, of []T) T { return of[v.r.IntN(len(of))] }

func (v *vandal) entry() int64 { return pick(v, v.entries) }

// sealed is an entry that has a seal.
func (v *vandal) sealed() int64 { return pick(v, v.entries[:len(v.entries)-v.waiting]) }

// changes of each column of an entry; $1 is the entry, %d a number above 0.
var columnEdits = []string{
	`id = id + 1000000 + %d`, `account_id = nullif((coalesce(account_id, 0) + 1 + %d %% 4) %% 5, 0)`, `account_id = 77%d`, `section_id = nullif((coalesce(section_id, 0) + 1 + %d %% 2) %% 3, 0)`,
	`section_id = coalesce(section_id, 0) + 0 * %d + 9`, `at = at + interval '1 microsecond' * %d`, `at = at - interval '1 day' * %d`, `at = 'infinity'`, `actor = (actor::text || repeat(' ', %d))::json`,
	`actor = '{"kind":"person","id":"per_%d0000","name":"Mallory"}'`, `action = action || '%d'`, `action = upper(action)`, `object_kind = object_kind || %d`, `object_id = object_id || %d`, `object_id = ''`,
	`object_name = object_name || %d`, `object_name = ''`, `changes = '[]'`, `changes = replace(changes::text, 'name', 'role%d')::json`, `reason = reason || '%d'`, `reason = ''`,
	`request_id = 'r%d'`, `address = '198.51.100.' || %d %% 255`, `address = ''`, `mac = set_byte(mac, %d %% 32, get_byte(mac, %d %% 32) # 1)`, `mac = ''`, `reason = request_id, request_id = reason`,
	`object_kind = object_kind || left(object_id, 1), object_id = substr(object_id, 2)`,
}

var sealEdits = []string{`hash = set_byte(hash, %d %% 32, get_byte(hash, %d %% 32) # 1)`, `seq = seq + 1000 + %d`, `entry_id = entry_id + 100000 + %d`, `chain = chain + 1000 + %d`}

var headEdits = []string{`hash = set_byte(hash, %d %% 32, get_byte(hash, %d %% 32) # 128)`, `seq = seq + %d`, `seq = seq - 1`, `chain = chain + 1000 + %d`,
	`signature = set_byte(signature, %d %% 64, get_byte(signature, %d %% 64) # 1)`, `signature = ''`, `signed_at = signed_at + interval '1 microsecond' * %d`, `signed_at = '-infinity'`, `hash = ''`}

func (v *vandal) fill(sql string) string {
	n := 1 + v.r.IntN(1000)
	args := []any{}
	for range bytes.Count([]byte(sql), []byte("%d")) {
		args = append(args, n)
	}
	return fmt.Sprintf(sql, args...)
}

// acts are the ways to damage a log. One that changed nothing says so, and another is done.
var acts = []struct {
	name string
	do   func(v *vandal) bool
}{
	{"edit a column of an entry", func(v *vandal) bool {
		return v.exec(`UPDATE audit_entries e SET `+v.fill(pick(v, columnEdits))+` WHERE id = $1 AND NOT (reason = request_id)`, v.entry()) > 0
	}},
	{"edit a seal", func(v *vandal) bool {
		return v.exec(`UPDATE audit_seals SET `+v.fill(pick(v, sealEdits))+` WHERE entry_id = $1`, v.sealed()) > 0
	}},
	{"edit a head", func(v *vandal) bool {
		return v.exec(`UPDATE audit_heads SET `+v.fill(pick(v, headEdits))+` WHERE chain = $1`, pick(v, v.chains)) > 0
	}},
	{"delete entries", func(v *vandal) bool { return v.exec(`DELETE FROM audit_entries WHERE id = ANY($1)`, v.some()) > 0 }},
	{"delete seals", func(v *vandal) bool { return v.exec(`DELETE FROM audit_seals WHERE entry_id = ANY($1)`, v.some()) > 0 }},
	{"delete entries with their seals", func(v *vandal) bool {
		ids := v.some()
		v.exec(`DELETE FROM audit_entries WHERE id = ANY($1)`, ids)
		return v.exec(`DELETE FROM audit_seals WHERE entry_id = ANY($1)`, ids) > 0
	}},
	{"delete a head", func(v *vandal) bool { return v.exec(`DELETE FROM audit_heads WHERE chain = $1`, pick(v, v.chains)) > 0 }},
	{"delete a chain", func(v *vandal) bool {
		chain := pick(v, v.chains)
		v.exec(`DELETE FROM audit_entries WHERE coalesce(account_id, 0) = $1`, chain)
		v.exec(`DELETE FROM audit_seals WHERE chain = $1`, chain)
		return v.exec(`DELETE FROM audit_heads WHERE chain = $1`, chain) > 0
	}},
	{"swap two entries' ids", func(v *vandal) bool {
		a, b := v.sealed(), v.sealed()
		v.exec(`UPDATE audit_entries SET id = -id WHERE id IN ($1, $2)`, a, b)
		v.exec(`UPDATE audit_entries SET id = CASE WHEN id = -$1::bigint THEN $2::bigint ELSE $1 END WHERE id IN (-$1::bigint, -$2::bigint)`, a, b)
		return a != b
	}},
	{"swap two entries in their chains", func(v *vandal) bool {
		a, b := v.sealed(), v.sealed()
		v.exec(`UPDATE audit_seals SET entry_id = -entry_id WHERE entry_id IN ($1, $2)`, a, b)
		v.exec(`UPDATE audit_seals SET entry_id = CASE WHEN entry_id = -$1::bigint THEN $2::bigint ELSE $1 END WHERE entry_id IN (-$1::bigint, -$2::bigint)`, a, b)
		return a != b
	}},
	{"swap two hashes", func(v *vandal) bool {
		a, b := v.sealed(), v.sealed()
		v.exec(`UPDATE audit_seals s SET hash = o.hash FROM audit_seals o WHERE s.entry_id IN ($1, $2) AND o.entry_id IN ($1, $2) AND o.entry_id <> s.entry_id`, a, b)
		return a != b
	}},
	{"cut off the tail and restore an older signed state", (*vandal).rewind},
	{"put an entry in again, unsealed", func(v *vandal) bool {
		return v.exec(`INSERT INTO audit_entries SELECT m.id + 1, account_id, section_id, at, actor, action, object_kind, object_id, object_name, changes, reason, request_id, address, mac
			FROM audit_entries e, (SELECT max(id) AS id FROM audit_entries) m WHERE e.id = $1`, v.entry()) > 0
	}},
	{"put an entry in again, at the end of its chain", func(v *vandal) bool {
		chain := pick(v, v.chains)
		last := v.number(`SELECT seq FROM audit_heads WHERE chain = $1`, chain)
		v.exec(`ALTER TABLE audit_seals DROP CONSTRAINT audit_seals_entry_id_key`)
		v.exec(`INSERT INTO audit_seals SELECT chain, $2, entry_id, hash FROM audit_seals WHERE chain = $1 AND seq = $3`, chain, last+1, 1+v.r.Int64N(last))
		if v.r.IntN(2) == 0 {
			v.exec(`UPDATE audit_heads h SET seq = s.seq, hash = s.hash FROM audit_seals s WHERE h.chain = $1 AND s.chain = $1 AND s.seq = $2`, chain, last+1)
		}
		return true
	}},
	{"delete an entry and close the gap, with new hashes", (*vandal).rechain},
	{"lose an entry that waits for its seal", func(v *vandal) bool {
		return v.exec(`DELETE FROM audit_entries WHERE id = $1`, pick(v, v.entries[len(v.entries)-v.waiting:])) > 0
	}},
}

// some are one to four sealed entries.
func (v *vandal) some() []int64 {
	ids := make([]int64, 1+v.r.IntN(4))
	for i := range ids {
		ids[i] = v.sealed()
	}
	return ids
}

// rewind brings a chain back to how it was signed once.
func (v *vandal) rewind() bool {
	chain, state := pick(v, v.chains), v.r.IntN(v.states)
	v.exec(fmt.Sprintf(`DELETE FROM audit_entries e USING audit_seals s WHERE s.entry_id = e.id AND s.chain = $1 AND s.seq > (SELECT seq FROM heads_%d WHERE chain = $1)`, state), chain)
	v.exec(fmt.Sprintf(`DELETE FROM audit_seals WHERE chain = $1 AND seq > (SELECT seq FROM heads_%d WHERE chain = $1)`, state), chain)
	v.exec(`DELETE FROM audit_heads WHERE chain = $1`, chain)
	return v.exec(fmt.Sprintf(`INSERT INTO audit_heads SELECT * FROM heads_%d WHERE chain = $1`, state), chain) > 0
}

// rechain takes an entry out, moves those above it down, and computes all hashes again: everything that needs no key.
func (v *vandal) rechain() bool {
	chain := pick(v, v.chains)
	last := v.number(`SELECT seq FROM audit_heads WHERE chain = $1`, chain)
	out := 1 + v.r.Int64N(last-1)
	v.exec(`DELETE FROM audit_entries e USING audit_seals s WHERE s.entry_id = e.id AND s.chain = $1 AND s.seq = $2`, chain, out)
	v.exec(`DELETE FROM audit_seals WHERE chain = $1 AND seq = $2`, chain, out)
	v.exec(`UPDATE audit_seals SET seq = seq + 1000000 WHERE chain = $1 AND seq > $2`, chain, out)
	v.exec(`UPDATE audit_seals SET seq = seq - 1000001 WHERE chain = $1 AND seq > 1000000`, chain)
	hash := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("cockpit audit chain 1\n"), uint64(chain)))
	for seq := int64(1); seq < last; seq++ {
		var id, account, section, at int64
		var texts [10]string
		if err := v.tx.QueryRow(v.t.Context(), `SELECT id, coalesce(account_id, 0), coalesce(section_id, 0), (extract(epoch FROM at) * 1000000)::bigint, actor::text, action, object_kind, object_id, object_name,
			changes::text, reason, request_id, address, encode(mac, 'hex') FROM audit_entries e JOIN audit_seals s ON s.entry_id = e.id WHERE s.chain = $1 AND s.seq = $2`, chain, seq).Scan(&id, &account, &section, &at,
			&texts[0], &texts[1], &texts[2], &texts[3], &texts[4], &texts[5], &texts[6], &texts[7], &texts[8], &texts[9]); err != nil {
			v.t.Fatal(err)
		}
		b := binary.BigEndian.AppendUint64(hash[:], uint64(seq))
		b = append(b, "cockpit audit entry 1\n"...)
		for _, n := range []int64{id, account, section, at} {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
		for _, s := range texts[:9] {
			b = append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
		}
		var mac []byte
		if _, err := fmt.Sscanf(texts[9], "%x", &mac); err != nil {
			v.t.Fatal(err)
		}
		before := hash
		hash = sha256.Sum256(append(b, mac...))
		var kept []byte
		if err := v.tx.QueryRow(v.t.Context(), `UPDATE audit_seals SET hash = $3 WHERE chain = $1 AND seq = $2 RETURNING (SELECT hash FROM audit_seals WHERE chain = $1 AND seq = $2)`, chain, seq, hash[:]).Scan(&kept); err != nil {
			v.t.Fatal(err)
		}
		if seq < out && !bytes.Equal(kept, hash[:]) {
			v.t.Fatalf("the hash of %d after %x is not computed as it was", seq, before)
		}
	}
	return v.exec(`UPDATE audit_heads SET seq = $2, hash = $3 WHERE chain = $1`, chain, last-1, hash[:]) > 0
}

// A thousand edits of every kind, each to an untouched log, and every one is found. The heads that were kept outside are the
// newest: without them, a chain that was brought back to an older signed state can't be told from one that is young.
func TestEveryEditIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	states := 3
	for i := range states {
		w.write(t, 20)
		w.seal(t)
		if _, err := w.owner.Exec(t.Context(), fmt.Sprintf(`CREATE TABLE heads_%d AS SELECT * FROM audit_heads`, i)); err != nil {
			t.Fatal(err)
		}
	}
	w.write(t, 20)
	w.seal(t)
	w.write(t, 5)
	w.green(t, 80, 5)
	kept := w.heads(t)
	if _, err := w.owner.Exec(t.Context(), `ALTER TABLE audit_entries ALTER id DROP IDENTITY`); err != nil {
		t.Fatal(err)
	}
	var ids []int64
	if err := w.owner.QueryRow(t.Context(), `SELECT array_agg(id ORDER BY id) FROM audit_entries`).Scan(&ids); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	done := map[string]int{}
	for n := 0; n < edits; {
		act := acts[r.IntN(len(acts))]
		err := pgx.BeginFunc(t.Context(), w.owner, func(tx pgx.Tx) error {
			v := &vandal{t: t, tx: tx, r: r, chains: w.accounts, entries: ids, waiting: 5, states: states}
			v.exec(`SET LOCAL session_replication_role = replica`) // no foreign keys, no triggers
			if act.do(v) {
				n++
				done[act.name]++
				var found []audit.Finding
				check := w.verifier(&found)
				check.Kept = kept
				if _, err := check.VerifyIn(t.Context(), tx); err != nil {
					t.Errorf("%s: %v", act.name, err)
				} else if len(found) == 0 {
					t.Errorf("edit %d was not found: %s", n, act.name)
				}
			}
			return errRollback
		})
		if !errors.Is(err, errRollback) {
			t.Fatal(err)
		}
		if n%100 == 0 {
			w.green(t, 80, 5)
		}
	}
	for _, act := range acts {
		if done[act.name] == 0 {
			t.Errorf("never done: %s", act.name)
		}
	}
	w.green(t, 80, 5)
}

var errRollback = errors.New("rolled back on purpose")

// heads are the newest heads, as somebody outside would have kept them.
func (w *world) heads(t *testing.T) map[int64][]audit.Head {
	t.Helper()
	heads, err := audit.Heads(t.Context(), w.platform)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[int64][]audit.Head{}
	for _, h := range heads {
		kept[h.Chain] = append(kept[h.Chain], h)
	}
	return kept
}

// What is found is named exactly.
func TestFindingsNameChainSeqAndEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.write(t, 10) // five of each chain, in turn
	w.seal(t)
	kept := w.heads(t)
	a := w.accounts[1]
	var third int64
	if err := w.owner.QueryRow(t.Context(), `SELECT entry_id FROM audit_seals WHERE chain = $1 AND seq = 3`, a).Scan(&third); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, sql string
		want      []audit.Finding
	}{
		{"edited", `UPDATE audit_entries SET reason = '' WHERE id = $1`, []audit.Finding{{Seq: 3, Entry: third, What: audit.EntryEdited}}},
		{"deleted", `DELETE FROM audit_entries WHERE id = $1`, []audit.Finding{{Seq: 3, Entry: third, What: audit.EntryMissing}}},
		{"seal deleted", `DELETE FROM audit_seals WHERE entry_id = $1`, []audit.Finding{{Seq: 4, Entry: third + 2, What: audit.SealMissing}}},
		{"seal edited", `UPDATE audit_seals SET hash = sha256(hash) WHERE entry_id = $1`, []audit.Finding{{Seq: 3, Entry: third, What: audit.SealBroken}, {Seq: 4, Entry: third + 2, What: audit.SealBroken}}},
		{"moved", `UPDATE audit_entries SET account_id = NULL WHERE id = $1`, []audit.Finding{{Seq: 3, Entry: third, What: audit.EntryMoved}}},
		{"truncated", `DELETE FROM audit_seals WHERE chain <> 0 AND entry_id > $1`, []audit.Finding{{Seq: 5, What: audit.HeadDiffers}, {Seq: 5, What: audit.ChainTruncated}}},
		{"head removed", `DELETE FROM audit_heads WHERE chain <> 0 AND $1 > 0`, []audit.Finding{{Seq: 5, What: audit.HeadMissing}}},
		{"head edited", `UPDATE audit_heads SET hash = sha256(hash) WHERE chain <> 0 AND $1 > 0`, []audit.Finding{{Seq: 5, What: audit.HeadForged}}},
	} {
		err := pgx.BeginFunc(t.Context(), w.owner, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), c.sql, third); err != nil {
				return err
			}
			var found []audit.Finding
			v := w.verifier(&found)
			v.Kept, v.Account = kept, &a
			if _, err := v.VerifyIn(t.Context(), tx); err != nil {
				return err
			}
			for i := range found {
				found[i].Detail = ""
			}
			for i := range c.want {
				c.want[i].Chain, c.want[i].Account = a, "acc-0"
			}
			if !slices.Equal(found, c.want) {
				t.Errorf("%s: found %+v, want %+v", c.name, found, c.want)
			}
			return errRollback
		})
		if !errors.Is(err, errRollback) {
			t.Fatal(err)
		}
	}
}
