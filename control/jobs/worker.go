package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/pause"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

const (
	riverSchema = postgres.RiverSchema

	workersMax   = 4                // jobs that one process works on at once
	turn         = 10 * time.Second // of a worker on one job, before others that wait get theirs
	pollEvery    = 250 * time.Millisecond
	chunkTimeout = 45 * time.Second
	triesMax     = 5 // of a chunk that fails otherwise than by a store that is away

	beatEvery  = 3 * time.Second
	lostAfter  = 12 * time.Second // without a sign of life
	lostAtOnce = 100

	drainTimeout = 10 * time.Second // what a chunk that runs is given when the program stops
	startAgain   = time.Second
	elsewhere    = 10 * time.Second // until a job is looked at again that this process can't do

	keptFor      = 90 * 24 * time.Hour
	removeEvery  = time.Hour
	removeAtOnce = 10_000 // items in one transaction

	grownBy = 1000 // rows, about, that make a table another
)

// task is what River knows of a job.
type task struct {
	Account int64 `json:"account"` // 0: the platform's
	Job     int64 `json:"job"`
}

// Kind implements river.JobArgs.
func (task) Kind() string { return "cockpit_job" }

// workers are those of a process.
type workers struct {
	*Jobs
	cfg      api.Config
	log      *slog.Logger
	client   *river.Client[pgx.Tx]
	stopping <-chan struct{}

	mu    sync.Mutex
	alive map[int64]int // jobs that are worked on here, and by how many
}

// Run works on jobs until ctx ends, and then finishes the chunks that run.
func (j *Jobs) Run(ctx context.Context) error {
	cfg := j.api.Config()
	w := &workers{Jobs: j, cfg: cfg, log: cfg.Log, stopping: ctx.Done(), alive: map[int64]int{}}
	registered := river.NewWorkers()
	river.AddWorker(registered, river.WorkFunc(w.work))
	var err error
	w.client, err = river.NewClient(riverpgxv5.New(cfg.Stores.Platform), &river.Config{Schema: riverSchema, Workers: registered, Logger: riverLog(j.api),
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workersMax}}, FetchPollInterval: pollEvery,
		JobTimeout: turn + 2*chunkTimeout, RescueStuckJobsAfter: 5 * time.Minute, CompletedJobRetentionPeriod: time.Hour,
		ReindexerIndexNames: []string{}}) // which only an owner may
	if err != nil {
		return fmt.Errorf("River: %w", err)
	}
	for w.client.Start(context.WithoutCancel(ctx)) != nil { // Postgres is away
		if !pause.For(ctx, startAgain) {
			return nil
		}
	}
	w.beat(ctx)
	return w.drain(ctx)
}

// drain lets chunks that run come to their end, and undoes those that do not in time.
func (w *workers) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if w.client.Stop(ctx) == nil {
		return nil
	}
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := w.client.StopAndCancel(hard); err != nil {
		w.log.Warn("jobs did not stop in time; what they had not committed is done elsewhere", "error", err)
	}
	return nil
}

// work takes a job and works on it for a turn.
func (w *workers) work(ctx context.Context, r *river.Job[task]) error {
	h, err := w.take(ctx, r.Args)
	if err != nil {
		return w.again(ctx, nil, r.Args, err)
	}
	if h == nil {
		return nil // it has ended, or went with its account
	}
	defer w.living(r.Args.Job)()
	chunks := 0
	defer func() { w.analyze(ctx, h, chunks) }()
	over := time.After(turn)
	for ; ; chunks++ {
		more, err := w.guarded(ctx, h)
		if errors.Is(err, errSuperseded) {
			return nil
		}
		if err != nil {
			return w.again(ctx, h, r.Args, err)
		}
		if !more {
			return nil
		}
		select {
		case <-over:
			return river.JobSnooze(0)
		case <-w.stopping:
			return river.JobSnooze(0)
		default:
		}
	}
}

// analyze tells Postgres of tables that have grown by much, which it would else find out a minute later, and read them whole
// meanwhile. Before version 17 it takes that from their owner alone, and is not asked by others.
func (w *workers) analyze(ctx context.Context, h *held, chunks int) {
	if len(h.op.fills) == 0 || chunks*h.op.chunk < grownBy {
		return
	}
	if _, err := w.cfg.Stores.Platform.Exec(ctx, `ANALYZE `+strings.Join(h.op.fills, ", ")); err != nil {
		w.log.Warn("statistics of what a job filled", "job", api.JobKind.ID(h.Job), "error", err)
	}
}

// guarded does a chunk in bounded time, and makes an error of a panic.
func (w *workers) guarded(ctx context.Context, h *held) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout)
	defer cancel()
	defer func() {
		if what := recover(); what != nil {
			err = fmt.Errorf("BUG: an operation panicked: %v", what)
		}
	}()
	return w.chunk(ctx, h)
}

// again says what is done after an error: the job ends where it is one that stays, and else the chunk is tried again.
func (w *workers) again(ctx context.Context, h *held, t task, err error) error {
	log := w.log.With("job", api.JobKind.ID(t.Job), "account", t.Account, "error", err)
	if errors.Is(err, errUnknown) {
		log.Warn("a job waits for another process")
		return river.JobSnooze(elsewhere)
	}
	if h == nil || ctx.Err() != nil || api.Away(err) {
		log.Warn("a job waits")
		return river.JobSnooze(startAgain)
	}
	var p *api.Problem
	if errors.As(err, &p) && p.Status < http.StatusInternalServerError {
		err = w.fail(ctx, h, Failure{p.Code, p.Detail})
	} else if tries, counted := w.tried(ctx, h); counted == nil && tries < triesMax {
		log.Error("a chunk of a job failed, and is tried again", "tries", tries)
		return river.JobSnooze(startAgain)
	} else if counted == nil {
		log.Error("a job failed")
		err = w.fail(ctx, h, Failure{api.CodeInternal, "Something went wrong here. The job's id finds it in the logs."})
	} else {
		err = counted
	}
	if err != nil && !errors.Is(err, errSuperseded) {
		log.Warn("a job waits", "then", err)
		return river.JobSnooze(startAgain)
	}
	return nil
}

// living keeps a job from being taken for lost, until what it returns is called.
func (w *workers) living(job int64) (over func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive[job]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.alive[job]--; w.alive[job] == 0 {
			delete(w.alive, job)
		}
	}
}

// beat gives signs of life, queues jobs again that give none, and removes old ones, until ctx ends.
func (w *workers) beat(ctx context.Context) {
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		err := errors.Join(w.touch(ctx), w.recover(ctx))
		select {
		case <-due.C:
			err = errors.Join(err, w.forget(ctx), w.remove(ctx))
			due.Reset(removeEvery)
		default:
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("looking after jobs", "error", err)
		}
		if !pause.For(ctx, beatEvery) {
			return
		}
	}
}

func (w *workers) touch(ctx context.Context) error {
	w.mu.Lock()
	var ids []int64
	for id := range w.alive {
		ids = append(ids, id)
	}
	w.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	_, err := w.cfg.Stores.Platform.Exec(ctx, `UPDATE jobs SET touched_at = clock_timestamp() WHERE id = ANY($1) AND ended_at IS NULL`, ids)
	return err
}

// recover queues jobs again whose worker is lost, or whose row in River's tables. One that waits there is not lost.
func (w *workers) recover(ctx context.Context) error {
	return w.cfg.Stores.InTx(ctx, 0, pgx.ReadWrite, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `UPDATE jobs SET touched_at = clock_timestamp() WHERE id IN (
				SELECT j.id FROM jobs j WHERE j.ended_at IS NULL AND j.touched_at < clock_timestamp() - $1::interval
					AND NOT EXISTS (SELECT FROM river.river_job r WHERE r.kind = $2 AND r.state IN ('available', 'pending', 'retryable', 'scheduled')
						AND r.args @> jsonb_build_object('job', j.id))
				ORDER BY j.touched_at LIMIT $3 FOR UPDATE SKIP LOCKED)
			RETURNING coalesce(account_id, 0), id`, lostAfter, task{}.Kind(), lostAtOnce)
		if err != nil {
			return err
		}
		lost, err := pgx.CollectRows(rows, pgx.RowToStructByPos[task])
		if err != nil || len(lost) == 0 {
			return err
		}
		for _, t := range lost {
			w.log.Warn("a job gave no sign of life, and is queued again", "job", api.JobKind.ID(t.Job), "account", t.Account)
			if _, err := w.queue.InsertTx(ctx, tx, t, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// forget takes away the data of items that are not done any more, since their job was cancelled or failed.
func (w *workers) forget(ctx context.Context) error {
	for {
		tag, err := w.cfg.Stores.Platform.Exec(ctx, `UPDATE job_items SET data = NULL WHERE (job_id, seq) IN (SELECT i.job_id, i.seq FROM jobs j
			JOIN job_items i ON i.job_id = j.id AND i.seq > j.position AND i.data IS NOT NULL WHERE j.ended_at IS NOT NULL AND j.state IN ('cancelled', 'failed') LIMIT $1)`, removeAtOnce)
		if err != nil || tag.RowsAffected() < removeAtOnce {
			return err
		}
	}
}

// remove takes away jobs that ended long ago, a few items at a time.
func (w *workers) remove(ctx context.Context) error {
	for {
		var job int64
		var left bool
		err := w.cfg.Stores.InTx(ctx, 0, pgx.ReadWrite, func(tx pgx.Tx) error {
			err := tx.QueryRow(ctx, `SELECT id FROM jobs WHERE ended_at < $1 ORDER BY ended_at LIMIT 1 FOR UPDATE SKIP LOCKED`, w.cfg.Now().Add(-keptFor)).Scan(&job)
			if err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, `DELETE FROM job_items WHERE job_id = $1 AND seq <= (SELECT max(seq) FROM (
				SELECT seq FROM job_items WHERE job_id = $1 ORDER BY seq LIMIT $2) first)`, job, removeAtOnce)
			if err != nil {
				return err
			}
			if left = tag.RowsAffected() == removeAtOnce; left {
				return nil
			}
			_, err = tx.Exec(ctx, `DELETE FROM jobs WHERE id = $1`, job)
			return err
		})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// riverLog has what River warns of.
func riverLog(a *api.API) *slog.Logger {
	log := a.Config().Log
	if log == nil { // an API that only describes itself
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(warnings{log.Handler()})
}

type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h warnings) WithGroup(name string) slog.Handler { return warnings{h.Handler.WithGroup(name)} }
