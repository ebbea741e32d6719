package users_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"pgregory.net/rapid"
)

const acme = "/v1/accounts/key:acme"

func exported(s *controltest.Server) string {
	return string(s.As(admin).Want(http.StatusOK, http.MethodGet, acme+"/exports/users.csv", "").Body)
}

// both imports a file as a dry run and then really, and wants the same of each line.
func both(t *testing.T, s *controltest.Server, file string, want map[string]string) {
	t.Helper()
	before := exported(s)
	dry := s.As(admin).Import(acme, "users", "?dry_run=true", file)
	if exported(s) != before {
		t.Errorf("a dry run changed something")
	}
	done := s.As(admin).Import(acme, "users", "", file)
	if !maps.Equal(dry.Lines, want) || !maps.Equal(done.Lines, want) {
		t.Errorf("a dry run says\n%v\nand a run\n%v\nwant\n%v", dry.Lines, done.Lines, want)
	}
}

func TestImportingUsers(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(admin)
	a.Want(http.StatusOK, http.MethodPost, all+"/key:u-5/erase", `{"reason":"asked"}`)
	erased := keys(s, "?state=erased")[0]
	both(t, s, "state,key,name,email,identities\n"+
		",u-1,Ada Lovelace,ada@acme.example,zitadel=2801\n"+ // 2
		",u-2,Alan M. Turing,,\n"+
		"inactive,u-3,,barbara@acme.example,litellm=lis\\;kov; zitadel = 3 \n"+
		"active,u-6,,edsger@acme.example,\n"+
		",U-1,Another Ada,ada@acme.example,\n"+ // 6: another case is another key, an e-mail may be of many
		"inactive,new,Neu,,\n"+
		",a\u0308,Decomposed,,\n"+
		",,Nobody,,\n"+
		",nameless,,,\n"+ // 10
		",long,"+strings.Repeat("ü", 201)+",,\n"+
		",mail,A,nobody,\n"+
		"gone,state,A,,\n"+
		",taken,A,,litellm=gateway-grace\n"+
		",u-4,,claude@acme.example,zitadel=2802\n"+ // 15: of u-2, from whom the file takes it
		",twice,A,,\n"+
		",twice,B,,\n"+
		",one,A,,x=same\n"+
		",two,A,,x=same\n"+
		","+erased+",A,,\n"+ // 20
		",pair,A,,litellm\n"+
		",escape,A,,litellm=a\\\n"+
		",few\n"+
		",\xff,A,,\n", map[string]string{
		"2": "unchanged", "3": "done change name email identities", "4": "done change state identities", "5": "done change state", "6": "done create name email", "7": "done create name state",
		"8": "failed invalid key", "9": "failed invalid key", "10": "failed required name", "11": "failed invalid name", "12": "failed invalid email", "13": "failed invalid state",
		"14": "failed identity_taken identities", "15": "failed identity_taken identities", "16": "failed named_twice key", "17": "failed named_twice key",
		"18": "failed named_twice identities", "19": "failed named_twice identities", "20": "failed user_erased key", "21": "failed invalid identities", "22": "failed invalid identities",
		"23": "failed cells", "24": "failed invalid key"})
	if file := exported(s); !strings.Contains(file, "u-3,Barbara Liskov,barbara@acme.example,inactive,litellm=lis\\;kov; zitadel=3\n") || !strings.Contains(file, "u-2,Alan M. Turing,,active,\n") || strings.Contains(file, "erased") {
		t.Errorf("%s", file)
	}
	if to := follow(t, s, "3", time.Now()); to.User != follow(t, s, "u-3", time.Now()).User || to.User == 0 {
		t.Errorf("metering does not know the new identity: %+v", to)
	}
	if to := follow(t, s, "new", time.Now()); to.User == 0 {
		t.Errorf("metering does not know the new user: %+v", to)
	}
	again := a.Import(acme, "users", "", exported(s))
	if n := again.Job.Items; n.Total != n.Unchanged || n.Total == 0 {
		t.Errorf("what was exported is a change: %v", again.Lines)
	}
	var n int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM audit_entries WHERE request_id LIKE 'job\_%' AND action LIKE 'user.%'`).Scan(&n); err != nil || n != 8 {
		t.Errorf("%d changes are on record (%v)", n, err)
	}
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM audit_entries e WHERE e::text ~ 'Turing|Liskov|barbara|liskov|gateway'`).Scan(&n); err != nil || n > 0 {
		t.Errorf("%d entries of the audit log say who somebody is (%v)", n, err)
	}
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM job_items i WHERE i::text ~ 'Turing|Liskov|barbara|gateway|u-3'`).Scan(&n); err != nil || n > 0 {
		t.Errorf("%d items of jobs that are done say who somebody is (%v)", n, err)
	}
}

// Keys that were somebody's are nobody else's, and name nobody here.
func TestKeysOfBefore(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(admin)
	a.Want(http.StatusOK, http.MethodPost, all+"/key:u-1/rename", `{"key":"ada"}`, "If-Match", "*")
	a.Want(http.StatusOK, http.MethodPost, all+"/key:u-5/erase", `{"reason":"asked"}`)
	both(t, s, "key,name\nu-1,A\nu-5,B\nada,C\n", map[string]string{"2": "failed key_taken key", "3": "failed key_taken key", "4": "done change name"})
}

func TestWhatIsAbsentStays(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	both(t, s, "key\nu-1\nnobody\n", map[string]string{"2": "unchanged", "3": "failed required name"})
	both(t, s, "email,key\n,u-1\n", map[string]string{"2": "done change email"})
	if file := exported(s); !strings.Contains(file, "u-1,Ada Lovelace,,active,zitadel=2801\n") {
		t.Errorf("%s", file)
	}
}

// The limit counts those who are active when the file comes, and those whom it makes active.
func TestTheLimitOfUsersInAFile(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	limit(t, s, limit(t, s, 100)+2)
	both(t, s, "key,name,state\nu-1,,inactive\na,A,\nu-6,,active\nb,B,inactive\nc,C,\n", map[string]string{"2": "done change state", "3": "done create name", "4": "done change state",
		"5": "done create name state", "6": "failed limit_reached"})
	if n := count(t, s); n != 7 {
		t.Errorf("%d are active", n)
	}
}

func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	send := func(as, file string, header ...string) *controltest.Response {
		return s.As(as).Do(http.MethodPost, acme+"/imports/users", file, header...)
	}
	for _, c := range []struct {
		as, file, kind string
		status         int
		code           string
	}{
		{admin, "key\na\n", "application/json", 415, "unsupported_media_type"},
		{admin, "key\na\n", "text/csv; charset=latin1", 415, "unsupported_media_type"},
		{admin, "", "text/csv", 422, "invalid"},
		{admin, "who\na\n", "text/csv", 422, "header_invalid"},
		{admin, "key\n\"a\n", "text/csv", 422, "not_csv"},
		{admin, "key\n" + strings.Repeat("a\n", 33<<20), "text/csv", 413, "too_large"},
		{admin, "key\n" + strings.Repeat("a\n", 1_000_001), "text/csv", 422, "too_many_lines"},
		{"account_viewer:acme", "key\na\n", "text/csv", 403, "forbidden"},
		{"section_admin:acme/copilot", "key\na\n", "text/csv", 403, "forbidden"},
		{"account_admin:globex", "key\na\n", "text/csv", 404, "not_found"},
	} {
		if r := send(c.as, c.file, "Content-Type", c.kind); r.Status != c.status || r.Code() != c.code {
			t.Errorf("%.20q as %s: %d %.200s, want %d %s", c.file, c.as, r.Status, r.Body, c.status, c.code)
		}
	}
	if r := send(admin, "key\na\n", "Content-Type", "text/csv", "Content-Encoding", "gzip"); r.Code() != "unsupported_media_type" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	var n int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM jobs`).Scan(&n); err != nil || n > 0 {
		t.Errorf("%d jobs were made (%v)", n, err)
	}
	// The same bytes again are one job; other bytes with the same key are another request.
	first := send(admin, "key\nu-1\n", "Content-Type", "text/csv", "Idempotency-Key", "k")
	second := send(admin, "key\nu-1\n", "Content-Type", "text/csv", "Idempotency-Key", "k")
	other := send(admin, "key\nu-2\n", "Content-Type", "text/csv", "Idempotency-Key", "k")
	if first.Status != http.StatusAccepted || string(first.Body) != string(second.Body) || other.Code() != "idempotency_key_reused" {
		t.Errorf("%d %s\n%d %s\n%d %s", first.Status, first.Body, second.Status, second.Body, other.Status, other.Body)
	}
}

// Texts as nobody writes them on purpose, but for NUL, which nothing here keeps.
var odd = rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.SampledFrom([]rune("'=+-@\t\r\n\"\\;, a0ä\u0308😀\ufeff")), 0, 10, -1)).
	Filter(func(s string) bool { return !strings.ContainsRune(s, 0) })

// Whatever the directory has, also what only a file of cockpit apply could bring: what is exported is no change.
func TestWhatIsExportedIsNoChange(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	rapid.Check(t, func(rt *rapid.T) {
		var id int64
		if err := s.Owner.QueryRow(t.Context(), `INSERT INTO users (account_id, key, name, email) SELECT account_id, $1, $2, nullif($3, '') FROM accounts WHERE key = 'acme'
			ON CONFLICT (account_id, key) DO UPDATE SET name = excluded.name RETURNING id`, odd.Draw(rt, "key"), odd.Draw(rt, "name"), odd.Draw(rt, "email")).Scan(&id); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(0, 3).Draw(rt, "identities") {
			if _, err := s.Owner.Exec(t.Context(), `INSERT INTO user_identities (account_id, user_id, source, value, valid_from) SELECT account_id, $1, $2, $3, now() FROM accounts WHERE key = 'acme'
				ON CONFLICT DO NOTHING`, id, odd.Draw(rt, "source"), odd.Draw(rt, "value")); err != nil {
				rt.Fatal(err)
			}
		}
	})
	file := exported(s)
	for _, query := range []string{"?dry_run=true", ""} {
		if im := s.As(admin).Import(acme, "users", query, file); im.Job.State != "done" || im.Job.Items.Total != im.Job.Items.Unchanged || im.Job.Items.Total < 80 {
			t.Fatalf("%s is a change: %+v %v\n%s", query, im.Job, im.Lines, file)
		}
	}
}
