package fold

import (
	"context"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/jackc/pgx/v5"
)

// turn is a cycle that has ended and the one after it.
type turn struct {
	account, section  int64
	start, end, after time.Time // after: the end of the next cycle
}

// rollover writes what scopes take with them into the next cycle, where the plan lets unused credits go on: when a cycle
// has ended, and again when a late event or a correction charged it after that. The newest row of the ledger counts.
func (r *round) rollover(ctx context.Context) error {
	var accounts, cycles []int64
	for tree := range r.charged() {
		accounts, cycles = append(accounts, tree.Account), append(cycles, tree.CycleStart)
	}
	// Most plans let nothing go on: the sections of those that do, or once did, are few and looked for first.
	rows, err := r.tx.Query(ctx, `SELECT DISTINCT c.account_id, c.section_id, c.start_at, c.end_at, n.end_at FROM account_sections s
		JOIN (SELECT DISTINCT sp.scope_id FROM scope_plans sp JOIN budget_plan_versions v USING (plan_id) WHERE v.rollover = 'unused') u ON u.scope_id = s.root_scope_id
		JOIN LATERAL (SELECT v.rollover FROM scope_plans sp JOIN budget_plan_versions v USING (plan_id)
			WHERE sp.scope_id = s.root_scope_id ORDER BY sp.valid_from DESC, v.id DESC LIMIT 1) p ON p.rollover = 'unused'
		JOIN cycles c ON c.account_id = s.account_id AND c.section_id = s.section_id AND c.end_at <= $1
		JOIN cycles n ON n.account_id = s.account_id AND n.section_id = s.section_id AND n.start_at = c.end_at
		WHERE NOT EXISTS (SELECT FROM rollovers r WHERE r.account_id = s.account_id AND r.scope_id = s.root_scope_id AND r.to_cycle = n.start_at)
			OR EXISTS (SELECT FROM unnest($2::bigint[], $3::bigint[]) t(account, cycle) WHERE t.account = c.account_id AND to_timestamp(t.cycle) = c.start_at)
		ORDER BY c.start_at`, r.now, accounts, cycles)
	if err != nil {
		return err
	}
	turns, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t turn, err error) {
		return t, row.Scan(&t.account, &t.section, &t.start, &t.end, &t.after)
	})
	if err != nil {
		return err
	}
	for i := 0; i < len(turns); i++ {
		changed, err := r.turn(ctx, &turns[i])
		if err != nil {
			return fmt.Errorf("roll over from %s: %w", turns[i].start, err)
		}
		if changed && !turns[i].after.After(r.now) { // the next cycle has ended as well, and has more or less by now
			next, err := r.following(ctx, &turns[i])
			if err != nil {
				return err
			}
			turns = append(turns, next...)
		}
	}
	return nil
}

// following is the turn after t; none while no row says when it ends.
func (r *round) following(ctx context.Context, t *turn) ([]turn, error) {
	rows, err := r.tx.Query(ctx, `SELECT account_id, section_id, $3::timestamptz, start_at, end_at FROM cycles WHERE account_id = $1 AND section_id = $2 AND start_at = $4`,
		t.account, t.section, t.end, t.after)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (n turn, err error) {
		return n, row.Scan(&n.account, &n.section, &n.start, &n.end, &n.after)
	})
}

// turn writes the ledger's rows that differ from those that count.
func (r *round) turn(ctx context.Context, t *turn) (changed bool, err error) {
	tree, err := balances.LoadTree(ctx, r.tx, t.account, t.section, t.end.Add(-time.Microsecond), t.start)
	if err != nil {
		return false, err
	}
	rows, err := r.tx.Query(ctx, `SELECT s.id, coalesce(b.used, 0), coalesce((SELECT amount FROM rollovers r WHERE r.account_id = s.account_id AND r.scope_id = s.id AND r.to_cycle = $4 ORDER BY id DESC LIMIT 1), -1)
		FROM scopes s LEFT JOIN balances b ON b.account_id = $1 AND b.section_id = $2 AND b.cycle_start = $3 AND b.scope_id = s.id WHERE s.account_id = $1 AND s.section_id = $2`, t.account, t.section, t.start, t.end)
	if err != nil {
		return false, err
	}
	batch := &pgx.Batch{}
	var id, used, have int64
	_, err = pgx.ForEachRow(rows, []any{&id, &used, &have}, func() error {
		eff := tree.Effective[id]
		own := eff.BeforeCap == allocation.FromFixed || eff.BeforeCap == allocation.FromOverride || eff.BeforeCap == allocation.FromEqual
		if unused := max(0, int64(eff.Allocation)-used); own && unused != have {
			batch.Queue(`INSERT INTO rollovers (account_id, scope_id, from_cycle, to_cycle, amount) VALUES ($1, $2, $3, $4, $5)`, t.account, id, t.start, t.end, unused)
		}
		return nil
	})
	if err != nil || batch.Len() == 0 {
		return false, err
	}
	batch.Queue(`WITH v AS (UPDATE deployment SET directory_version = directory_version + 1 RETURNING directory_version)
		UPDATE accounts SET version = directory_version FROM v WHERE account_id = $1`, t.account)
	return true, r.tx.SendBatch(ctx, batch).Close()
}
