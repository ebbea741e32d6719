package balances

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Root is what a section of an account has used in its cycle.
type Root struct {
	TreeKey
	Unit                 string // credits or usd
	Scope                int64
	CycleStart, CycleEnd time.Time
	Used                 Sum
}

// Roots returns the roots of all accounts in the cycles with at in them: checkpoint and tail, as Read has them. tx must see
// one moment. A section without such a cycle is left out.
func Roots(ctx context.Context, tx pgx.Tx, at time.Time) ([]Root, error) {
	tail, err := Tail(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("the tail of the journal: %w", err)
	}
	rows, err := tx.Query(ctx, `SELECT x.account_id, x.section_id, s.unit, x.root_scope_id, c.start_at, c.end_at,
			coalesce(p.used[x.root_scope_id % $2 + 1], 0), coalesce(p.events[x.root_scope_id % $2 + 1], 0)
		FROM account_sections x JOIN sections s ON s.id = x.section_id
		JOIN cycles c ON c.account_id = x.account_id AND c.section_id = x.section_id AND c.start_at <= $1 AND c.end_at > $1
		LEFT JOIN balance_pages p ON p.account_id = x.account_id AND p.section_id = x.section_id AND p.cycle_start = c.start_at AND p.page = x.root_scope_id / $2
		ORDER BY x.account_id, x.section_id`, at, PageScopes)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Root, err error) {
		err = row.Scan(&r.Account, &r.Section, &r.Unit, &r.Scope, &r.CycleStart, &r.CycleEnd, &r.Used.Credits, &r.Used.Events)
		if err != nil {
			return r, err
		}
		r.TreeKey.CycleStart = r.CycleStart.Unix()
		return r, r.Used.add(tail.Of(r.TreeKey, r.Scope))
	})
}
