package closing

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/balances"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/fold"
	"github.com/alchemi/cockpit/schemas/postgres"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// canary is in every text of the account that may be of somebody.
const canary = "c4n4ry"

type world struct {
	*controltest.Server
	t   *testing.T
	job *Job
	dir string
	id  string
}

// open makes acme full of canaries, with usage, alerts, keys, roles and a past.
func open(t *testing.T) *world {
	s := controltest.New(t, controltest.Options{})
	w := &world{Server: s, t: t, dir: t.TempDir()}
	must := func(sql string) {
		t.Helper()
		if _, err := s.Owner.Exec(t.Context(), strings.ReplaceAll(sql, "CANARY", canary)); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	s.Charge(metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5"}, 40_000_000_000)
	s.Charge(metering.Request{Source: "alchemi-web", Account: "globex", Section: "copilot", Model: "gpt-5"}, 1_000_000)
	if _, err := fold.New(s.Metering, slog.Default(), s.Now).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin := s.As("account_admin:acme")
	admin.Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:acme/keys", `{"name":"`+canary+`","sources":["key:alchemi-web"]}`, "Idempotency-Key", "k")
	admin.Want(http.StatusAccepted, http.MethodPost, "/v1/accounts/key:acme/jobs", `{"operation":"users.deactivate","ids":["key:`+canary+`","key:u-1"],"reason":"`+canary+`"}`)
	must(`INSERT INTO people (issuer, subject, name, email) VALUES ('test', 'only-here', 'CANARY', 'CANARY@acme.example')`)
	admin.Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:acme/assignments", `{"subject":"only-here","role":"account_viewer"}`)
	s.As("super_admin").Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:acme/elevations", `{"reason":"`+canary+`","minutes":10}`)
	const mine = ` WHERE account_id = (SELECT account_id FROM accounts WHERE key = 'acme')`
	must(`UPDATE accounts SET name = 'CANARY', issuer_organization = 'CANARY' WHERE key = 'acme'`)
	must(`INSERT INTO issuer_organizations (account_id, organization, own, name) SELECT account_id, 'CANARY', true, 'CANARY' FROM accounts` + mine)
	must(`INSERT INTO issuer_users (key, email, given_name, family_name, home, subject, claimed, person_id) SELECT 'CANARY', 'CANARY@acme.example', 'CANARY', 'CANARY', account_id, 'only-here', 'CANARY', p.id
		FROM accounts, people p` + mine + ` AND p.subject = 'only-here'`)
	must(`INSERT INTO issuer_grants (account_id, user_id, roles, grant_id) SELECT account_id, u.id, '{end_user}', 'CANARY' FROM accounts, issuer_users u` + mine)
	must(`UPDATE users SET key = 'CANARY-' || id, name = 'CANARY', email = 'CANARY@acme.example'` + mine)
	must(`UPDATE user_identities SET value = 'CANARY-' || user_id` + mine)
	must(`UPDATE scopes SET key = CASE WHEN key IS NOT NULL THEN 'CANARY-' || id END, name = 'CANARY'` + mine)
	must(`UPDATE allocations SET author = 'CANARY'` + mine)
	must(`UPDATE caps SET author = 'CANARY'` + mine)
	must(`UPDATE models SET key = 'CANARY-' || id, provider = 'CANARY'` + mine)
	must(`UPDATE alerts SET data = jsonb_set(data, '{scope,key}', '"CANARY"')` + mine + ` AND data ? 'scope'`)
	must(`INSERT INTO overrides (account_id, scope_id, kind, amount, reason, author, valid_from) SELECT account_id, root_scope_id, 'cap', 1, 'CANARY', 'CANARY', now() FROM account_sections` + mine)
	must(`INSERT INTO budget_plans (account_id, key) SELECT account_id, 'CANARY' FROM accounts` + mine)
	must(`INSERT INTO replays (account_id, src_topic_id, src_partition, src_offset, identity, author) SELECT account_id, 't', 0, 0, '\x00', 'CANARY' FROM accounts` + mine)
	var closed struct{ ID string }
	s.As("super_admin").Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:acme/close", `{"reason":"`+canary+`"}`).Into(&closed)
	w.id = closed.ID
	w.job = NewJob(Config{Platform: s.Stores.Platform, Erasure: testkit.Pool(t, s.Owner.Config().ConnString(), postgres.RoleErasure), Audit: audit.NewLog(bytes.Repeat([]byte{7}, 32)),
		Dir: w.dir, Log: slog.Default(), Now: s.Now})
	return w
}

func (w *world) once() int {
	w.t.Helper()
	n, err := w.job.Once(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// found are the columns of the database in which the canary is.
func (w *world) found() (in []string) {
	w.t.Helper()
	rows, err := w.Owner.Query(w.t.Context(), `SELECT DISTINCT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1`)
	if err != nil {
		w.t.Fatal(err)
	}
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			w.t.Fatal(err)
		}
		tables = append(tables, table)
	}
	for _, table := range tables {
		var n int
		if err := w.Owner.QueryRow(w.t.Context(), `SELECT count(*) FROM "`+table+`" t WHERE t::text LIKE '%'||$1||'%'`, canary).Scan(&n); err != nil {
			w.t.Fatal(err)
		}
		if n > 0 {
			in = append(in, fmt.Sprintf("%s (%d)", table, n))
		}
	}
	return in
}

// whole checks the export against its manifest, and that it has what there was.
func (w *world) whole() {
	w.t.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != w.id {
		w.t.Fatalf("the directory has %v (%v)", entries, err)
	}
	m, err := readManifest(filepath.Join(w.dir, w.id))
	if err != nil || m == nil || m.Key != "acme" || m.Name != canary || len(m.Files) != 4 {
		w.t.Fatalf("%+v %v", m, err)
	}
	tables := map[string]int{}
	for name, f := range m.Files {
		text, err := os.ReadFile(filepath.Join(w.dir, w.id, name))
		sum := sha256.Sum256(text)
		if err != nil || hex.EncodeToString(sum[:]) != f.SHA256 || int64(len(text)) != f.Bytes {
			w.t.Errorf("%s is not as the manifest says: %v", name, err)
		}
		lines := int64(0)
		for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); lines++ {
			var l struct{ Table, Decision string }
			if err := json.Unmarshal(s.Bytes(), &l); err != nil {
				w.t.Errorf("%s: %v", name, err)
			}
			tables[l.Table+l.Decision]++
		}
		if lines != f.Lines {
			w.t.Errorf("%s has %d lines, and the manifest says %d", name, lines, f.Lines)
		}
		if bytes.Contains(text, []byte("globex")) || bytes.Contains(text, []byte(`"hash"`)) {
			w.t.Errorf("%s has what is another's, or a secret", name)
		}
	}
	for _, table := range []string{"users", "user_identities", "scopes", "allocations", "overrides", "audit_entries", "alerts", "service_keys", "people", "charged"} {
		if tables[table] == 0 {
			w.t.Errorf("the export has no %s: %v", table, tables)
		}
	}
	if tables["charged"] != 1 {
		w.t.Errorf("%d charges", tables["charged"])
	}
}

func TestAnAccountIsExportedAndErased(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.Advance(29 * 24 * time.Hour)
	if n := w.once(); n != 0 || len(w.found()) < 10 {
		t.Fatalf("before its time: %d, and canaries in %v", n, w.found())
	}
	before, err := balances.Read(t.Context(), w.Metering, "globex", "copilot", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	used := func() (sum int64) {
		if err := w.Owner.QueryRow(t.Context(), `SELECT sum(b.used)::bigint FROM balances b`).Scan(&sum); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	sum := used()
	w.Advance(2 * 24 * time.Hour)
	if n := w.once(); n != 1 {
		t.Fatalf("%d ended", n)
	}
	w.whole()
	if found := w.found(); len(found) != 0 {
		t.Errorf("canaries are left in %v", found)
	}
	if n := w.once(); n != 0 {
		t.Errorf("ended again: %d", n)
	}
	if after, err := balances.Read(t.Context(), w.Metering, "globex", "copilot", time.Now()); err != nil || len(after.Balances) != len(before.Balances) || used() != sum {
		t.Errorf("the books: %d, and before %d; %v", used(), sum, err)
	}
	super := w.As("super_admin")
	var a struct{ Key, Name, State string }
	if super.Want(http.StatusOK, http.MethodGet, "/v1/platform/accounts/key:acme", "").Into(&a); a.State != "erased" || a.Name != "" {
		t.Errorf("%+v", a)
	}
	for _, r := range []*controltest.Response{
		super.Do(http.MethodPost, "/v1/platform/accounts", `{"key":"acme","name":"Another","time_zone":"UTC"}`),
		super.Do(http.MethodPost, "/v1/platform/accounts/key:acme/reactivate", `{"reason":"x"}`),
		super.Do(http.MethodPatch, "/v1/platform/accounts/key:acme", `{"name":"x"}`, "If-Match", "*"),
		super.Do(http.MethodPost, "/v1/platform/accounts/key:acme/sections/key:copilot/on", ``),
	} {
		if r.Status != http.StatusConflict {
			t.Errorf("of an erased account: %d %s", r.Status, r.Body)
		}
	}
	var actions []string
	if err := w.Owner.QueryRow(t.Context(), `SELECT array_agg(action) FROM audit_entries WHERE account_id IS NULL AND object_id = $1 AND changes::text LIKE '%manifest_sha256%'`, w.id).Scan(&actions); err != nil || !slices.Equal(actions, []string{"account.erased"}) {
		t.Errorf("on record: %v %v", actions, err)
	}
	f, err := metering.Follow(t.Context(), w.Metering, slog.Default(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var to metering.Resolution
	f.Current().Resolve(&metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Model: "gpt-5", TimeMicros: time.Now().UnixMicro()}, &to)
	if to.AccountID == 0 || to.User != 0 {
		t.Errorf("metering knows the user still: %+v", to)
	}
}

// The chain of an erased account is gone with it, and heads that were kept of it say nothing of tampering.
func TestTheAuditLogIsProvedWithoutIt(t *testing.T) {
	t.Parallel()
	w := open(t)
	keys := audit.NewKeys([][]byte{bytes.Repeat([]byte{7}, 32)}, [][]byte{bytes.Repeat([]byte{8}, 32)})
	seal := func() {
		s := audit.NewSealer(w.Stores.Platform, keys, slog.Default(), w.Now)
		for n := 1; n > 0; {
			var err error
			if n, err = s.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	seal()
	heads, err := audit.Heads(t.Context(), w.Stores.Platform)
	if err != nil || len(heads) == 0 {
		t.Fatalf("%v %v", heads, err)
	}
	kept := map[int64][]audit.Head{}
	for _, h := range heads {
		kept[h.Chain] = append(kept[h.Chain], h)
	}
	w.Advance(31 * 24 * time.Hour)
	if n := w.once(); n != 1 {
		t.Fatal(n)
	}
	seal()
	var found []audit.Finding
	v := &audit.Verifier{Keys: keys, Now: w.Now, Kept: kept, Found: func(f audit.Finding) { found = append(found, f) }}
	if c, err := v.Verify(t.Context(), w.Stores.Platform); err != nil || len(found) > 0 || c.Sealed == 0 {
		t.Errorf("%+v %v %v", c, found, err)
	}
}

// A job that waits when its account ends is gone with it, and whoever was to work on it finds nothing to do.
func TestAJobOfAnErasedAccount(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.Advance(31 * 24 * time.Hour)
	if n := w.once(); n != 1 {
		t.Fatal(n)
	}
	w.Work()
	var waiting, jobs, changed int
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err := w.Owner.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM river.river_job WHERE state <> 'completed'), (SELECT count(*) FROM jobs) + (SELECT count(*) FROM job_items),
			(SELECT count(*) FROM audit_entries WHERE action = 'user.deactivated')`).Scan(&waiting, &jobs, &changed); err != nil {
			t.Fatal(err)
		}
		if waiting == 0 || time.Since(begun) > time.Minute {
			break
		}
	}
	if waiting != 0 || jobs != 0 || changed != 0 {
		t.Errorf("%d tasks wait, %d rows of jobs are left, %d users were changed: %s", waiting, jobs, changed, w.Logs)
	}
}

var errCrash = errors.New("the process is gone")

// Killed at each place, and run again: one whole export, and nothing left.
func TestACrashAnywhere(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"wrote directory", "wrote usage", "wrote audit", "wrote the manifest", "exported", "erased", "forgot"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			w.Advance(31 * 24 * time.Hour)
			w.job.at = func(at string) error {
				if at == place {
					return errCrash
				}
				return nil
			}
			if _, err := w.job.Once(t.Context()); !errors.Is(err, errCrash) {
				t.Fatalf("%v", err)
			}
			if n := len(w.found()); n < 10 && (place != "forgot" || n > 0) {
				t.Fatalf("erased half: canaries are left in %v alone", w.found())
			}
			w.job.at = func(string) error { return nil }
			forgot := 0
			w.job.Forget = func(context.Context, int64) error { forgot++; return nil }
			if n := w.once(); n != 1 && place != "forgot" || forgot != 1 {
				t.Fatalf("%d ended, forgot %d times", n, forgot)
			}
			if w.once(); forgot != 1 {
				t.Error("forgot again")
			}
			w.whole()
			if found := w.found(); len(found) != 0 {
				t.Errorf("canaries are left in %v", found)
			}
		})
	}
}

// What changed after the export is in the next one; what is opened again is not erased.
func TestAnAccountThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.Advance(31 * 24 * time.Hour)
	w.job.at = func(at string) error {
		if at == "exported" {
			return errCrash
		}
		return nil
	}
	if _, err := w.job.Once(t.Context()); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	first, _ := readManifest(filepath.Join(w.dir, w.id))
	w.As("super_admin").Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:acme", `{"time_zone":"UTC"}`, "If-Match", "*")
	w.job.at = func(string) error { return nil }
	w.once()
	if second, _ := readManifest(filepath.Join(w.dir, w.id)); second == nil || first == nil || second.State == first.State {
		t.Errorf("%+v, and before %+v", second, first)
	}
	w.whole()

	w = open(t)
	w.Advance(31 * 24 * time.Hour)
	w.job.at = func(at string) error {
		if at == "exported" {
			w.As("super_admin").Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:acme/reactivate", `{"reason":"in the last moment"}`)
		}
		return nil
	}
	w.once()
	if len(w.found()) < 10 {
		t.Errorf("it was opened again, and erased: %v", w.found())
	}
	w.job.Dir = ""
	w.As("super_admin").Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:acme/close", `{"reason":"x"}`)
	w.Advance(31 * 24 * time.Hour)
	if n := w.once(); n != 0 || len(w.found()) < 10 {
		t.Errorf("without a directory %d were ended", n)
	}
}

// Every table of an account is exported, or says of nobody; and something becomes of each.
func TestEveryTableIsThoughtOf(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	rows, err := s.Owner.Query(t.Context(), `SELECT c.relname, EXISTS (SELECT FROM pg_policy p JOIN pg_roles r ON r.oid = ANY(p.polroles) WHERE p.polrelid = c.oid AND r.rolname = 'cockpit_erasure')
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id' AND NOT a.attisdropped
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	// Answers that are kept for a day, what is sent on, a sum of what is exported, a permission that was used.
	notExported := []string{"idempotency_keys", "alert_outbox", "account_summaries", "replays"}
	for rows.Next() {
		var table string
		var policy bool
		if err := rows.Scan(&table, &policy); err != nil {
			t.Fatal(err)
		}
		out, gone := slices.Contains(notExported, table), false
		for _, e := range exported {
			out = out || e.table == table
		}
		for _, e := range erasing {
			gone = gone || e.table == table
		}
		if !out || !gone || !policy {
			t.Errorf("%s: exported %t, erased %t, policy for cockpit_erasure %t", table, out, gone, policy)
		}
	}
}
