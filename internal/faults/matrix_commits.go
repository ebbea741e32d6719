//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
)

func commits() []Case {
	return []Case{
		{Name: "commit/backend-killed-before", Row: rowCommits, run: lostCommit(locked, terminated)},
		{Name: "commit/backend-killed-after", Row: rowCommits, Short: true, run: lostCommit(unconfirmed, terminated)},
		{Name: "commit/server-killed-before", Row: rowCommits, run: lostCommit(locked, serverKilled)},
		{Name: "commit/server-killed-after", Row: rowCommits, run: lostCommit(unconfirmed, serverKilled)},
	}
}

// lostCommit holds a worker's commit at a moment, takes the connection from it, and lets go.
func lostCommit(hold func(context.Context, *World) (release func() error, err error), lose func(context.Context, *World, int) error) func(context.Context, *World, Scale) error {
	return func(ctx context.Context, w *World, s Scale) error {
		if _, err := w.send(ctx); err != nil {
			return err
		}
		for range s.times(1, 3) {
			release, err := hold(ctx, w)
			if err != nil {
				return err
			}
			pid := 0
			err = w.eventually(ctx, "a commit waits", func() (bool, error) {
				err := w.db.QueryRow(ctx, `SELECT coalesce(min(pid), 0) FROM pg_stat_activity
					WHERE state = 'active' AND query LIKE 'WITH fence AS%' AND wait_event IN ('SyncRep', 'tuple', 'transactionid')`).Scan(&pid)
				return pid != 0, err
			})
			unknown := w.unknownCommits()
			if err == nil {
				err = lose(ctx, w, pid)
			}
			if err := errors.Join(err, release()); err != nil {
				return err
			}
			if err := w.eventually(ctx, "a worker does not know what became of its commit", func() (bool, error) { return w.unknownCommits() > unknown, nil }); err != nil {
				return err
			}
			w.Fired("a commit was lost, and its worker asked what had become of it")
			if err := w.recovers(ctx, "the lost commit", metered); err != nil {
				return err
			}
		}
		return w.settles(ctx, 0)
	}
}

func (w *World) unknownCommits() (n int) {
	for _, p := range w.metering {
		n += p.logged("the outcome of a commit is not known")
	}
	return n
}

// locked keeps commits from being made: they wait for their offset's row.
func locked(ctx context.Context, w *World) (release func() error, err error) {
	tx, err := w.db.Begin(ctx)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `SELECT FROM offsets WHERE topic = 'usage.v1' FOR UPDATE`)
	return func() error {
		_ = tx.Rollback(ctx) // the server may be gone, and the lock with it
		return nil
	}, err
}

// unconfirmed keeps commits from being answered: they are made, and wait for a standby that there is not.
func unconfirmed(ctx context.Context, w *World) (release func() error, err error) {
	set := func(sql string) error {
		return w.eventually(ctx, "Postgres takes a setting", func() (bool, error) {
			if _, err := w.db.Exec(ctx, sql); err != nil {
				return false, err
			}
			_, err := w.db.Exec(ctx, `SELECT pg_reload_conf()`)
			return err == nil, err
		})
	}
	return func() error { return set(`ALTER SYSTEM RESET synchronous_standby_names`) }, set(`ALTER SYSTEM SET synchronous_standby_names = 'nobody'`)
}

func terminated(ctx context.Context, w *World, pid int) error {
	var ok bool
	if err := w.db.QueryRow(ctx, `SELECT pg_terminate_backend($1)`, pid).Scan(&ok); err != nil || !ok {
		return fmt.Errorf("terminate the backend %d: %v, %w", pid, ok, err)
	}
	return nil
}

func serverKilled(_ context.Context, w *World, _ int) error { return w.postgres.kill() }
