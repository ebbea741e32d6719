package scopes

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/jackc/pgx/v5"
)

// linkAll ends the place of each scope, and gives it another below its parent, unless that is 0. It returns since when: now, or
// the moment after a change of the same microsecond.
func linkAll(ctx context.Context, c *api.Call, scopes, parents []int64) (map[int64]time.Time, error) {
	rows, err := c.Tx.Query(ctx, `WITH n AS (SELECT * FROM unnest($3::bigint[], $4::bigint[]) AS n(scope_id, parent_id)),
		ended AS (UPDATE scope_parents p SET valid_to = greatest($5, p.valid_from + interval '1 microsecond')
			FROM n WHERE p.account_id = $1 AND p.scope_id = n.scope_id AND p.scope_id = ANY($3) AND p.valid_to = 'infinity' RETURNING p.scope_id, p.valid_to),
		placed AS (SELECT n.scope_id, n.parent_id, greatest($5::timestamptz, e.valid_to, (SELECT max(o.valid_to) FROM scope_parents o
			WHERE o.account_id = $1 AND o.scope_id = n.scope_id AND o.valid_to <> 'infinity')) AS at FROM n LEFT JOIN ended e USING (scope_id)),
		begun AS (INSERT INTO scope_parents (account_id, section_id, scope_id, parent_id, valid_from, recorded_at)
			SELECT $1, $2, scope_id, parent_id, at, $5 FROM placed WHERE parent_id <> 0)
		SELECT scope_id, at FROM placed`, c.Account.ID, c.Section.ID, scopes, parents, c.Now)
	if err != nil {
		return nil, err
	}
	since := make(map[int64]time.Time, len(scopes))
	var scope int64
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&scope, &at}, func() error { since[scope] = at; return nil })
	return since, err
}

// link is linkAll of one scope.
func link(ctx context.Context, c *api.Call, scope, parent int64) (at time.Time, err error) {
	since, err := linkAll(ctx, c, []int64{scope}, []int64{parent})
	return since[scope], err
}

// noCircle refuses a parent that stands below the scope, or is it.
func noCircle(ctx context.Context, c *api.Call, scope, parent int64) error {
	var circle bool
	err := c.Tx.QueryRow(ctx, `WITH RECURSIVE up AS (SELECT $2::bigint AS id UNION
			SELECT p.parent_id FROM up JOIN scope_parents p ON p.account_id = $1 AND p.scope_id = up.id AND p.valid_to = 'infinity')
		SELECT EXISTS (SELECT FROM up WHERE id = $3)`, c.Account.ID, parent, scope).Scan(&circle)
	if err == nil && circle {
		err = api.Conflict("circle", "It can't stand below itself.")
	}
	return err
}

// outline is what limits in the section at an instant; nil where nothing can be charged yet.
func outline(ctx context.Context, c *api.Call, at time.Time) (*balances.Outline, error) {
	var cycle time.Time
	err := c.Tx.QueryRow(ctx, `SELECT start_at FROM cycles WHERE account_id = $1 AND section_id = $2 AND start_at <= $3 AND end_at > $3`,
		c.Account.ID, c.Section.ID, at).Scan(&cycle)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return balances.LoadOutline(ctx, c.Tx, balances.TreeKey{Account: c.Account.ID, Section: c.Section.ID, CycleStart: cycle.Unix()}, at)
}

const codeShort = "allocation_short"

// short says that more would be set aside than there is.
func short(lacking []string) string {
	return "more would be set aside than there is: " + strings.Join(lacking[:min(len(lacking), lackingMax)], ", ")
}

const lackingMax = 10

// enough refuses a tree in which more is set aside below a scope than it has.
func enough(ctx context.Context, c *api.Call, at time.Time) error {
	o, err := outline(ctx, c, at)
	if o == nil || err != nil {
		return err
	}
	lacking, err := o.Lacking(nil)
	if err == nil && len(lacking) > 0 {
		what := short(lacking)
		err = api.Conflict(codeShort, strings.ToUpper(what[:1])+what[1:]+".")
	}
	return err
}
