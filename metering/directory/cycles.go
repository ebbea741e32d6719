package directory

import (
	"context"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// How far from now cycles have rows: late events charge the cycle that they happened in, and the next one must be known
// before it begins.
const (
	cyclesBehind = 48 * time.Hour
	cyclesAhead  = 10 * time.Minute
)

// due is a section whose cycles do not reach far enough.
type due struct {
	account, section, plan int64
	from                   time.Time // where the next row begins
	calendar               allocation.Calendar
}

// EnsureCycles makes the rows of cycles from cyclesBehind before now to cyclesAhead after it, and returns how many were
// missing. A plan that was changed makes the cycles from the end of the last row on.
func EnsureCycles(ctx context.Context, pool *pgxpool.Pool, now time.Time) (made int, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		made, err = EnsureCyclesTx(ctx, tx, now)
		return err
	})
	return made, err
}

// EnsureCyclesTx does the same in a transaction that goes on.
func EnsureCyclesTx(ctx context.Context, tx pgx.Tx, now time.Time) (made int, err error) {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('cockpit cycles'))`); err != nil {
		return 0, err
	}
	todo, err := dueCycles(ctx, tx, now)
	if err != nil {
		return 0, fmt.Errorf("look for due cycles: %w", err)
	}
	batch := &pgx.Batch{}
	accounts := []int64{}
	for _, d := range todo {
		accounts = append(accounts, d.account)
		for at := d.from; !at.After(now.Add(cyclesAhead)); {
			_, end := d.calendar.Containing(at)
			batch.Queue(`INSERT INTO cycles (account_id, section_id, start_at, end_at, plan_version_id) VALUES ($1, $2, $3, $4, $5)`,
				d.account, d.section, at, end, d.plan)
			made++
			at = end
		}
	}
	if made == 0 {
		return 0, nil
	}
	batch.Queue(`WITH v AS (UPDATE deployment SET directory_version = directory_version + 1 RETURNING directory_version)
		UPDATE accounts SET version = directory_version FROM v WHERE account_id = ANY($1)`, accounts)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return 0, fmt.Errorf("make cycles: %w", err)
	}
	return made, nil
}

func dueCycles(ctx context.Context, tx pgx.Tx, now time.Time) ([]due, error) {
	rows, err := tx.Query(ctx, `SELECT s.account_id, s.section_id, p.id, p.cycle, coalesce(p.every_days, 0), p.anchor, coalesce(p.time_zone, a.time_zone), c.last
		FROM account_sections s JOIN accounts a USING (account_id)
		LEFT JOIN LATERAL (SELECT max(end_at) AS last FROM cycles c WHERE c.account_id = s.account_id AND c.section_id = s.section_id) c ON true
		JOIN LATERAL (SELECT v.* FROM scope_plans sp JOIN budget_plan_versions v USING (plan_id)
			WHERE sp.scope_id = s.root_scope_id ORDER BY sp.valid_from DESC, v.id DESC LIMIT 1) p ON true
		WHERE c.last IS NULL OR c.last <= $1`, now.Add(cyclesAhead))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d due, err error) {
		var zone string
		var last *time.Time
		if err := row.Scan(&d.account, &d.section, &d.plan, &d.calendar.Period, &d.calendar.Days, &d.calendar.Anchor, &zone, &last); err != nil {
			return d, err
		}
		if d.calendar.Location, err = time.LoadLocation(zone); err != nil {
			return d, err
		}
		if last != nil {
			d.from = *last
		} else {
			d.from, _ = d.calendar.Containing(now.Add(-cyclesBehind))
		}
		return d, nil
	})
}
