package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

const writersMax = 4

// Whatever writers do and in whatever order they commit: a round of sealing seals what has committed, all of it and nothing
// else, also when a round before it was broken off.
func TestSealingSealsWhatCommitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var sealed, waiting int64
	rapid.Check(t, func(r *rapid.T) {
		open := map[int]pgx.Tx{}
		entries := map[int]int64{} // of open transactions
		defer func() {
			for _, tx := range open {
				_ = tx.Rollback(context.Background())
			}
		}()
		r.Repeat(map[string]func(*rapid.T){
			"write": func(r *rapid.T) {
				n := rapid.IntRange(0, writersMax-1).Draw(r, "writer")
				if open[n] == nil {
					tx, err := w.platform.Begin(t.Context())
					if err != nil {
						r.Fatal(err)
					}
					open[n] = tx
				}
				if err := w.log.Append(t.Context(), open[n], w.entry(rapid.IntRange(0, 2).Draw(r, "account"))); err != nil {
					r.Fatal(err)
				}
				entries[n]++
			},
			"end": func(r *rapid.T) {
				n := rapid.IntRange(0, writersMax-1).Draw(r, "writer")
				if open[n] == nil {
					r.Skip("idle")
				}
				end := open[n].Rollback
				if rapid.Bool().Draw(r, "commit") {
					end = open[n].Commit
					waiting += entries[n]
				}
				delete(open, n)
				entries[n] = 0
				if err := end(t.Context()); err != nil {
					r.Fatal(err)
				}
			},
			"seal": func(r *rapid.T) {
				n, err := w.sealWaiting(t, waiting)
				if err != nil || int64(n) != waiting {
					r.Fatalf("sealed %d of %d: %v", n, waiting, err)
				}
				sealed, waiting = sealed+waiting, 0
			},
			"break off": func(r *rapid.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rapid.IntRange(0, 3000).Draw(r, "µs"))*time.Microsecond)
				defer cancel()
				if n, err := w.sealer().Once(ctx); err == nil {
					sealed, waiting = sealed+int64(n), waiting-int64(n)
				} else if counted := w.count(t); counted != sealed { // cut off after the commit, before its answer
					sealed, waiting = counted, waiting-(counted-sealed)
				}
			},
		})
		if found, c := w.verify(t); len(found) > 0 || c.Sealed != sealed || c.Waiting != waiting {
			r.Fatalf("found %v, checked %+v, want %d sealed and %d waiting", found, c, sealed, waiting)
		}
	})
}

// sealWaiting seals once, though a session that was broken off may be at the lock a moment longer.
func (w *world) sealWaiting(t testing.TB, waiting int64) (n int, err error) {
	t.Helper()
	for range 500 {
		if n, err = w.sealer().Once(t.Context()); err != nil || n > 0 || waiting == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return n, err
}

// count is the number of seals, when no commit is under way any more.
func (w *world) count(t testing.TB) (n int64) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), w.owner, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(hashtext('cockpit audit seal'))`); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM audit_seals`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Writers of the same accounts, some of whom roll back, and two sealers whose connections are killed and whose rounds are
// broken off: all that committed is sealed, once, and the log is whole.
func TestSealersAreKilledAmongWriters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var committed atomic.Int64
	var writers, others sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for n := range writersMax {
		r := rand.New(rand.NewPCG(uint64(n), 5))
		mine := *w // its own count of entries
		writers.Go(func() {
			for range 150 {
				err := pgx.BeginFunc(t.Context(), mine.platform, func(tx pgx.Tx) error {
					for range 1 + r.IntN(3) {
						if err := mine.log.Append(t.Context(), tx, mine.entry(r.IntN(3))); err != nil {
							return err
						}
					}
					if r.IntN(4) == 0 {
						return errRollback
					}
					return nil
				})
				if err == nil {
					committed.Add(1)
				} else if !errors.Is(err, errRollback) {
					t.Error(err)
					return
				}
			}
		})
	}
	killed := w.sealUnderAttack(t, ctx, &others)
	writers.Wait()
	stop()
	others.Wait()
	t.Logf("%d were sealed meanwhile", w.count(t))
	w.seal(t)
	var entries int64
	if err := w.owner.QueryRow(t.Context(), `SELECT count(*) FROM audit_entries`).Scan(&entries); err != nil {
		t.Fatal(err)
	}
	if committed.Load() == 0 || killed.Load() == 0 {
		t.Errorf("%d commits, %d sealers killed: nothing was tried", committed.Load(), killed.Load())
	}
	w.green(t, entries, 0)
}

// sealUnderAttack runs two sealers until ctx ends, and kills their connections.
func (w *world) sealUnderAttack(t *testing.T, ctx context.Context, wg *sync.WaitGroup) *atomic.Int64 {
	t.Helper()
	var killed atomic.Int64
	url := w.url + map[bool]string{true: "&", false: "?"}[strings.Contains(w.url, "?")] + "application_name=sealer"
	pool := testkit.Pool(t, url, postgres.RolePlatform)
	for n := range 2 {
		r := rand.New(rand.NewPCG(uint64(n), 6))
		s := audit.NewSealer(pool, w.keys, slog.New(slog.DiscardHandler), time.Now)
		wg.Go(func() {
			for ctx.Err() == nil {
				round, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(100_000))*time.Microsecond)
				_, _ = s.Once(round) // what went wrong is on purpose; what comes of it is looked at
				cancel()
			}
		})
	}
	wg.Go(func() {
		r := rand.New(rand.NewPCG(7, 7))
		for ctx.Err() == nil {
			var n int64
			if err := w.owner.QueryRow(context.WithoutCancel(ctx), `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE application_name = 'sealer' AND datname = current_database() AND state <> 'idle'`).Scan(&n); err != nil {
				t.Error(fmt.Errorf("kill sealers: %w", err))
				return
			}
			killed.Add(n)
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(r.IntN(60)) * time.Millisecond):
			}
		}
	})
	return &killed
}
