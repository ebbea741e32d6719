package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/jackc/pgx/v5"
)

// own is an API with nothing but operations of a test's own, on the stores of a server.
type own struct {
	*api.API
	jobs *jobs.Jobs
	s    *controltest.Server
	logs *bytes.Buffer
}

func anAPI(t *testing.T, s *controltest.Server, register func(*jobs.Jobs)) *own {
	t.Helper()
	o := &own{s: s, logs: &bytes.Buffer{}}
	o.API = api.New(api.Config{Stores: s.Stores, Audit: audit.NewLog(bytes.Repeat([]byte{7}, 32)), Log: slog.New(slog.NewTextHandler(o.logs, nil)), Now: s.Now})
	o.jobs = jobs.New(o.API)
	if register != nil {
		register(o.jobs)
	}
	o.jobs.Serve()
	return o
}

func (o *own) work(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// in calls f in acme, as an admin of it.
func (o *own) in(t *testing.T, f func(*api.Call) error) error {
	t.Helper()
	var account, person int64
	if err := o.s.Owner.QueryRow(t.Context(), `SELECT account_id, (SELECT min(id) FROM people) FROM accounts WHERE key = 'acme'`).Scan(&account, &person); err != nil {
		t.Fatal(err)
	}
	return o.s.Stores.InTx(t.Context(), account, pgx.ReadWrite, func(tx pgx.Tx) error {
		c, err := o.Later(t.Context(), tx, api.Work{Author: api.Author{Kind: access.Person, ID: person, Name: "Ada", Role: access.AccountAdmin}, Permission: access.UsersWrite, Account: account, ID: "test"})
		if err != nil {
			return err
		}
		c.Principal.Grants = []access.Grant{{Role: access.AccountAdmin, Account: account}}
		if err := f(c); err != nil {
			return err
		}
		return c.Settle(t.Context())
	})
}

type lineParams struct {
	Greeting string `json:"greeting" minLength:"1"`
}

type line struct {
	Name string `json:"name"`
}

// lines are items that a noun brings.
func lines(n int, last error) iter.Seq2[jobs.Item, error] {
	return func(yield func(jobs.Item, error) bool) {
		for i := range n {
			data, _ := json.Marshal(line{Name: string(rune('a' + i%26))})
			if !yield(jobs.Item{Ref: "line", Data: data}, nil) {
				return
			}
		}
		if last != nil {
			yield(jobs.Item{}, last)
		}
	}
}

// A noun makes a job of its own items, each done in a savepoint of its own.
func TestItemsOfANoun(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	var kind *jobs.Kind[lineParams]
	o := anAPI(t, s, func(j *jobs.Jobs) {
		kind = jobs.Register(j, jobs.Operation[lineParams, jobs.None]{Key: "lines.do", Summary: "Do lines", Permission: access.UsersWrite,
			Apply: jobs.Each(func(ctx context.Context, c *api.Call, b *jobs.Batch[lineParams], item *jobs.Item) (jobs.Outcome, error) {
				var l line
				if err := item.Into(&l); err != nil {
					return jobs.Outcome{}, err
				}
				if _, err := c.Tx.Exec(ctx, `INSERT INTO users (account_id, key, name) VALUES ($1, 'line-' || $2::bigint, $3)`, c.Account.ID, item.Seq, b.Params.Greeting+" "+l.Name); err != nil {
					return jobs.Outcome{}, err
				}
				if err := c.Record(ctx, api.Change{Action: "line.done", Object: audit.Object{Kind: "line", ID: item.Ref}}); err != nil {
					return jobs.Outcome{}, err
				}
				if l.Name == "c" {
					return jobs.Outcome{}, api.Conflict("no_c", "There is no c.")
				}
				return jobs.Outcome{State: jobs.Done, Detail: map[string]string{"name": l.Name}}, nil
			})})
	})
	o.work(t)
	const n = 260
	var made *jobs.Job
	if err := o.in(t, func(c *api.Call) (err error) {
		made, err = kind.Create(t.Context(), c, jobs.Draft[lineParams]{Params: lineParams{"hello"}}, lines(n, nil))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	j := ended(t, s.As(admin), ofAcme, made.ID)
	wantCounts(t, j, "done", n-n/26, 0, n/26)
	users := count(t, s, `SELECT count(*) FROM users WHERE key LIKE 'line-%' AND name LIKE 'hello _'`)
	entries := count(t, s, `SELECT count(*) FROM audit_entries WHERE action = 'line.done' AND request_id = $1`, j.ID)
	if users != n-n/26 || entries != users {
		t.Errorf("%d users and %d entries: what failed left something behind", users, entries)
	}
	if kept := count(t, s, `SELECT count(*) FROM job_items WHERE data IS NOT NULL AND state <> 'failed'`); kept != 0 {
		t.Errorf("%d items keep their data", kept)
	}
	if j.Undoable {
		t.Error("it can be undone, with nothing that undoes it")
	}
	// It is not to be had by its name: only its noun makes its jobs.
	if r := s.As(admin).Do(http.MethodPost, ofAcme, `{"operation":"lines.do","ids":["x"],"params":{"greeting":"a"}}`); r.Code() != "operation_unknown" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// Items that end in an error leave no job, and nor do too many.
func TestItemsThatEndInAnError(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	var kind *jobs.Kind[lineParams]
	o := anAPI(t, s, func(j *jobs.Jobs) {
		kind = jobs.Register(j, jobs.Operation[lineParams, jobs.None]{Key: "lines.do", Summary: "Do lines", Permission: access.UsersWrite,
			Apply: func(context.Context, *api.Call, *jobs.Batch[lineParams]) ([]jobs.Outcome, error) { return nil, nil }})
	})
	broken := errors.New("the file ends in the middle")
	err := o.in(t, func(c *api.Call) error {
		_, err := kind.Create(t.Context(), c, jobs.Draft[lineParams]{}, lines(12_000, broken))
		return err
	})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if n := count(t, s, `SELECT count(*) FROM jobs`) + count(t, s, `SELECT count(*) FROM job_items`) + count(t, s, `SELECT count(*) FROM river.river_job`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// What an operation fails with, other than for an item: a problem ends the job with its code, and an error that stays with ours.
func TestOperationsThatFail(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	kinds := map[string]*jobs.Kind[jobs.None]{}
	failing := map[string]func() ([]jobs.Outcome, error){
		"problem": func() ([]jobs.Outcome, error) { return nil, api.Conflict("team_inactive", "The team is inactive.") },
		"error":   func() ([]jobs.Outcome, error) { return nil, errors.New("canary of a cause") },
		"panic":   func() ([]jobs.Outcome, error) { panic("canary of a panic") },
		"short":   func() ([]jobs.Outcome, error) { return nil, nil },
	}
	o := anAPI(t, s, func(j *jobs.Jobs) {
		for name, f := range failing {
			kinds[name] = jobs.Register(j, jobs.Operation[jobs.None, jobs.None]{Key: name, Summary: name, Permission: access.UsersWrite,
				Apply: func(ctx context.Context, c *api.Call, _ *jobs.Batch[jobs.None]) ([]jobs.Outcome, error) {
					if _, err := c.Tx.Exec(ctx, `UPDATE users SET name = 'canary' WHERE account_id = $1`, c.Account.ID); err != nil {
						return nil, err
					}
					return f()
				}})
		}
	})
	for name, code := range map[string]string{"problem": "team_inactive", "error": "internal", "panic": "internal", "short": "internal"} {
		var made *jobs.Job
		if err := o.in(t, func(c *api.Call) (err error) {
			made, err = kinds[name].Create(t.Context(), c, jobs.Draft[jobs.None]{}, lines(3, nil))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			j := ended(t, s.As(admin), ofAcme, made.ID)
			if j.State != "failed" || j.Failure.Code != code || j.Items.Pending != 3 || bytes.Contains([]byte(j.Failure.Reason), []byte("canary")) {
				t.Errorf("%s: %+v %+v", name, j, j.Failure)
			}
		}()
	}
	o.work(t)
	for begun := time.Now(); count(t, s, `SELECT count(*) FROM jobs WHERE ended_at IS NULL`) > 0 && time.Since(begun) < deadline; time.Sleep(50 * time.Millisecond) {
	}
	if n := count(t, s, `SELECT count(*) FROM users WHERE name = 'canary'`); n != 0 {
		t.Errorf("%d users were changed", n)
	}
}
