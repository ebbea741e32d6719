package balances

import (
	"context"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/jackc/pgx/v5"
)

// Scope is a node as people see it.
type Scope struct {
	ID, Parent int64
	Kind       string // account, organization, team, membership, user
	Key        string // of memberships and users the user's key, of the account its own
	Name       string
}

// Tree is one section of an account at an instant: its scopes and what they may spend.
type Tree struct {
	*allocation.Tree
	Scopes      []Scope // parents before their children
	Thresholds  []int   // percents, of the root plan
	Enforcement string  // stop or notify
	Until       time.Time
}

// LoadTree reads the section as it is at an instant. cycleStart says which rollover counts. Tree.Until is when an override
// ends or begins next.
func LoadTree(ctx context.Context, tx pgx.Tx, account, section int64, at, cycleStart time.Time) (*Tree, error) {
	t := &Tree{Until: allocation.Forever}
	err := tx.QueryRow(ctx, `SELECT v.thresholds, v.enforcement FROM account_sections s
		JOIN LATERAL (SELECT v.* FROM scope_plans sp JOIN budget_plan_versions v USING (plan_id)
			WHERE sp.scope_id = s.root_scope_id ORDER BY sp.valid_from DESC, v.id DESC LIMIT 1) v ON true
		WHERE s.account_id = $1 AND s.section_id = $2`, account, section).Scan(&t.Thresholds, &t.Enforcement)
	if err != nil {
		return nil, fmt.Errorf("load the plan of account %d, section %d: %w", account, section, err)
	}
	scopes, err := t.load(ctx, tx, account, section, at, cycleStart)
	if err == nil {
		t.Tree, err = allocation.Evaluate(scopes)
	}
	if err != nil {
		return nil, fmt.Errorf("load the tree of account %d, section %d: %w", account, section, err)
	}
	return t, nil
}

func (t *Tree) load(ctx context.Context, tx pgx.Tx, account, section int64, at, cycleStart time.Time) ([]allocation.Scope, error) {
	// Ended organizations, teams and memberships stay, below nothing, so that what was charged to them is seen.
	rows, err := tx.Query(ctx, `WITH RECURSIVE tree AS (
			SELECT s.id, 0::bigint AS parent_id, s.kind, s.key, s.name, s.user_id, 0 AS depth FROM scopes s
			WHERE s.account_id = $1 AND s.section_id = $2
				AND NOT EXISTS (SELECT FROM scope_parents p WHERE p.account_id = $1 AND p.scope_id = s.id AND p.valid_from <= $3 AND p.valid_to > $3)
			UNION ALL
			SELECT s.id, p.parent_id, s.kind, s.key, s.name, s.user_id, tree.depth + 1
			FROM tree JOIN scope_parents p ON p.account_id = $1 AND p.parent_id = tree.id AND p.valid_from <= $3 AND p.valid_to > $3
			JOIN scopes s ON s.account_id = $1 AND s.id = p.scope_id)
		SELECT t.id, t.parent_id, t.kind, coalesce(t.key, u.key, a.key), coalesce(t.name, u.name, a.name),
			coalesce(al.kind, 'none'), coalesce(al.amount, 0), c.amount, oa.amount, oc.amount, coalesce(r.amount, 0),
			nullif(least(oa.valid_until, oc.valid_until, nx.next), 'infinity')
		FROM tree t JOIN accounts a ON a.account_id = $1 LEFT JOIN users u ON u.account_id = $1 AND u.id = t.user_id
		LEFT JOIN LATERAL (SELECT kind, amount FROM allocations x WHERE x.account_id = $1 AND x.scope_id = t.id AND x.valid_from <= $3 ORDER BY id DESC LIMIT 1) al ON true
		LEFT JOIN LATERAL (SELECT amount FROM caps x WHERE x.account_id = $1 AND x.scope_id = t.id AND x.valid_from <= $3 ORDER BY id DESC LIMIT 1) c ON true
		LEFT JOIN LATERAL (SELECT amount, valid_until FROM overrides x WHERE x.account_id = $1 AND x.scope_id = t.id AND x.kind = 'allocation'
			AND x.valid_from <= $3 AND x.valid_until > $3 ORDER BY id DESC LIMIT 1) oa ON true
		LEFT JOIN LATERAL (SELECT amount, valid_until FROM overrides x WHERE x.account_id = $1 AND x.scope_id = t.id AND x.kind = 'cap'
			AND x.valid_from <= $3 AND x.valid_until > $3 ORDER BY id DESC LIMIT 1) oc ON true
		LEFT JOIN LATERAL (SELECT min(valid_from) AS next FROM overrides x WHERE x.account_id = $1 AND x.scope_id = t.id AND x.valid_from > $3) nx ON true
		LEFT JOIN LATERAL (SELECT amount FROM rollovers x WHERE x.account_id = $1 AND x.scope_id = t.id AND x.to_cycle = $4 ORDER BY id DESC LIMIT 1) r ON true
		ORDER BY t.depth, t.kind, t.id`, account, section, at, cycleStart)
	if err != nil {
		return nil, err
	}
	var scopes []allocation.Scope
	var s Scope
	var planned string
	var amount, rollover int64
	var limit, override, limitOverride *int64
	var until *time.Time
	_, err = pgx.ForEachRow(rows, []any{&s.ID, &s.Parent, &s.Kind, &s.Key, &s.Name, &planned, &amount, &limit, &override, &limitOverride, &rollover, &until}, func() error {
		t.Scopes = append(t.Scopes, s)
		scopes = append(scopes, allocation.Scope{ID: s.ID, Parent: s.Parent, Amount: credit.Amount(amount), Rollover: credit.Amount(rollover),
			Planned: map[string]allocation.Planned{"fixed": allocation.Fixed, "equal": allocation.Equal}[planned],
			Cap:     micros(limit), Override: micros(override), CapOverride: micros(limitOverride)})
		if until != nil && until.Before(t.Until) {
			t.Until = *until
		}
		return nil
	})
	return scopes, err
}

func micros(v *int64) *credit.Amount {
	if v == nil {
		return nil
	}
	a := credit.Amount(*v)
	return &a
}
