package jobs_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	admin    = "account_admin:acme"
	super    = "super_admin"
	ofAcme   = "/v1/accounts/key:acme/jobs"
	section  = "/v1/accounts/key:acme/sections/key:copilot/jobs"
	platform = "/v1/jobs"
	deadline = 2 * time.Minute // for what is awaited; nothing is measured by it
)

// post makes a job, and returns it.
func post(t testing.TB, c *controltest.Client, path, body string, header ...string) (j jobs.Job) {
	t.Helper()
	c.Want(http.StatusAccepted, http.MethodPost, path, body, header...).Into(&j)
	return j
}

// ended waits until a job has ended.
func ended(t testing.TB, c *controltest.Client, path, id string) (j jobs.Job) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < deadline; time.Sleep(20 * time.Millisecond) {
		j = jobs.Job{}
		c.Want(http.StatusOK, http.MethodGet, path+"/"+id, "").Into(&j)
		if j.EndedAt != nil {
			return j
		}
	}
	t.Fatalf("%s does not end: %+v", id, j)
	return j
}

// items are what came of a job's items, as "ref state code", in their order.
func items(t testing.TB, c *controltest.Client, path, id, query string) (lines []string) {
	t.Helper()
	var list struct{ Items []jobs.JobItem }
	c.Want(http.StatusOK, http.MethodGet, path+"/"+id+"/items?limit=200"+query, "").Into(&list)
	for _, i := range list.Items {
		lines = append(lines, strings.TrimSpace(fmt.Sprint(i.Ref, " ", i.State, " ", i.Code)))
	}
	return lines
}

// count is what a query that counts says.
func count(t testing.TB, s *controltest.Server, sql string, args ...any) (n int) {
	t.Helper()
	if err := s.Owner.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// many adds active users m-1 … m-n to acme.
func many(t testing.TB, s *controltest.Server, n int) {
	t.Helper()
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO users (account_id, key, name) SELECT account_id, 'm-' || i, 'Many ' || i FROM accounts, generate_series(1, $1) i WHERE key = 'acme'`, n); err != nil {
		t.Fatal(err)
	}
}

func wantCounts(t testing.TB, j jobs.Job, state string, done, unchanged, failed int64) {
	t.Helper()
	total := done + unchanged + failed
	if want := (jobs.Counts{Total: total, Done: done, Unchanged: unchanged, Failed: failed}); j.State != state || j.Items != want {
		t.Fatalf("%s %+v %+v, want %s %+v", j.State, j.Items, j.Failure, state, want)
	}
}

func TestUsersByIDsAndBack(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(admin)
	var globex struct{ Items []struct{ ID string } }
	s.As("account_admin:globex").Want(http.StatusOK, http.MethodGet, "/v1/accounts/key:globex/users?limit=1", "").Into(&globex)
	foreign := globex.Items[0].ID
	j := ended(t, a, ofAcme, post(t, a, ofAcme, `{"operation":"users.deactivate","ids":["key:u-1","key:u-6","key:nobody","`+foreign+`","key:u-1"],"reason":"left"}`).ID)
	wantCounts(t, j, "done", 1, 1, 2)
	if have := items(t, a, ofAcme, j.ID, "&state=failed"); !slices.Equal(have, []string{"key:nobody failed not_found", foreign + " failed not_found"}) {
		t.Errorf("%q", have)
	}
	if n := count(t, s, `SELECT count(*) FROM audit_entries WHERE request_id = $1 AND action = 'user.deactivated' AND reason = 'left' AND actor->>'role' = 'account_admin'`, j.ID); n != 1 {
		t.Errorf("%d entries of what was done", n)
	}
	if !j.Undoable || j.Author.Name != admin {
		t.Errorf("%+v", j)
	}
	a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:u-4/deactivate", "")
	u := ended(t, a, ofAcme, post(t, a, ofAcme+"/"+j.ID+"/undo", `{"reason":"did not leave"}`).ID)
	wantCounts(t, u, "done", 1, 0, 0)
	if active := count(t, s, `SELECT count(*) FROM users WHERE key IN ('u-1') AND state = 'active'`); active != 1 || u.Undoes != j.ID || u.Undoable {
		t.Errorf("%d, %+v", active, u)
	}
	for _, refused := range []struct{ id, code string }{{j.ID, "already_undone"}, {u.ID, "not_undoable"}} {
		if r := a.Do(http.MethodPost, ofAcme+"/"+refused.id+"/undo", `{}`); r.Code() != refused.code {
			t.Errorf("%d %s, want %s", r.Status, r.Body, refused.code)
		}
	}
	if r := a.Do(http.MethodPost, ofAcme+"/"+u.ID+"/cancel", ""); r.Code() != "job_ended" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// A filter selects what the list shows with it.
func TestAFilterSelectsWhatTheListShows(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(admin)
	many(t, s, 30)
	for _, f := range []struct{ query, filter string }{
		{"?", `{}`}, {"?q=LOVE", `{"q":"LOVE"}`}, {"?state=inactive", `{"state":"inactive"}`}, {"?section=key:console", `{"section":"key:console"}`},
		{"?section=key:copilot&team=key:support", `{"section":"key:copilot","team":"key:support"}`},
		{"?section=key:copilot&organization=key:eng", `{"section":"key:copilot","organization":"key:eng"}`}, {"?without_team=true&q=m-1", `{"without_team":true,"q":"m-1"}`},
	} {
		var list struct{ Items []struct{ ID string } }
		a.Want(http.StatusOK, http.MethodGet, "/v1/accounts/key:acme/users"+f.query+"&limit=200", "").Into(&list)
		j := ended(t, a, ofAcme, post(t, a, ofAcme, `{"operation":"users.reactivate","dry_run":true,"filter":`+f.filter+`}`).ID)
		var want, have []string
		for _, u := range list.Items {
			want = append(want, u.ID)
		}
		for _, line := range items(t, a, ofAcme, j.ID, "") {
			have = append(have, strings.Fields(line)[0])
		}
		slices.Sort(want)
		slices.Sort(have)
		if len(want) == 0 || !slices.Equal(have, want) {
			t.Errorf("%s: %q, and the list shows %q", f.filter, have, want)
		}
	}
	for _, bad := range []string{`{"team":"key:support"}`, `{"section":"key:nowhere"}`, `{"state":"happy"}`, `{"colour":"red"}`, `[]`, `"x"`} {
		a.Want(http.StatusUnprocessableEntity, http.MethodPost, ofAcme, `{"operation":"users.deactivate","filter":`+bad+`}`)
	}
}

func TestWhatIsNoJob(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	for _, c := range []struct {
		as, path, body string
		status         int
		code           string
	}{
		{admin, ofAcme, `{"operation":"users.deactivate"}`, http.StatusUnprocessableEntity, "invalid"},
		{admin, ofAcme, `{"operation":"users.deactivate","ids":[],"filter":{}}`, http.StatusUnprocessableEntity, "invalid"},
		{admin, ofAcme, `{"operation":"users.explode","ids":["key:u-1"]}`, http.StatusUnprocessableEntity, "operation_unknown"},
		{admin, ofAcme, `{"operation":"accounts.suspend","ids":["key:acme"],"reason":"x"}`, http.StatusUnprocessableEntity, "operation_unknown"},
		{admin, section, `{"operation":"users.deactivate","ids":["key:u-1"]}`, http.StatusUnprocessableEntity, "operation_unknown"},
		{admin, ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"],"params":{"a":1}}`, http.StatusUnprocessableEntity, "invalid"},
		{admin, ofAcme, `{"operation":"users.deactivate","ids":["` + strings.Repeat(`a","`, 10_001) + `"]}`, http.StatusUnprocessableEntity, "invalid"},
		{super, platform, `{"operation":"accounts.suspend","ids":["key:acme"]}`, http.StatusUnprocessableEntity, "invalid"},
		{super, platform, `{"operation":"sections.off","ids":["key:acme"],"params":{"section":"key:nowhere"}}`, http.StatusUnprocessableEntity, "invalid"},
		{"account_viewer:acme", ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`, http.StatusForbidden, "forbidden"},
		{"section_admin:acme/copilot", ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`, http.StatusForbidden, "forbidden"},
		{"account_viewer:acme", section, `{"operation":"memberships.move","filter":{},"params":{}}`, http.StatusForbidden, "forbidden"},
		{"section_admin:acme/console", section, `{"operation":"memberships.move","filter":{},"params":{}}`, http.StatusNotFound, "not_found"},
		{"account_admin:globex", ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`, http.StatusNotFound, "not_found"},
		{super, ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`, http.StatusForbidden, "forbidden"}, // not elevated
		{admin, platform, `{"operation":"accounts.suspend","ids":["key:acme"],"reason":"x"}`, http.StatusForbidden, "forbidden"},
	} {
		if r := s.As(c.as).Do(http.MethodPost, c.path, c.body); r.Status != c.status || r.Code() != c.code {
			t.Errorf("%s %.80s as %s: %d %s, want %d %s", c.path, c.body, c.as, r.Status, r.Body, c.status, c.code)
		}
	}
	if n := count(t, s, `SELECT count(*) FROM jobs`) + count(t, s, `SELECT count(*) FROM river.river_job`); n != 0 {
		t.Errorf("%d jobs were made", n)
	}
	// A viewer sees jobs, and stops none.
	j := post(t, s.As(admin), ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`)
	v := s.As("account_viewer:acme")
	v.Want(http.StatusOK, http.MethodGet, ofAcme+"/"+j.ID, "")
	v.Want(http.StatusForbidden, http.MethodPost, ofAcme+"/"+j.ID+"/cancel", "")
	v.Want(http.StatusForbidden, http.MethodPost, ofAcme+"/"+j.ID+"/undo", `{}`)
	// Jobs of one place are not there in another.
	s.As(admin).Want(http.StatusNotFound, http.MethodGet, section+"/"+j.ID, "")
	s.As(super).Want(http.StatusNotFound, http.MethodGet, platform+"/"+j.ID, "")
}

func TestMovingMembershipsAndBack(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As("section_admin:acme/copilot")
	const there = "/v1/accounts/key:acme/sections/key:copilot/memberships"
	members := func(team string) (keys []string) {
		var list struct {
			Items []struct {
				ID      string
				User    struct{ Key string }
				Primary bool
			}
		}
		a.Want(http.StatusOK, http.MethodGet, there+"?team=key:"+team, "").Into(&list)
		for _, m := range list.Items {
			keys = append(keys, fmt.Sprint(m.User.Key, " ", m.Primary))
		}
		slices.Sort(keys)
		return keys
	}
	support, language := members("support"), members("language")
	if len(support) < 2 {
		t.Fatalf("%q", support)
	}
	j := ended(t, a, section, post(t, a, section, `{"operation":"memberships.move","filter":{"team":"key:support"},"params":{"team":"key:language"}}`).ID)
	wantCounts(t, j, "done", int64(len(support)), 0, 0)
	if have := members("support"); have != nil {
		t.Errorf("%q are left", have)
	}
	// One is moved on since, and stays there.
	var list struct{ Items []struct{ ID string } }
	a.Want(http.StatusOK, http.MethodGet, there+"?team=key:language&user=key:u-42", "").Into(&list)
	a.Want(http.StatusOK, http.MethodPost, there+"/"+list.Items[0].ID+"/move", `{"organization":"key:eng"}`)
	u := ended(t, a, section, post(t, a, section+"/"+j.ID+"/undo", `{}`).ID)
	wantCounts(t, u, "done", int64(len(support))-1, 0, 1)
	if have := items(t, a, section, u.ID, "&state=failed"); len(have) != 1 || !strings.HasSuffix(have[0], " failed moved_on") {
		t.Errorf("%q", have)
	}
	want := slices.DeleteFunc(slices.Clone(support), func(m string) bool { return strings.HasPrefix(m, "u-42 ") })
	if have := members("support"); !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
	if have := members("language"); !slices.Equal(have, language) {
		t.Errorf("%q, want %q", have, language)
	}
}

func TestAccountsAndSectionsAndBack(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(super)
	for _, verb := range []string{"reactivate", "suspend"} { // with a reason, which it gets back
		a.Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:umbrella/"+verb, `{"reason":"unpaid"}`)
	}
	states := func() (lines []string) {
		rows, err := s.Owner.Query(t.Context(), `SELECT a.key || ' ' || a.state || ' ' || coalesce(a.suspended_reason, '-') || ' ' || coalesce(x.state, 'absent') FROM accounts a
			CROSS JOIN sections s LEFT JOIN account_sections x ON x.account_id = a.account_id AND x.section_id = s.id WHERE s.key = 'console' ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		if lines, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
		return lines
	}
	for _, op := range []string{`"accounts.suspend"`, `"accounts.reactivate"`, `"sections.off","params":{"section":"key:console"}`, `"sections.on","params":{"section":"key:console"}`} {
		before := states()
		j := ended(t, a, platform, post(t, a, platform, `{"operation":`+op+`,"filter":{},"reason":"all of them"}`).ID)
		if j.State != "done" || j.Items.Done == 0 || j.Items.Done+j.Items.Unchanged+j.Items.Failed != int64(len(before)) {
			t.Errorf("%s: %+v", op, j)
		}
		if n := count(t, s, `SELECT count(*) FROM audit_entries WHERE request_id = $1 AND account_id IS NOT NULL`, j.ID); int64(n) != j.Items.Done {
			t.Errorf("%s: %d entries in the logs of accounts, and %d done", op, n, j.Items.Done)
		}
		u := ended(t, a, platform, post(t, a, platform+"/"+j.ID+"/undo", `{"reason":"back"}`).ID)
		if after := states(); u.State != "done" || u.Items.Failed != 0 || !slices.Equal(before, after) && op != `"sections.on","params":{"section":"key:console"}` {
			t.Errorf("%s: %+v\n%q\nwas\n%q", op, u.Items, after, before)
		}
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(admin)
	version := count(t, s, `SELECT directory_version FROM deployment`)
	j := ended(t, a, ofAcme, post(t, a, ofAcme, `{"operation":"users.deactivate","ids":["key:u-1","key:u-6","key:nobody"],"dry_run":true}`).ID)
	wantCounts(t, j, "done", 1, 1, 1)
	if inactive := count(t, s, `SELECT count(*) FROM users WHERE key = 'u-1' AND state = 'inactive'`); inactive != 0 || j.Undoable {
		t.Errorf("%d, %+v", inactive, j)
	}
	if n := count(t, s, `SELECT count(*) FROM audit_entries WHERE request_id = $1`, j.ID); n != 0 {
		t.Errorf("%d entries", n)
	}
	if now := count(t, s, `SELECT directory_version FROM deployment`); now != version {
		t.Errorf("the directory's version is %d and was %d", now, version)
	}
}

func TestAnIdempotencyKeyMakesOneJob(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	first, second := post(t, s.As(admin), ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`, "Idempotency-Key", "a"), post(t, s.As(admin), ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`, "Idempotency-Key", "a")
	if n := count(t, s, `SELECT count(*) FROM jobs`); n != 1 || first.ID != second.ID {
		t.Errorf("%d jobs: %s, %s", n, first.ID, second.ID)
	}
}

// Who has reached a limit reactivates as many as fit.
func TestALimitHoldsInAJob(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.Work()
	a := s.As(admin)
	many(t, s, 20)
	wantCounts(t, ended(t, a, ofAcme, post(t, a, ofAcme, `{"operation":"users.deactivate","filter":{"q":"m-"}}`).ID), "done", 20, 0, 0)
	active := count(t, s, `SELECT count(*) FROM users JOIN accounts a USING (account_id) WHERE a.key = 'acme' AND users.state = 'active'`)
	s.As(super).Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:acme", fmt.Sprintf(`{"limits":{"users":%d}}`, active+7), "If-Match", "*")
	j := ended(t, a, ofAcme, post(t, a, ofAcme, `{"operation":"users.reactivate","filter":{"q":"m-"}}`).ID)
	wantCounts(t, j, "done", 7, 0, 13)
	if have := items(t, a, ofAcme, j.ID, "&state=failed"); !strings.HasSuffix(have[0], " failed limit_reached") {
		t.Errorf("%q", have)
	}
}
