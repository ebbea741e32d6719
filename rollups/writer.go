package rollups

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/internal/faultpoint"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	pauseRounds   = 300 * time.Millisecond // from one round to the next, unless there is more to write than a batch takes
	pauseError    = time.Second
	pauseFollower = 2 * time.Second // between looks whether the writing process has gone
)

// Writer follows the journal. Make it with NewWriter.
type Writer struct {
	pool    *pgxpool.Pool
	ch      driver.Conn
	kafka   []kgo.Opt
	log     *slog.Logger
	kinds   kinds
	sources map[int64]*source
	events  atomic.Int64
}

// NewWriter returns a writer; kafka is how to reach the brokers.
func NewWriter(pool *pgxpool.Pool, ch driver.Conn, kafka []kgo.Opt, log *slog.Logger) *Writer {
	return &Writer{pool: pool, ch: ch, kafka: kafka, log: log, kinds: kinds{known: map[int64]string{}}, sources: map[int64]*source{}}
}

// Events is the number of events that were written since the start.
func (w *Writer) Events() int64 { return w.events.Load() }

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) error {
	defer w.closeSources()
	for ctx.Err() == nil {
		if err := w.lead(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("writing rollups", "error", err)
			sleep(ctx, pauseError)
		}
	}
	return nil
}

// lead writes while no other process does: a connection that is lost gives the lock up.
func (w *Writer) lead(ctx context.Context) error {
	mine, err := postgres.Alone(ctx, w.pool, "cockpit rollups", func(conn *pgxpool.Conn) error {
		for ctx.Err() == nil {
			next := time.After(pauseRounds)
			if err := conn.Ping(ctx); err != nil {
				return err
			}
			batches, err := w.round(ctx)
			if err != nil {
				return err
			}
			if len(batches) > 0 && batches[0].full() {
				continue
			}
			// Without the pause, a trickle of events would be a flood of small inserts.
			select {
			case <-ctx.Done():
			case <-next:
			}
		}
		return nil
	})
	if err == nil && !mine {
		sleep(ctx, pauseFollower)
	}
	return err
}

// Once plans and writes what there is, and returns the number of batches.
func (w *Writer) Once(ctx context.Context) (int, error) {
	batches, err := w.round(ctx)
	return len(batches), err
}

func (w *Writer) round(ctx context.Context) ([]batch, error) {
	batches, err := w.plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan rollups: %w", err)
	}
	for i := range batches {
		if err := w.write(ctx, &batches[i]); err != nil {
			w.closeSources() // they are opened again where the next batch begins
			return nil, fmt.Errorf("write batch %s of rollups: %w", batches[i].token(), err)
		}
	}
	return batches, nil
}

// write takes one batch to ClickHouse.
func (w *Writer) write(ctx context.Context, b *batch) error {
	faultpoint.Hit("rollups.after-plan")
	rows, err := w.build(ctx, b)
	if err != nil {
		return err
	}
	// Whoever holds this lock alone (verify) sees either all of a batch or nothing.
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared(hashtext('cockpit rollups batch'))`); err != nil {
			return err
		}
		if err := w.insert(ctx, b, rows); err != nil {
			return err
		}
		faultpoint.Hit("rollups.before-done")
		return done(ctx, tx, b)
	})
	if err != nil {
		return err
	}
	faultpoint.Hit("rollups.after-done")
	w.events.Add(int64(len(rows.usage) + len(rows.guardrails)))
	return nil
}

func (w *Writer) closeSources() {
	for _, s := range w.sources {
		s.close()
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
