package api

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	acquireTimeout  = 2 * time.Second
	rollbackTimeout = 5 * time.Second
)

// Stores are the pools that requests work on. App is of the role that sees the account that a transaction sets; Platform
// of the one that works across accounts.
type Stores struct{ App, Platform *pgxpool.Pool }

// pool is the one for a place.
func (s Stores) pool(account int64) *pgxpool.Pool {
	if account == 0 {
		return s.Platform
	}
	return s.App
}

// InTx calls f in a transaction: of the account, or of the platform where account is 0. It commits if f returns no error.
func (s Stores) InTx(ctx context.Context, account int64, access pgx.TxAccessMode, f func(pgx.Tx) error) error {
	conn, err := acquire(ctx, s.pool(account))
	if err != nil {
		return err
	}
	defer conn.Release()
	begin := "BEGIN"
	if access == pgx.ReadOnly {
		begin += " ISOLATION LEVEL REPEATABLE READ READ ONLY" // what one answer says is of one moment
	}
	if account != 0 {
		begin += fmt.Sprintf("; SET LOCAL cockpit.account_id = '%d'", account)
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return err
	}
	defer func() {
		// The request's own context may have ended; the connection is to be given back clean.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = tx.Rollback(ctx)
	}()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
