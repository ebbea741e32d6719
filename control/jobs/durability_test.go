package jobs_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
)

// once fails unless each of n users was deactivated once by the jobs, and each item says so.
func once(t *testing.T, s *controltest.Server, n int) {
	t.Helper()
	if have := count(t, s, `SELECT count(*) FROM job_items WHERE state = 'done'`); have != n {
		t.Errorf("%d items are done, of %d", have, n)
	}
	entries := count(t, s, `SELECT count(*) FROM audit_entries WHERE action = 'user.deactivated'`)
	objects := count(t, s, `SELECT count(DISTINCT object_id) FROM audit_entries WHERE action = 'user.deactivated'`)
	inactive := count(t, s, `SELECT count(*) FROM users WHERE key LIKE 'm-%' AND state = 'inactive' AND revision = 2`)
	if entries != n || objects != n || inactive != n {
		t.Errorf("%d entries of %d users, and %d users are inactive, once changed; want %d", entries, objects, inactive, n)
	}
}

const allOfThem = `{"operation":"users.deactivate","filter":{"q":"m-"}}`

// forget makes jobs look as if their workers had given no sign of life for long.
func forget(t *testing.T, s *controltest.Server) {
	t.Helper()
	if _, err := s.Owner.Exec(t.Context(), `UPDATE jobs SET touched_at = touched_at - interval '1 minute' WHERE ended_at IS NULL`); err != nil {
		t.Fatal(err)
	}
}

const workerSetting = "COCKPIT_TEST_WORKER"

// A process that works on a job is killed, again and again, and others go on: nothing is done twice, and nothing left out.
func TestAWorkerThatIsKilled(t *testing.T) {
	t.Parallel()
	if url := os.Getenv(workerSetting); url != "" { // the process that is killed
		controltest.New(t, controltest.Options{Database: url}).Work()
		time.Sleep(deadline)
		return
	}
	url := testkit.Database(t)
	s := controltest.New(t, controltest.Options{Database: url})
	const n = 6000
	many(t, s, n)
	j := post(t, s.As(admin), ofAcme, allOfThem)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	position := func() int { return count(t, s, `SELECT position FROM jobs`) }
	killed := 0
	for range 3 {
		before := position()
		c := exec.Command(self, "-test.run=^TestAWorkerThatIsKilled$")
		c.Env = append(os.Environ(), workerSetting+"="+url)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for begun := time.Now(); position() == before && time.Since(begun) < deadline; time.Sleep(5 * time.Millisecond) {
		}
		time.Sleep(rand.N(100 * time.Millisecond))
		_ = c.Process.Kill()
		_ = c.Wait()
		if at := position(); at > before && at < n {
			killed++
		}
		forget(t, s)
	}
	if killed == 0 {
		t.Fatal("no worker was killed in the middle of the job")
	}
	s.Work()
	wantCounts(t, ended(t, s.As(admin), ofAcme, j.ID), "done", n, 0, 0)
	once(t, s, n)
}

// The database ends connections at any moment, under two processes that both were told to work on the job.
func TestConnectionsThatEnd(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t)
	s, other := controltest.New(t, controltest.Options{Database: url}), controltest.New(t, controltest.Options{Database: url})
	const n = 6000
	many(t, s, n)
	post(t, s.As(admin), ofAcme, allOfThem)
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO river.river_job (args, kind, max_attempts, queue, state) SELECT args, kind, max_attempts, queue, state FROM river.river_job`); err != nil {
		t.Fatal(err)
	}
	keeper, err := pgx.Connect(t.Context(), url+"?application_name=keeper")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keeper.Close(t.Context()) })
	s.Work()
	other.Work()
	cut := 0
	for begun := time.Now(); ; time.Sleep(rand.N(60 * time.Millisecond)) {
		var position, ended int
		if err := keeper.QueryRow(t.Context(), `SELECT position, count(ended_at) OVER () FROM jobs`).Scan(&position, &ended); err != nil {
			t.Fatal(err)
		}
		if ended == 1 {
			break
		}
		if time.Since(begun) > deadline {
			t.Fatalf("the job does not end; it is at %d", position)
		}
		if cut < 25 && position < n {
			var gone int
			err := keeper.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'keeper'
				AND state <> 'idle' AND pid <> pg_backend_pid()`).Scan(&gone)
			if err != nil {
				t.Fatal(err)
			}
			if gone > 0 {
				cut++
			}
		}
	}
	if cut == 0 {
		t.Fatal("no connection was ended at work")
	}
	if have := count(t, s, `SELECT count(*) FROM jobs WHERE state = 'done'`); have != 1 {
		t.Errorf("the job is not done: %s", s.Logs)
	}
	once(t, s, n)
}

// Two jobs at once do the same users: each is done by one of them, and found done by the other.
func TestTwoJobsAtOnce(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t)
	s, other := controltest.New(t, controltest.Options{Database: url}), controltest.New(t, controltest.Options{Database: url})
	const n = 3000
	many(t, s, n)
	first, second := post(t, s.As(admin), ofAcme, allOfThem), post(t, s.As(admin), ofAcme, allOfThem)
	s.Work()
	other.Work()
	a, b := ended(t, s.As(admin), ofAcme, first.ID), ended(t, s.As(admin), ofAcme, second.ID)
	if a.Items.Done+b.Items.Done != n || a.Items.Unchanged+b.Items.Unchanged != n {
		t.Errorf("%+v and %+v", a.Items, b.Items)
	}
	once(t, s, n)
}

// What is told to stop finishes its chunk and hands the job over: nobody waits for a sign of life.
func TestAWorkerThatStops(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t)
	s, other := controltest.New(t, controltest.Options{Database: url}), controltest.New(t, controltest.Options{Database: url})
	const n = 10_000
	many(t, s, n)
	j := post(t, s.As(admin), ofAcme, allOfThem)
	stop := s.Work()
	for begun := time.Now(); count(t, s, `SELECT position FROM jobs`) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > deadline {
			t.Fatal("it does not begin")
		}
	}
	stop()
	if waiting := count(t, s, `SELECT count(*) FROM river.river_job WHERE state = 'available'`); waiting != 1 {
		t.Fatalf("%d tasks wait", waiting)
	}
	other.Work()
	wantCounts(t, ended(t, s.As(admin), ofAcme, j.ID), "done", n, 0, 0)
	once(t, s, n)
	if n := count(t, s, `SELECT epoch FROM jobs`); n != 2 {
		t.Errorf("it was taken %d times", n)
	}
}

// A process that does not have the operation, of another release, leaves the job to one that has.
func TestAnotherRelease(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	j := post(t, s.As(admin), ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`)
	anAPI(t, s, nil).work(t)
	for begun := time.Now(); count(t, s, `SELECT count(*) FROM river.river_job WHERE state = 'scheduled'`) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > deadline {
			t.Fatal("nobody looked at it")
		}
	}
	if n := count(t, s, `SELECT epoch FROM jobs WHERE state = 'queued'`); n != 0 {
		t.Errorf("it was taken %d times", n)
	}
	s.Work()
	wantCounts(t, ended(t, s.As(admin), ofAcme, j.ID), "done", 1, 0, 0)
}

// River's tables may be lost, or never have heard of a job.
func TestAJobThatRiverForgot(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	j := post(t, s.As(admin), ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`)
	if _, err := s.Owner.Exec(t.Context(), `DELETE FROM river.river_job`); err != nil {
		t.Fatal(err)
	}
	forget(t, s)
	s.Work()
	wantCounts(t, ended(t, s.As(admin), ofAcme, j.ID), "done", 1, 0, 0)
}

func TestCancelling(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	const n = 10_000
	many(t, s, n)
	a := s.As(admin)
	early, j := post(t, a, ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`), post(t, a, ofAcme, allOfThem)
	a.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+early.ID+"/cancel", "")
	a.Want(http.StatusConflict, http.MethodPost, ofAcme+"/"+j.ID+"/undo", `{}`)
	s.Work()
	for begun := time.Now(); count(t, s, `SELECT max(position) FROM jobs`) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > deadline {
			t.Fatal("it does not begin")
		}
	}
	a.Want(http.StatusOK, http.MethodPost, ofAcme+"/"+j.ID+"/cancel", "")
	v := ended(t, a, ofAcme, j.ID)
	if v.State != "cancelled" || v.Items.Done == 0 || v.Items.Done+v.Items.Pending != n || v.Items.Pending == 0 {
		t.Fatalf("%+v", v)
	}
	u := ended(t, a, ofAcme, post(t, a, ofAcme+"/"+j.ID+"/undo", `{}`).ID)
	wantCounts(t, u, "done", v.Items.Done, 0, 0)
	if n := count(t, s, `SELECT count(*) FROM users WHERE state = 'inactive' AND key LIKE 'm-%'`) + count(t, s, `SELECT count(*) FROM users WHERE key = 'u-1' AND state = 'inactive'`); n != 0 {
		t.Errorf("%d users are inactive", n)
	}
}

// The account is suspended while a job runs, or its author shut out: the job ends, says why, and keeps what it did.
func TestWhoMayNotGoOn(t *testing.T) {
	t.Parallel()
	for code, do := range map[string]func(*controltest.Server, jobs.Job){
		"account_suspended": func(s *controltest.Server, _ jobs.Job) {
			s.As(super).Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:acme/suspend", `{"reason":"unpaid"}`)
		},
		"author_shut_out": func(s *controltest.Server, j jobs.Job) {
			s.As(super).Want(http.StatusOK, http.MethodPost, "/v1/platform/people/"+j.Author.ID+"/deactivate", `{"reason":"stolen"}`)
		},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := controltest.New(t, controltest.Options{})
			const n = 10_000
			many(t, s, n)
			j := post(t, s.As(admin), ofAcme, allOfThem)
			s.Work()
			for begun := time.Now(); count(t, s, `SELECT position FROM jobs`) == 0; time.Sleep(5 * time.Millisecond) {
				if time.Since(begun) > deadline {
					t.Fatal("it does not begin")
				}
			}
			do(s, j)
			v := ended(t, s.As("account_viewer:acme"), ofAcme, j.ID)
			if v.State != "failed" || v.Failure == nil || v.Failure.Code != code || v.Items.Done == 0 || v.Items.Pending == 0 {
				t.Errorf("%+v %+v", v, v.Failure)
			}
		})
	}
}

// Old jobs go, with their items, and the others stay.
func TestOldJobsGo(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	stop := s.Work()
	a := s.As(admin)
	const n = 12_000 // more than go at once
	many(t, s, n)
	old := ended(t, a, ofAcme, post(t, a, ofAcme, `{"operation":"users.deactivate","dry_run":true,"filter":{"q":"m-"}}`).ID)
	stop()
	if _, err := s.Owner.Exec(t.Context(), `UPDATE jobs SET ended_at = ended_at - interval '91 days'`); err != nil {
		t.Fatal(err)
	}
	young := post(t, a, ofAcme, `{"operation":"users.deactivate","ids":["key:u-1"]}`)
	again := anAPI(t, s, nil)
	again.work(t)
	for begun := time.Now(); a.Do(http.MethodGet, ofAcme+"/"+old.ID, "").Status != http.StatusNotFound; time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > deadline {
			t.Fatal("it stays")
		}
	}
	if left := count(t, s, `SELECT count(*) FROM job_items`); left != 1 {
		t.Errorf("%d items are left", left)
	}
	a.Want(http.StatusOK, http.MethodGet, ofAcme+"/"+young.ID, "")
}

// Watchers are told of changes until the job has ended, and hold no connection while they wait.
func TestWatching(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	many(t, s, 3000)
	a := s.As(admin)
	j := post(t, a, ofAcme, allOfThem)
	var begun, done sync.WaitGroup
	told := make([]string, 40) // more than there are connections: who held one while it waits would keep others from beginning
	for i := range told {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+ofAcme+"/"+j.ID+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+admin)
		begun.Add(1)
		done.Go(func() {
			resp, err := http.DefaultClient.Do(r)
			begun.Done()
			if err != nil {
				return
			}
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); err == nil && resp.Header.Get("Content-Type") == "text/event-stream" {
				told[i] = string(text)
			}
		})
	}
	begun.Wait()
	s.Work()
	done.Wait()
	for _, text := range told {
		events := strings.Split(strings.TrimSpace(text), "\n\n")
		if first, last := events[0], events[len(events)-1]; !strings.HasPrefix(first, "retry: ") || !strings.Contains(first, `"state":"queued"`) || !strings.HasPrefix(last, "event: job\ndata: {") || !strings.Contains(last, `"state":"done"`) {
			t.Fatalf("%q", text)
		}
	}
	// Of a job that has ended there is one event; and whoever may not read it is told as of any other object.
	r := a.Want(http.StatusOK, http.MethodGet, ofAcme+"/"+j.ID+"/events", "")
	if n := strings.Count(string(r.Body), "event: job"); n != 1 {
		t.Errorf("%d events", n)
	}
	s.As("account_admin:globex").Want(http.StatusNotFound, http.MethodGet, ofAcme+"/"+j.ID+"/events", "")
	a.Want(http.StatusNotFound, http.MethodGet, ofAcme+"/"+api.JobKind.ID(999)+"/events", "")
}
