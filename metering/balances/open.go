package balances

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Use is what a scope's balance in the open cycle is asked for.
type Use string

// The uses.
const (
	Charged Use = `b.events[n] <> 0`
	// Over is of scopes with an allocation, a share or a cap of their own who have used all of it. One that only inherits a
	// limit is not over it: whom it inherits it from is.
	Over Use = `b.used[n] >= b.allocation[n]`
)

// scopesOf are those of an account ($1), in one section or in all (0), whose balances in the cycles that are open at an
// instant are so. The fold keeps with each balance what it may be: nothing is evaluated here.
func (u Use) scopesOf() string {
	limited := ""
	if u == Over {
		limited = ` AND b.allocation IS NOT NULL`
	}
	return fmt.Sprintf(`SELECT b.page * %[1]d + n - 1 FROM balance_pages b JOIN cycles c ON c.account_id = b.account_id AND c.section_id = b.section_id AND c.start_at = b.cycle_start
		CROSS JOIN generate_series(1, %[1]d) n WHERE b.account_id = $1 AND $2::bigint IN (0, b.section_id) AND c.start_at <= $3 AND c.end_at > $3%s AND %s`, PageScopes, limited, u)
}

// ScopesOf returns them: as of the last checkpoint, which is seconds ago.
func ScopesOf(ctx context.Context, tx pgx.Tx, account, section int64, at time.Time, use Use) ([]int64, error) {
	return ids(ctx, tx, use.scopesOf(), account, section, at)
}

// UsersOf returns the users whose row, or one of whose memberships, is so.
func UsersOf(ctx context.Context, tx pgx.Tx, account, section int64, at time.Time, use Use) ([]int64, error) {
	return ids(ctx, tx, `SELECT DISTINCT s.user_id FROM (`+use.scopesOf()+`) x(id) JOIN scopes s ON s.account_id = $1 AND s.id = x.id WHERE s.user_id IS NOT NULL`, account, section, at)
}

func ids(ctx context.Context, tx pgx.Tx, sql string, args ...any) ([]int64, error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("look for balances: %w", err)
	}
	return found, nil
}
