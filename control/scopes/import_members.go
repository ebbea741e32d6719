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

var memberFiles = imports.Kind[memberPlan]{Name: "memberships", Columns: memberColumns, Apply: applyMembers,
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
	user, parent, membership int64 // membership 0: it is to be made
	primary                  bool  // it shall be the primary one
}

// memberPlace is what the directory has of a line: 0 where there is nothing.
type memberPlace struct {
	user, parent, membership int64
	erased, active, primary  bool
}

// findMembers reads what lines are about, in their order.
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
	rows, err := c.Tx.Query(ctx, `SELECT coalesce(u.id, 0), coalesce(o.id, 0), coalesce(m.id, 0), u.erased_at IS NOT NULL, o.kind = 'account' OR p.scope_id IS NOT NULL, x.membership_id IS NOT NULL
		FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS l(user_key, kind, key, n)
		LEFT JOIN users u ON u.account_id = $1 AND u.key = l.user_key
		LEFT JOIN scopes o ON o.account_id = $1 AND o.section_id = $2 AND o.kind = l.kind AND (o.key = l.key OR o.kind = 'account')
		LEFT JOIN scope_parents p ON p.account_id = $1 AND p.scope_id = o.id AND p.valid_to = 'infinity'
		LEFT JOIN LATERAL (SELECT s.id FROM scopes s JOIN scope_parents q ON q.account_id = $1 AND q.scope_id = s.id AND q.valid_to = 'infinity' AND q.parent_id = o.id
			WHERE s.account_id = $1 AND s.user_id = u.id AND s.kind = 'membership' AND s.section_id = $2) m ON true
		LEFT JOIN primary_memberships x ON x.account_id = $1 AND x.section_id = $2 AND x.user_id = u.id AND x.membership_id = m.id AND x.valid_to = 'infinity'
		ORDER BY l.n`, c.Account.ID, c.Section.ID, users, kinds, keys)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p memberPlace, err error) {
		var erased, active, primary *bool
		err = row.Scan(&p.user, &p.parent, &p.membership, &erased, &active, &primary)
		p.erased, p.active, p.primary = erased != nil && *erased, active != nil && *active, primary != nil && *primary
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
	return memberPlan{user: at.user, parent: at.parent, membership: at.membership, primary: primary == "true"}
}
