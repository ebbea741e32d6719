package unattributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/pause"
	"github.com/alchemi/cockpit/metering/correct"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/rollups"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	every = time.Second
	// awayRetry is the pause after a store was away.
	awayRetry = 10 * time.Second
	// window is how much of a cycle is corrected at once, by the time of events: what is in memory.
	window = 6 * time.Hour
	// ahead is how much later than now an event may be that was charged.
	ahead = 24 * time.Hour
)

// Config is what a job needs.
type Config struct {
	Pool       *pgxpool.Pool // of metering's role: it writes the journal
	ClickHouse driver.Conn   // where events are read from
	Audit      *audit.Log
	Log        *slog.Logger
	Now        func() time.Time
}

// Job corrects what attributions ask for.
type Job struct {
	Config
}

// NewJob returns one.
func NewJob(c Config) *Job { return &Job{c} }

// Run works until ctx ends.
func (j *Job) Run(ctx context.Context) error {
	for {
		n, err := j.Once(ctx)
		if err != nil && ctx.Err() == nil {
			j.Log.Error("correcting what was attributed", "error", err)
		}
		if n > 0 && err == nil {
			continue
		}
		if !pause.For(ctx, every) {
			return nil
		}
	}
}

// Once takes up the attribution that has been due for longest, if there is one, and returns how many it took. While another
// process does, it does nothing.
func (j *Job) Once(ctx context.Context) (taken int, err error) {
	_, err = postgres.Alone(ctx, j.Pool, "cockpit attributions", func(*pgxpool.Conn) error {
		t, err := j.due(ctx)
		if t == nil || err != nil {
			return err
		}
		taken = 1
		return j.take(ctx, t)
	})
	return taken, err
}

// task is an attribution whose correction is due.
type task struct {
	account, number, user, section int64
	key, author, reason            string
	created                        time.Time
	below                          map[int64]int64 // nil: not noted yet
}

// due is the one that has been due for longest; nil if none is. One that is running was left by a process that is gone.
func (j *Job) due(ctx context.Context) (*task, error) {
	t := &task{}
	err := j.Pool.QueryRow(ctx, `SELECT account_id, id, user_id, coalesce(section_id, 0), key, author, reason, created_at, below FROM attributions
		WHERE state IN ('waiting', 'running') AND due_at <= $1 ORDER BY due_at LIMIT 1`, j.Now()).
		Scan(&t.account, &t.number, &t.user, &t.section, &t.key, &t.author, &t.reason, &t.created, &t.below)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return t, err
}

// take goes on with a task, and notes what came of it: an error that may pass by itself is tried again.
func (j *Job) take(ctx context.Context, t *task) error {
	s, again, err := j.correct(ctx, t)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case errors.Is(err, correct.ErrUnresolved):
		return j.finish(ctx, t, s, "failed", err.Error())
	case err != nil:
		j.Log.Warn("a correction waits", "attribution", api.AttributionKind.ID(t.number), "error", err)
		return j.wait(ctx, t, awayRetry, "ClickHouse or the journal can't be read now; it is tried again")
	case again > 0:
		return j.wait(ctx, t, again, "")
	}
	return j.finish(ctx, t, s, "done", "")
}

// wait puts a task off.
func (j *Job) wait(ctx context.Context, t *task, pause time.Duration, why string) error {
	_, err := j.Pool.Exec(ctx, `UPDATE attributions SET state = 'waiting', due_at = $3, error = $4, below = $5 WHERE account_id = $1 AND id = $2 AND state IN ('waiting', 'running')`,
		t.account, t.number, j.Now().Add(pause), why, t.below)
	return err
}

// correct makes a pass over the cycles that were open. again: it is to be taken up after that time.
func (j *Job) correct(ctx context.Context, t *task) (s correct.Summary, again time.Duration, err error) {
	if t.below == nil {
		if err := j.note(ctx, t); err != nil {
			return s, 0, err
		}
	}
	reached, err := rollups.Reached(ctx, j.Pool, t.below)
	if err != nil || !reached {
		return s, every, err
	}
	snapshot, err := directory.Load(ctx, j.Pool, t.account)
	if err != nil {
		return s, 0, err
	}
	cycles, err := j.cycles(ctx, t)
	if err != nil {
		return s, 0, err
	}
	c := correct.Corrector{Pool: j.Pool, Journal: journal.NewPostgres(j.Pool), Snapshot: snapshot, Events: &rollups.Charged{ClickHouse: j.ClickHouse, Postgres: j.Pool}}
	for _, cycle := range cycles {
		for from := cycle.start; from.Before(cycle.end); from = from.Add(window) {
			part, err := c.Run(ctx, correct.Request{What: correct.Whom, Account: t.account, Section: cycle.section, User: &t.key, From: from, To: earlier(from.Add(window), cycle.end),
				Below: t.below, Author: t.author, Reason: t.because()})
			s.Looked, s.Corrected, s.Unknown = s.Looked+part.Looked, s.Corrected+part.Corrected, s.Unknown+part.Unknown
			if err != nil {
				return s, 0, err
			}
			if err := j.progress(ctx, t, s); err != nil {
				return s, 0, err
			}
		}
	}
	if s.Corrected > 0 { // a worker that had not the directory yet may have charged more
		t.below = nil
		return s, directory.PriceLead, nil
	}
	return s, 0, nil
}

// because is the reason as the journal has it. How many were corrected is counted by it.
func (t *task) because() string {
	return fmt.Sprintf("%s (attribution %s)", t.reason, api.AttributionKind.ID(t.number))
}

// note says where the logs stand: what they have below was charged before every worker had the directory.
func (j *Job) note(ctx context.Context, t *task) error {
	rows, err := j.Pool.Query(ctx, `SELECT id, next FROM offsets WHERE topic <> $1`, journal.CorrectionsTopic)
	if err != nil {
		return err
	}
	t.below = map[int64]int64{}
	var log, next int64
	if _, err := pgx.ForEachRow(rows, []any{&log, &next}, func() error { t.below[log] = next; return nil }); err != nil {
		return err
	}
	_, err = j.Pool.Exec(ctx, `UPDATE attributions SET below = $3 WHERE account_id = $1 AND id = $2`, t.account, t.number, t.below)
	return err
}

// cycle is one of a section, as far as there can be charges.
type cycle struct {
	section    int64
	start, end time.Time
}

// cycles are those that were open when the attribution was made.
func (j *Job) cycles(ctx context.Context, t *task) ([]cycle, error) {
	rows, err := j.Pool.Query(ctx, `SELECT section_id, start_at, end_at FROM cycles
		WHERE account_id = $1 AND start_at <= $2 AND end_at > $2 AND $3::bigint IN (0, section_id) ORDER BY section_id`, t.account, t.created, t.section)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c cycle, err error) {
		err = row.Scan(&c.section, &c.start, &c.end)
		c.end = earlier(c.end, j.Now().Add(ahead))
		return c, err
	})
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// counted is how many charges were corrected because of $%d: each has a reversal and a new charge in the journal.
const counted = `(SELECT coalesce(sum(j.to_pos - j.from_pos) / 2, 0) FROM journal j JOIN offsets o ON o.id = j.offsets_id WHERE o.topic = '` + journal.CorrectionsTopic + `' AND j.reason = $%d)`

// progress shows how far the pass is.
func (j *Job) progress(ctx context.Context, t *task, s correct.Summary) error {
	_, err := j.Pool.Exec(ctx, `UPDATE attributions SET state = 'running', error = '', looked = $3, unknown = $4, corrected = `+fmt.Sprintf(counted, 5)+`
		WHERE account_id = $1 AND id = $2 AND state IN ('waiting', 'running')`, t.account, t.number, s.Looked, s.Unknown, t.because())
	return err
}

// finish ends a task, and puts on record what came of it.
func (j *Job) finish(ctx context.Context, t *task, s correct.Summary, state, why string) error {
	return pgx.BeginFunc(ctx, j.Pool, func(tx pgx.Tx) error {
		var corrected, section int64
		err := tx.QueryRow(ctx, `UPDATE attributions SET state = $3, error = $4, looked = $5, unknown = $6, corrected = `+fmt.Sprintf(counted, 7)+`, finished_at = $8
			WHERE account_id = $1 AND id = $2 AND state IN ('waiting', 'running') RETURNING corrected, coalesce(section_id, 0)`,
			t.account, t.number, state, why, s.Looked, s.Unknown, t.because(), j.Now()).Scan(&corrected, &section)
		if errors.Is(err, pgx.ErrNoRows) { // its user was erased meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		after := recorded{User: api.UserKind.ID(t.user), Correct: true, State: state, Corrected: corrected, Unknown: int64(s.Unknown)}
		changes, err := audit.Diff(recorded{User: after.User, Correct: true, State: "waiting"}, after)
		if err != nil {
			return err
		}
		return j.Audit.Append(ctx, tx, &audit.Entry{Account: t.account, Section: section, At: j.Now(), Actor: audit.Actor{Kind: "system", Name: "cockpit"}, Action: "attribution." + state,
			Object: audit.Object{Kind: api.AttributionKind.Name, ID: api.AttributionKind.ID(t.number)}, Changes: changes, Reason: t.reason})
	})
}
