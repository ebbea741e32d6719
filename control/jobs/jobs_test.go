package jobs_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/alchemi/cockpit/internal/testkit"
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
	body := `{"operation":"users.deactivate","ids":["key:u-1","key:u-6","key:nobody","` + globex.Items[0].ID + `","key:u-1"],"reason":"left"}`
	j := ended(t, a, ofAcme, post(t, a, ofAcme, body).ID)
	wantCounts(t, j, "done", 1, 1, 2)
	if have := items(t, a, ofAcme, j.ID, "&state=failed"); len(have) != 2 || have[0] != "key:nobody failed not_found" || have[1] != globex.Items[0].ID+" failed not_found" {
		t.Errorf("%q", have)
	}
	if n := count(t, s, `SELECT count(*) FROM audit_entries WHERE request_id = $1 AND action = 'user.deactivated' AND reason = 'left' AND actor->>'role' = 'account_admin'`, j.ID); n != 1 {
		t.Errorf("%d entries of what was done", n)
	}
	if !j.Undoable || j.Author.Name != admin {
		t.Errorf("%+v", j)
	}
}
