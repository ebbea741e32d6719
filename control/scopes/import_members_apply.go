package scopes

import (
	"context"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/jackc/pgx/v5"
)

// applyMembers ends memberships, makes others, and then sees to it that each user has the primary one that he should.
func applyMembers(ctx context.Context, c *api.Call, lines []*imports.Line, plans []memberPlan) error {
	var scopes, parents []int64
	for i := range plans {
		if lines[i].Action == imports.End {
			scopes, parents = append(scopes, plans[i].membership), append(parents, 0)
		}
	}
	made, placed, err := insertMembers(ctx, c, plans)
	if err != nil {
		return err
	}
	since, err := linkAll(ctx, c, append(scopes, made...), append(parents, placed...))
	if err != nil {
		return err
	}
	primary, err := settlePrimary(ctx, c, plans)
	if err != nil {
		return err
	}
	for i, p := range plans {
		was, is, what := p.recorded(), p.recorded(), "made_primary"
		if is.Primary = primary[p.user] == p.membership; lines[i].Action == imports.End {
			at := since[p.membership]
			is.To, what = &at, "ended"
		}
		change := api.Change{Object: audit.Object{Kind: api.MembershipKind.Name, ID: api.MembershipKind.ID(p.membership)}, Before: was, After: is}
		if lines[i].Action == imports.Create {
			change.Before, what = nil, "created"
		}
		change.Action = "membership." + what
		if err := c.Record(ctx, change); err != nil {
			return err
		}
	}
	return nil
}

// recorded is what the audit log has of it, as it was.
func (p *memberPlan) recorded() recorded {
	return recorded{User: api.UserKind.ID(p.user), Of: p.of, Primary: p.primary}
}

// insertMembers makes the memberships that are new, below nothing yet, and numbers them.
func insertMembers(ctx context.Context, c *api.Call, plans []memberPlan) (made, parents []int64, err error) {
	var users []int64
	for _, p := range plans {
		if p.membership == 0 {
			users, parents = append(users, p.user), append(parents, p.parent)
		}
	}
	if made, err = scopeIDs(ctx, c, len(users)); err != nil {
		return nil, nil, err
	}
	next := 0
	for i := range plans {
		if plans[i].membership == 0 {
			plans[i].membership = made[next]
			next++
		}
	}
	_, err = c.Tx.Exec(ctx, `INSERT INTO scopes (account_id, section_id, id, kind, user_id, created_at) OVERRIDING SYSTEM VALUE
		SELECT $1, $2, n.id, 'membership', n.user_id, $5 FROM unnest($3::bigint[], $4::bigint[]) AS n(id, user_id)`, c.Account.ID, c.Section.ID, made, users, c.Now)
	return made, parents, err
}

// settlePrimary gives each user of the plans the primary membership that a line asks for; else the one that he has, while it
// lasts; else the oldest that does. It returns which that is, by user. OFFSET 0 keeps Postgres from joining where it should look up:
// before it has statistics of a table that grows, it would read all of the account's links for each user.
func settlePrimary(ctx context.Context, c *api.Call, plans []memberPlan) (map[int64]int64, error) {
	asked := make(map[int64]int64, len(plans)) // by user
	for _, p := range plans {
		if p.asked {
			asked[p.user] = p.membership
		} else if _, known := asked[p.user]; !known {
			asked[p.user] = 0 // nothing
		}
	}
	var users, memberships []int64
	for user, membership := range asked {
		users, memberships = append(users, user), append(memberships, membership)
	}
	rows, err := c.Tx.Query(ctx, `WITH wanted AS (SELECT n.user_id, x.membership_id AS has, coalesce(nullif(n.asked, 0), l.kept, l.oldest) AS membership_id
			FROM unnest($3::bigint[], $4::bigint[]) AS n(user_id, asked)
			LEFT JOIN LATERAL (SELECT membership_id FROM primary_memberships x WHERE x.account_id = $1 AND x.section_id = $2 AND x.user_id = n.user_id AND x.valid_to = 'infinity' LIMIT 1) x ON true,
			LATERAL (SELECT min(s.id) FILTER (WHERE s.id = x.membership_id) AS kept, min(s.id) AS oldest FROM scopes s
				WHERE s.account_id = $1 AND s.section_id = $2 AND s.kind = 'membership' AND s.user_id = n.user_id
					AND EXISTS (SELECT FROM scope_parents p WHERE p.account_id = $1 AND p.scope_id = s.id AND p.valid_to = 'infinity' OFFSET 0)) l),
		ended AS (UPDATE primary_memberships x SET valid_to = greatest($5, x.valid_from + interval '1 microsecond') FROM wanted w
			WHERE w.has IS DISTINCT FROM w.membership_id AND x.account_id = $1 AND x.section_id = $2 AND x.user_id = w.user_id AND x.user_id = ANY($3) AND x.valid_to = 'infinity' RETURNING x.user_id, x.valid_to),
		begun AS (INSERT INTO primary_memberships (account_id, section_id, user_id, membership_id, valid_from, recorded_at)
			SELECT $1, $2, w.user_id, w.membership_id, greatest($5::timestamptz, e.valid_to, (SELECT max(o.valid_to) FROM primary_memberships o
				WHERE o.account_id = $1 AND o.section_id = $2 AND o.user_id = w.user_id AND o.valid_to <> 'infinity')), $5
			FROM wanted w LEFT JOIN ended e USING (user_id) WHERE w.has IS DISTINCT FROM w.membership_id AND w.membership_id IS NOT NULL)
		SELECT user_id, coalesce(membership_id, 0) FROM wanted`, c.Account.ID, c.Section.ID, users, memberships, c.Now)
	if err != nil {
		return nil, err
	}
	primary := make(map[int64]int64, len(users))
	var user, membership int64
	_, err = pgx.ForEachRow(rows, []any{&user, &membership}, func() error { primary[user] = membership; return nil })
	return primary, err
}
