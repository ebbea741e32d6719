package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Roles that the program works under; migrations make them.
const (
	RoleMetering = "cockpit_metering" // across accounts: workers, fold, rollups, operators' commands
	RoleApp      = "cockpit_app"      // one account a transaction: the control API
	RolePlatform = "cockpit_platform" // across accounts: who calls, what super admins do, the audit log's seals
	RoleErasure  = "cockpit_erasure"  // one account a transaction: exports and erases accounts that were closed
)

// Open returns a pool whose connections work under role, in UTC, and never wait for a lock or a statement for ever: 5 s
// and 60 s, unless a statement says otherwise.
func Open(ctx context.Context, url, role string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("Postgres URL: %w", err)
	}
	cfg.MaxConns = max(cfg.MaxConns, 16)
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf(`SET ROLE %s; SET TIME ZONE 'UTC'; SET lock_timeout = '5s'; SET statement_timeout = '60s'`,
			pgx.Identifier{role}.Sanitize()))
		return err
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}
