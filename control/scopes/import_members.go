package scopes

import (
	"context"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/jackc/pgx/v5"
)

// The columns of a file of memberships, by their places.
const (
	memberUser = iota
	memberParent
	memberPrimary
	memberState
)

var memberColumns = []imports.Column{memberUser: {Name: "user", Required: true}, memberParent: {Name: "parent", Required: true}, memberPrimary: {Name: "primary"}, memberState: {Name: "state"}}

var memberFiles = imports.Kind[memberPlan]{Name: "memberships", Columns: memberColumns, Fills: []string{"scopes", "scope_parents", "primary_memberships"}, Apply: applyMembers,
	Claims: func(l *imports.Line) []string {
		list := []string{imports.Claim("parent", l.Cell(memberUser)+"\n"+l.Cell(memberParent))}
		if l.Cell(memberPrimary) == "true" {
			list = append(list, imports.Claim("primary", l.Cell(memberUser)))
		}
		return list
	},
	Judge: func() imports.Judge[memberPlan] { return judgeMembers }}

// memberPlan is what a line makes of a user's place.
type memberPlan struct {
	memberPlace
	asked bool // it shall be the primary one
}

// memberPlace is what the directory has of a line: 0 where there is nothing.
type memberPlace struct {
	user, parent, membership int64
	of                       Parent
	erased, active, primary  bool
}

// findMembers reads what lines are about, in their order. OFFSET 0 keeps Postgres from reading all of an account where it should look up.
func findMembers(ctx context.Context, c *api.Call, lines []*imports.Line) ([]memberPlace, error) {
	users, kinds, keys := make([]string, len(lines)), make([]string, len(lines)), make([]string, len(lines))
	for i, l := range lines {
		if l.Bad() {
			continue
		}
		users[i] = l.Cell(memberUser)
		if kinds[i], keys[i], _ = splitRef(l.Cell(memberParent)); l.Cell(memberParent) == "" {
			kinds[i] = "account"
		}
	}
	rows, err := c.Tx.Query(ctx, `SELECT coalesce(u.id, 0), coalesce(o.id, 0), coalesce(m.id, 0), coalesce(u.erased_at IS NOT NULL, false),
			coalesce(o.kind = 'account' OR EXISTS (SELECT FROM scope_parents p WHERE p.account_id = $1 AND p.scope_id = o.id AND p.valid_to = 'infinity' OFFSET 0), false),
			EXISTS (SELECT FROM primary_memberships x WHERE x.account_id = $1 AND x.section_id = $2 AND x.user_id = u.id AND x.membership_id = m.id AND x.valid_to = 'infinity' OFFSET 0),
			coalesce(o.kind, ''), coalesce(o.key, a.key), coalesce(o.name, o.key, a.name)
		FROM accounts a, unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS l(user_key, kind, key, n)
		LEFT JOIN LATERAL (SELECT * FROM users u WHERE u.account_id = $1 AND u.key = l.user_key LIMIT 1) u ON true
		LEFT JOIN LATERAL (SELECT * FROM scopes o WHERE o.account_id = $1 AND o.section_id = $2 AND o.kind = l.kind AND o.key = l.key
			UNION ALL SELECT o.* FROM scopes o WHERE l.kind = 'account' AND o.account_id = $1 AND o.section_id = $2 AND o.kind = 'account' LIMIT 1) o ON true
		LEFT JOIN LATERAL (SELECT s.id FROM scopes s WHERE s.account_id = $1 AND s.user_id = u.id AND s.kind = 'membership' AND s.section_id = $2
			AND (SELECT q.parent_id FROM scope_parents q WHERE q.account_id = $1 AND q.scope_id = s.id AND q.valid_to = 'infinity') = o.id LIMIT 1) m ON true
		WHERE a.account_id = $1 ORDER BY l.n`, c.Account.ID, c.Section.ID, users, kinds, keys)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p memberPlace, err error) {
		var kind, key, name string
		err = row.Scan(&p.user, &p.parent, &p.membership, &p.erased, &p.active, &p.primary, &kind, &key, &name)
		p.of = *newParent(kind, c.Account.ID, p.parent, key, name)
		return p, err
	})
}

// judgeMembers needs to know nothing of the lines before: what two of a file could say of one place, claims forbid.
func judgeMembers(ctx context.Context, c *api.Call, lines []*imports.Line) ([]memberPlan, error) {
	places, err := findMembers(ctx, c, lines)
	if err != nil {
		return nil, err
	}
	plans := make([]memberPlan, len(lines))
	for i, l := range lines {
		if !l.Bad() {
			plans[i] = judgeMember(l, places[i])
		}
	}
	return plans, nil
}

func judgeMember(l *imports.Line, at memberPlace) memberPlan {
	_, _, ok := splitRef(l.Cell(memberParent))
	primary, state := l.Cell(memberPrimary), l.Cell(memberState)
	switch {
	case at.user == 0:
		l.Fail("user", "user_unknown", "there is no such user")
	case at.erased:
		l.Fail("user", "user_erased", "the user is erased: nothing of him can be changed any more")
	case !ok:
		l.Fail("parent", api.CodeInvalid, "a parent is team: or organization: and its key, or empty for the account")
	case at.parent == 0 && l.Cell(memberParent) == "":
		l.Fail("", "section_absent", "the account never had this section")
	case at.parent == 0:
		l.Fail("parent", "parent_unknown", "there is no such team or organization")
	case primary != "" && primary != "true" && primary != "false":
		l.Fail("primary", api.CodeInvalid, "primary is true, false or empty")
	case state == "ended" && primary == "true":
		l.Fail("primary", api.CodeInvalid, "what ended is not primary")
	case state == "ended":
		if at.membership != 0 {
			l.Action = imports.End
		}
	case state != "" && state != "active":
		l.Fail("state", api.CodeInvalid, "a state is active, ended or empty")
	case at.membership == 0 && !at.active:
		l.Fail("parent", "parent_inactive", "nothing can stand below what is inactive")
	case at.membership == 0:
		l.Action = imports.Create
	case primary == "true" && !at.primary:
		l.Change("primary")
	}
	return memberPlan{at, primary == "true"}
}
