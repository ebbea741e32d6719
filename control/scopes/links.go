package scopes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/jackc/pgx/v5"
)

// link ends a scope's place, and gives it another below parent, unless that is 0. It returns since when: now, or the moment
// after a change of the same microsecond.
func link(ctx context.Context, c *api.Call, scope, parent int64) (at time.Time, err error) {
	if _, err = c.Tx.Exec(ctx, `UPDATE scope_parents SET valid_to = greatest($3, valid_from + interval '1 microsecond')
		WHERE account_id = $1 AND scope_id = $2 AND valid_to = 'infinity'`, c.Account.ID, scope, c.Now); err != nil {
		return at, err
	}
	err = c.Tx.QueryRow(ctx, `SELECT greatest($3, max(valid_to)) FROM scope_parents WHERE account_id = $1 AND scope_id = $2`, c.Account.ID, scope, c.Now).Scan(&at)
	if err != nil || parent == 0 {
		return at, err
	}
	_, err = c.Tx.Exec(ctx, `INSERT INTO scope_parents (account_id, section_id, scope_id, parent_id, valid_from, recorded_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		c.Account.ID, c.Section.ID, scope, parent, at, c.Now)
	return at, err
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

// enough refuses a tree in which more is set aside below a scope than it has.
func enough(ctx context.Context, c *api.Call, at time.Time) error {
	var cycle time.Time
	err := c.Tx.QueryRow(ctx, `SELECT start_at FROM cycles WHERE account_id = $1 AND section_id = $2 AND start_at <= $3 AND end_at > $3`,
		c.Account.ID, c.Section.ID, at).Scan(&cycle)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // nothing can be charged yet
	}
	if err != nil {
		return err
	}
	key := balances.TreeKey{Account: c.Account.ID, Section: c.Section.ID, CycleStart: cycle.Unix()}
	trees, err := balances.LoadTrees(ctx, c.Tx, []balances.TreeKey{key}, at, balances.Limiting)
	if err != nil {
		return err
	}
	var short []string
	for _, s := range trees[key].Shortfalls {
		for _, of := range trees[key].Scopes {
			if of.ID == s.Scope {
				short = append(short, fmt.Sprintf("%s %s lacks %s", of.Kind, of.Key, s.Missing))
			}
		}
	}
	if len(short) > 0 {
		return api.Conflict("allocation_short", "More would be set aside than there is: "+strings.Join(short, ", ")+".")
	}
	return nil
}
