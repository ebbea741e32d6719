package closing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/pause"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const every = time.Minute

// Config is what a job needs.
type Config struct {
	Platform *pgxpool.Pool // of the platform's role: which accounts are due
	Erasure  *pgxpool.Pool // of the role that may erase
	Audit    *audit.Log
	Dir      string // where exports go; empty: nothing is exported, and nothing erased
	Log      *slog.Logger
	Now      func() time.Time

	// Where events are kept with more than the journal has of them; nil: nowhere.
	Events func(ctx context.Context, account int64, f func(object []byte) error) error
	Forget func(ctx context.Context, account int64) error
}

// Job exports and erases accounts whose time has come.
type Job struct {
	Config
	at func(place string) error // of tests: where to stop, as a crash would
}

// NewJob returns one.
func NewJob(c Config) *Job { return &Job{Config: c, at: func(string) error { return nil }} }

// Run works until ctx ends.
func (j *Job) Run(ctx context.Context) error {
	for {
		if _, err := j.Once(ctx); err != nil && ctx.Err() == nil {
			j.Log.Error("ending closed accounts", "error", err)
		}
		if !pause.For(ctx, every) {
			return nil
		}
	}
}

// Once ends all accounts that are due, and returns how many. While another process does, it does nothing.
func (j *Job) Once(ctx context.Context) (ended int, err error) {
	_, err = postgres.Alone(ctx, j.Platform, "cockpit closing", func(conn *pgxpool.Conn) error {
		ended, err = j.all(ctx, conn)
		return err
	})
	return ended, err
}

func (j *Job) all(ctx context.Context, conn *pgxpool.Conn) (ended int, err error) {
	rows, err := conn.Query(ctx, `SELECT account_id FROM accounts WHERE state = 'closed' AND closes_at <= $1 ORDER BY closes_at`, j.Now())
	if err != nil {
		return 0, err
	}
	due, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil || len(due) == 0 {
		return 0, errors.Join(err, j.forget(ctx))
	}
	if j.Dir == "" {
		j.Log.Warn("closed accounts are due, and there is no directory to export them to", "accounts", len(due))
		return 0, nil
	}
	for _, account := range due {
		if err := j.end(ctx, account); err != nil {
			return ended, fmt.Errorf("end account %s: %w", api.AccountKind.ID(account), err)
		}
		ended++
	}
	return ended, j.forget(ctx)
}

// forget takes what is somebody's out of the events of accounts that are erased. The time that they closed at says that it
// is still to be done: it goes when it is done, so that a crash in between forgets again.
func (j *Job) forget(ctx context.Context) error {
	rows, err := j.Platform.Query(ctx, `SELECT account_id FROM accounts WHERE state = 'erased' AND closes_at IS NOT NULL`)
	if err != nil {
		return err
	}
	erased, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	for _, account := range erased {
		if j.Forget != nil {
			if err := j.Forget(ctx, account); err != nil {
				return err
			}
		}
		if err := j.at("forgot"); err != nil {
			return err
		}
		if _, err := j.Platform.Exec(ctx, `UPDATE accounts SET closes_at = NULL WHERE account_id = $1 AND state = 'erased'`, account); err != nil {
			return err
		}
	}
	return nil
}

// end exports an account, unless it was as it is now, and erases it.
func (j *Job) end(ctx context.Context, account int64) error {
	dir := filepath.Join(j.Dir, api.AccountKind.ID(account))
	m, err := readManifest(dir)
	if err != nil {
		return err
	}
	if m != nil {
		again, err := j.erase(ctx, account, m)
		if err != nil || !again {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if m, err = j.export(ctx, account, dir); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	again, err := j.erase(ctx, account, m)
	if err == nil && again {
		err = errChanged
	}
	return err
}

// inAccount calls f in a transaction that sees the account and no other.
func (j *Job) inAccount(ctx context.Context, account int64, o pgx.TxOptions, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, j.Erasure, o, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL cockpit.account_id = '%d'; SET LOCAL statement_timeout = '1h'`, account)); err != nil {
			return err
		}
		return f(tx)
	})
}
