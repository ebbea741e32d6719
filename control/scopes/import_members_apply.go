package scopes

import (
	"context"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/jackc/pgx/v5"
)

// applyMembers ends memberships, makes others, and then sees to it that each user has the primary one that he should.
func applyMembers(ctx context.Context, c *api.Call, lines []*imports.Line, plans []memberPlan) error {
	before, err := membershipsOf(ctx, c, plans)
	if err != nil {
		return err
	}
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
	if err := settlePrimary(ctx, c, plans); err != nil {
		return err
	}
	after, err := membershipsOf(ctx, c, plans)
	if err != nil {
		return err
	}
	for i, p := range plans {
		what, was, is := "made_primary", before[p.membership], after[p.membership]
		switch lines[i].Action {
		case imports.Create:
			what = "created"
		case imports.End:
			ended := *was
			at := since[p.membership]
			ended.To, ended.Primary = &at, false
			what, is = "ended", &ended
		}
		if err := record(ctx, c, what, was, is); err != nil {
			return err
		}
	}
	return nil
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
// lasts; else the oldest that does.
func settlePrimary(ctx context.Context, c *api.Call, plans []memberPlan) error {
	asked := make(map[int64]int64, len(plans)) // by user
	for _, p := range plans {
		if p.primary {
			asked[p.user] = p.membership
		} else if _, known := asked[p.user]; !known {
			asked[p.user] = 0 // nothing
		}
	}
	var users, memberships []int64
	for user, membership := range asked {
		users, memberships = append(users, user), append(memberships, membership)
	}
	_, err := c.Tx.Exec(ctx, `WITH n AS (SELECT * FROM unnest($3::bigint[], $4::bigint[]) AS n(user_id, asked)),
		lasting AS (SELECT s.user_id, s.id FROM n JOIN scopes s ON s.account_id = $1 AND s.section_id = $2 AND s.kind = 'membership' AND s.user_id = n.user_id
			JOIN scope_parents p ON p.account_id = $1 AND p.scope_id = s.id AND p.valid_to = 'infinity'),
		wanted AS (SELECT n.user_id, x.membership_id AS has, coalesce(nullif(n.asked, 0), (SELECT l.id FROM lasting l WHERE l.user_id = n.user_id AND l.id = x.membership_id),
				(SELECT min(l.id) FROM lasting l WHERE l.user_id = n.user_id)) AS membership_id
			FROM n LEFT JOIN primary_memberships x ON x.account_id = $1 AND x.section_id = $2 AND x.user_id = n.user_id AND x.valid_to = 'infinity'),
		changed AS (SELECT * FROM wanted WHERE has IS DISTINCT FROM membership_id),
		ended AS (UPDATE primary_memberships x SET valid_to = greatest($5, x.valid_from + interval '1 microsecond') FROM changed w
			WHERE x.account_id = $1 AND x.section_id = $2 AND x.user_id = w.user_id AND x.valid_to = 'infinity' RETURNING x.user_id, x.valid_to)
		INSERT INTO primary_memberships (account_id, section_id, user_id, membership_id, valid_from, recorded_at)
		SELECT $1, $2, w.user_id, w.membership_id, greatest($5::timestamptz, e.valid_to, (SELECT max(o.valid_to) FROM primary_memberships o
			WHERE o.account_id = $1 AND o.section_id = $2 AND o.user_id = w.user_id AND o.valid_to <> 'infinity')), $5
		FROM changed w LEFT JOIN ended e USING (user_id) WHERE w.membership_id IS NOT NULL`, c.Account.ID, c.Section.ID, users, memberships, c.Now)
	return err
}

// membershipsOf reads those of the plans that last, by id.
func membershipsOf(ctx context.Context, c *api.Call, plans []memberPlan) (map[int64]*Membership, error) {
	ids := make([]int64, len(plans))
	for i, p := range plans {
		ids[i] = p.membership
	}
	rows, err := c.Tx.Query(ctx, `SELECT `+membershipColumns+` FROM `+membershipTables+` WHERE `+membershipOf+` AND s.id = ANY($3)`, c.Account.ID, c.Section.ID, ids)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, scanMembership)
	found := make(map[int64]*Membership, len(list))
	for i := range list {
		found[list[i].number] = &list[i]
	}
	return found, err
}
