// Package fold makes checkpoints: it adds unfolded journal rows into balances, finds the thresholds that were crossed,
// writes their alerts to the outbox, and moves its position in each log, all in one transaction.
//
// Invariants: a balance is the sum of all journal rows below the fold's positions, whoever folds and however often it is
// interrupted; a crossing is raised once for a scope, cycle, allocation and threshold, because its alert's dedupe key says
// so. Positions are per log, never a sequence, so that a row that commits late is not passed over. One process folds at a
// time; the others find the advisory lock taken and do nothing.
//
// A threshold is crossed when used reached its share of the allocation now and had not when both were looked at last:
// charges cross it, and so does an allocation that is lowered, for which the accounts that changed are looked at too.
//
// Failures: everything is rolled back and tried again; live balances do not depend on it.
//
// Map: fold.go (the loop and its transaction), pages.go (balances), rollover.go, crossings.go, alerts.go.
package fold

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/alchemi/cockpit/internal/faultpoint"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// rowsMax is how many journal rows of a log one fold takes.
const rowsMax = 256

// The pause between folds adapts between these.
const (
	pauseMin = 250 * time.Millisecond
	pauseMax = 5 * time.Second
)

// Folder makes checkpoints. Make it with New; it is not safe for concurrent use.
type Folder struct {
	pool  *pgxpool.Pool
	log   *slog.Logger
	now   func() time.Time
	trees map[balances.TreeKey]*cachedTree
}

// New returns a folder; now is the clock that effective allocations are looked at with.
func New(pool *pgxpool.Pool, log *slog.Logger, now func() time.Time) *Folder {
	return &Folder{pool: pool, log: log, now: now, trees: map[balances.TreeKey]*cachedTree{}}
}

// Run folds until ctx ends, and makes the rows of cycles ahead of time.
func (f *Folder) Run(ctx context.Context) error {
	pause := pauseMin
	for {
		begin := time.Now()
		rows, err := f.Once(ctx)
		if err == nil {
			_, err = directory.EnsureCycles(ctx, f.pool, f.now())
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			f.log.Warn("folding", "error", err)
			pause = min(2*pause, pauseMax)
		default:
			pause = Pause(time.Since(begin))
		}
		if rows > 0 && pause == pauseMin {
			f.log.Debug("folded", "rows", rows, "took", time.Since(begin))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// Pause is how long to wait after a fold: one that took long has much to gain from taking more at once. So folding takes at
// most a fifth of the time, but for folds of more than a second.
func Pause(took time.Duration) time.Duration { return min(max(pauseMin, 4*took), pauseMax) }

// Once folds what there is, and returns how many journal rows that was. Zero also when another process is folding.
func (f *Folder) Once(ctx context.Context) (rows int, err error) {
	err = pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtext('cockpit fold'))`).Scan(&mine); err != nil || !mine {
			return err
		}
		r := round{f: f, tx: tx, now: f.now(), pages: map[balances.PageKey]*page{}, notices: map[notice]int64{}}
		if err := r.read(ctx); err != nil {
			return err
		}
		rows = r.rows
		if err := r.write(ctx); err != nil {
			return err
		}
		if err := r.rollover(ctx); err != nil {
			return err
		}
		err := r.cross(ctx)
		faultpoint.Hit("fold.before-commit")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("fold: %w", err)
	}
	faultpoint.Hit("fold.after-commit")
	return rows, nil
}

// round is one fold.
type round struct {
	f         *Folder
	tx        pgx.Tx
	now       time.Time
	rows      int
	sums      balances.Sums
	pages     map[balances.PageKey]*page
	notices   map[notice]int64
	crossings crossings
	ids       []int64 // logs, and where each is folded to
	next      []int64
}

// read adds up what is not folded.
func (r *round) read(ctx context.Context) error {
	rows, err := r.tx.Query(ctx, `SELECT o.id, j.from_pos, j.to_pos, j.recorded_at, j.body FROM offsets o LEFT JOIN fold_positions f ON f.offsets_id = o.id
		JOIN LATERAL (SELECT from_pos, to_pos, recorded_at, body FROM journal j
			WHERE j.offsets_id = o.id AND j.from_pos >= coalesce(f.next, 0) ORDER BY j.from_pos LIMIT $1) j ON true
		ORDER BY o.id, j.from_pos`, rowsMax)
	if err != nil {
		return err
	}
	var id, from, to int64
	var at time.Time
	var data []byte
	var b journal.Body
	adder := balances.NewAdder()
	_, err = pgx.ForEachRow(rows, []any{&id, &from, &to, &at, &data}, func() error {
		r.rows++
		if n := len(r.ids); n == 0 || r.ids[n-1] != id {
			r.ids, r.next = append(r.ids, id), append(r.next, to)
		}
		r.next[len(r.next)-1] = to
		if err := journal.Decode(data, from, &b); err != nil {
			return err
		}
		r.notice(&b, at)
		return adder.Add(&b)
	})
	r.sums = adder.Sums
	return err
}
