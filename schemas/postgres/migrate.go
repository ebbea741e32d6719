// Package postgres holds the Postgres schema as versioned migrations.
//
// Migrations only ever go forward and are never edited once released. River's tables, in a schema of their own, are made by
// River's own migrations, after ours. Several processes may migrate at once: a session-level advisory lock is held over all of
// it, and whoever comes second finds nothing left to do.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// RiverSchema is where River's tables are.
const RiverSchema = "river"

// Migrate brings the database at url up to date and returns the number of migrations that it applied.
func Migrate(ctx context.Context, url string) (applied int, err error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return 0, fmt.Errorf("open Postgres: %w", err)
	}
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	err = locked(ctx, db, func() error {
		if applied, err = migrateOurs(ctx, db); err != nil {
			return fmt.Errorf("migrate Postgres: %w", err)
		}
		n, err := migrateRiver(ctx, pool)
		if err != nil {
			return fmt.Errorf("migrate River's tables: %w", err)
		}
		applied += n
		return nil
	})
	return applied, err
}

// locked calls f while no other process migrates.
func locked(ctx context.Context, db *sql.DB, f func() error) (err error) {
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open Postgres: %w", err)
	}
	defer conn.Close()
	if err := locker.SessionLock(ctx, conn); err != nil {
		return fmt.Errorf("migrate Postgres: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		err = errors.Join(err, locker.SessionUnlock(ctx, conn))
	}()
	return f()
}

func migrateOurs(ctx context.Context, db *sql.DB) (int, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return 0, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, dir)
	if err != nil {
		return 0, err
	}
	applied, err := provider.Up(ctx)
	return len(applied), err
}

// migrateRiver makes River's tables, and lets our roles work with them: cockpit_platform with all, cockpit_app so that a job
// is queued in the transaction that makes it.
func migrateRiver(ctx context.Context, pool *pgxpool.Pool) (int, error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: RiverSchema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	done, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if err != nil {
		return 0, err
	}
	// Another process may have been killed between River's migrations and the grants.
	var granted bool
	if err := pool.QueryRow(ctx, `SELECT has_table_privilege($1, 'river.river_job', 'INSERT')`, RoleApp).Scan(&granted); err != nil {
		return 0, err
	}
	if granted && len(done.Versions) == 0 {
		return 0, nil
	}
	_, err = pool.Exec(ctx, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA river TO cockpit_platform;
		GRANT USAGE ON ALL SEQUENCES IN SCHEMA river TO cockpit_platform, cockpit_app;
		GRANT SELECT, INSERT, UPDATE ON river.river_job TO cockpit_app`)
	return len(done.Versions), err
}
