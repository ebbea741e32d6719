package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const unlockTimeout = 5 * time.Second

// Alone calls f while no other process has the lock of that name, and says whether it did: false while another one has it.
// The lock is the connection's, so that it is given up with it, and no transaction is open meanwhile; f pings the connection
// now and then, to notice.
func Alone(ctx context.Context, pool *pgxpool.Pool, name string, f func(*pgxpool.Conn) error) (mine bool, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtext($1))`, name).Scan(&mine); err != nil || !mine {
		return false, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		_, _ = conn.Exec(ctx, `SELECT pg_advisory_unlock(hashtext($1))`, name) // a connection that is gone holds no lock
	}()
	return true, f(conn)
}
