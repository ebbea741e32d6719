package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a database with accounts, and who works on its log.
type world struct {
	url             string
	owner, platform *pgxpool.Pool
	keys            audit.Keys
	log             *audit.Log
	macs, seeds     [][]byte
	accounts        []int64 // 0 is the platform
	n               int
	now             time.Time // when verification takes place: not long after, however slow the machine
}

func newWorld(t testing.TB, accounts int) *world {
	t.Helper()
	w := &world{url: testkit.Database(t), accounts: []int64{0}, now: time.Now()}
	w.owner, w.platform = testkit.Pool(t, w.url, "postgres"), testkit.Pool(t, w.url, postgres.RolePlatform)
	w.rotate(1)
	for n := range accounts {
		var id int64
		if err := w.owner.QueryRow(t.Context(), `INSERT INTO accounts (key, name, time_zone) VALUES ($1, $1, 'UTC') RETURNING account_id`, fmt.Sprintf("acc-%d", n)).Scan(&id); err != nil {
			t.Fatal(err)
		}
		w.accounts = append(w.accounts, id)
	}
	return w
}

// rotate makes keys that write from here on.
func (w *world) rotate(n byte) {
	w.macs = append([][]byte{bytes.Repeat([]byte{n}, 32)}, w.macs...)
	w.seeds = append([][]byte{bytes.Repeat([]byte{n + 100}, 32)}, w.seeds...)
	w.keys, w.log = audit.NewKeys(w.macs, w.seeds), audit.NewLog(w.macs[0])
}

func (w *world) sealer() *audit.Sealer {
	return audit.NewSealer(w.platform, w.keys, slog.New(slog.DiscardHandler), time.Now)
}

// entry is the next entry of the nth account; one in three is of a section.
func (w *world) entry(n int) *audit.Entry {
	w.n++
	account := w.accounts[n%len(w.accounts)]
	e := &audit.Entry{Account: account, At: time.Now(), Actor: audit.Actor{Kind: "person", ID: fmt.Sprintf("per_%d", w.n%3), Name: "Ada <=> Søren", Role: "account_admin"},
		Action: []string{"account.updated", "team.created", "key.revoked"}[w.n%3], Object: audit.Object{Kind: "team", ID: fmt.Sprintf("team_%d", w.n%5), Name: "Team"},
		Changes: []audit.Change{{Field: "name", Before: []byte(`"a"`), After: []byte(`"ü"`)}}, Reason: "because", RequestID: fmt.Sprintf("req_%d", w.n), Address: "192.0.2.1"}
	if account != 0 && w.n%3 > 0 {
		e.Section = int64(w.n % 3)
	}
	return e
}

// write commits n entries, to accounts in turn.
func (w *world) write(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		if err := pgx.BeginFunc(t.Context(), w.platform, func(tx pgx.Tx) error { return w.log.Append(t.Context(), tx, w.entry(i)) }); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) seal(t testing.TB) {
	t.Helper()
	for s := w.sealer(); ; {
		n, err := s.Once(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// verifier notes what it finds.
func (w *world) verifier(found *[]audit.Finding) *audit.Verifier {
	return &audit.Verifier{Keys: w.keys, Now: func() time.Time { return w.now }, Found: func(f audit.Finding) { *found = append(*found, f) }}
}

func (w *world) verify(t testing.TB) ([]audit.Finding, audit.Checked) {
	t.Helper()
	var found []audit.Finding
	c, err := w.verifier(&found).Verify(t.Context(), w.platform)
	if err != nil {
		t.Fatal(err)
	}
	return found, c
}

// green fails where anything is found, or not all was looked at.
func (w *world) green(t testing.TB, sealed, waiting int64) {
	t.Helper()
	found, c := w.verify(t)
	if len(found) > 0 || c.Sealed != sealed || c.Waiting != waiting {
		t.Fatalf("found %v, checked %+v, want %d sealed and %d waiting", found, c, sealed, waiting)
	}
}

func TestSealing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.green(t, 0, 0)
	w.write(t, 40)
	w.green(t, 0, 40)
	w.seal(t)
	w.green(t, 40, 0)
	w.write(t, 9)
	w.green(t, 40, 9)
	w.seal(t)
	w.green(t, 49, 0)
}

// What was written and signed with older keys is genuine; without them, it is not.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.write(t, 4)
	w.seal(t)
	w.write(t, 4)
	w.rotate(2)
	w.green(t, 4, 4)
	w.seal(t)
	w.write(t, 4)
	w.seal(t)
	w.green(t, 12, 0)
	w.keys = audit.NewKeys(w.macs[:1], w.seeds[:1])
	if found, _ := w.verify(t); len(found) != 8 {
		t.Errorf("found %v", found)
	}
}

// An entry that commits after ones with higher ids is sealed as well.
func TestAnEntryThatCommitsLateIsSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	late, err := w.platform.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Rollback(context.Background()) }()
	if err := w.log.Append(t.Context(), late, w.entry(1)); err != nil {
		t.Fatal(err)
	}
	w.write(t, 4)
	w.seal(t)
	w.green(t, 4, 0)
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.green(t, 4, 1)
	w.seal(t)
	w.green(t, 5, 0)
}

// A chain whose end is not what was signed is not sealed any further, and does not hold up the others.
func TestABrokenChainIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.write(t, 9)
	w.seal(t)
	if _, err := w.owner.Exec(t.Context(), `UPDATE audit_heads SET seq = seq - 1 WHERE chain = $1`, w.accounts[1]); err != nil {
		t.Fatal(err)
	}
	w.write(t, 9)
	w.seal(t)
	found, c := w.verify(t)
	if len(found) != 1 || found[0].What != audit.HeadForged || found[0].Account != "acc-0" || c.Sealed != 15 || c.Waiting != 3 {
		t.Errorf("found %v, checked %+v", found, c)
	}
}

// An entry that nobody seals shows after a minute, also when it was taken from the queue.
func TestAnEntryThatIsNotSealedShows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.write(t, 2)
	if _, err := w.owner.Exec(t.Context(), `DELETE FROM audit_unsealed WHERE entry_id = (SELECT min(id) FROM audit_entries)`); err != nil {
		t.Fatal(err)
	}
	w.seal(t)
	w.green(t, 1, 1)
	w.now = w.now.Add(2 * time.Minute)
	if found, _ := w.verify(t); len(found) != 1 || found[0].What != audit.EntryUnsealed {
		t.Errorf("found %v", found)
	}
}

// The roles of the program can neither change nor remove an entry or a seal, nor keep one from being sealed.
func TestTheLogIsInsertOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.write(t, 2)
	w.seal(t)
	w.write(t, 2)
	for _, role := range []string{postgres.RoleApp, postgres.RolePlatform, postgres.RoleMetering} {
		pool := testkit.Pool(t, w.url, role)
		for _, sql := range []string{`UPDATE audit_entries SET reason = 'x'`, `DELETE FROM audit_entries`, `TRUNCATE audit_entries`, `UPDATE audit_seals SET seq = seq + 1`,
			`DELETE FROM audit_seals`, `DELETE FROM audit_heads`, `UPDATE audit_unsealed SET entry_id = 0`, `ALTER TABLE audit_entries DISABLE TRIGGER ALL`} {
			if _, err := pool.Exec(t.Context(), sql); err == nil {
				t.Errorf("%s may %s", role, sql)
			}
		}
		if _, err := pool.Exec(t.Context(), `DELETE FROM audit_unsealed WHERE false`); (err == nil) != (role == postgres.RolePlatform) {
			t.Errorf("%s takes from the queue: %v", role, err)
		}
	}
}
