package scopes

import (
	"context"
	"errors"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

const (
	membershipPath   = sectionPath + "/memberships"
	membershipsThere = ofAcme + "/memberships"
)

func registerMemberships(a *api.API) {
	const tag, makes, one, made = "Memberships", "createMembership", membershipPath + "/{membership}", membershipsThere + "/{id}"
	const sectionAdmin = "section_admin:acme/copilot"
	api.List(a, api.Operation{Path: membershipPath, ID: "listMemberships", Summary: "Who is a member of what, now", Tag: tag, Permission: access.DirectoryRead,
		Examples: []api.Example{{As: sectionAdmin, Path: membershipsThere + "?user=key:u-1"}, {As: "account_viewer:acme", Path: membershipsThere + "?team=key:support"}}}, listMemberships)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: membershipPath, ID: makes, Summary: "Make a user a member of a team, an organization or the account", Tag: tag,
		Permission: access.DirectoryWrite, Status: http.StatusCreated,
		Description: "Of the account where neither team nor organization is named. A user's first in the section is his primary one. One that he has already is answered as it is.",
		Examples: []api.Example{{As: asAdmin, Path: membershipsThere, Body: `{"user":"key:u-3"}`},
			{As: sectionAdmin, Path: membershipsThere, Body: `{"user":"key:u-3","team":"key:support","primary":true}`}}}, createMembership)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: one, ID: "getMembership", Summary: "A membership that lasts", Tag: tag, Permission: access.DirectoryRead,
		Examples: []api.Example{{As: asAdmin, Path: made, Make: makes}}}, getMembership)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: one + "/make-primary", ID: "makeMembershipPrimary", Summary: "Make a membership the user's primary one", Tag: tag,
		Permission: access.DirectoryWrite, Description: "From now on usage of his that names no team is charged along it.",
		Examples: []api.Example{{As: asAdmin, Path: made + "/make-primary", Make: makes}}}, makePrimary)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: one + "/move", ID: "moveMembership", Summary: "Move a user from one team to another", Tag: tag,
		Permission: access.DirectoryWrite, Description: "The membership ends, with what was set aside for it, and another begins at once: the primary one, if that was. " +
			"What was charged to the old one stays, and late usage of before is still charged to it.",
		Examples: []api.Example{{As: asAdmin, Path: made + "/move", Make: makes, Body: `{"team":"key:sales"}`}}}, moveMembership)
	api.Write(a, api.Operation{Method: http.MethodDelete, Path: one, ID: "endMembership", Summary: "End a membership", Tag: tag, Permission: access.DirectoryWrite,
		Description: "If it was the user's primary one, his oldest other one is that from now on.",
		Examples:    []api.Example{{As: asAdmin, Path: made, Make: makes}}}, endMembership)
}

// MembershipFilter says which memberships: of a list, or of a job.
type MembershipFilter struct {
	User         string `query:"user" json:"user,omitempty" maxLength:"300" doc:"only his: the user's id, or key: and his key"`
	Team         string `query:"team" json:"team,omitempty" maxLength:"300" doc:"only those of this team: its id, or key: and its key"`
	Organization string `query:"organization" json:"organization,omitempty" maxLength:"300" doc:"only those right below this organization: its id, or key: and its key"`
	Top          bool   `query:"top" json:"top,omitempty" doc:"only those right below the account"`
	Primary      bool   `query:"primary" json:"primary,omitempty" doc:"only primary ones"`
	Q            string `query:"q" json:"q,omitempty" maxLength:"200" doc:"only those of users whose key, name or e-mail has this in it, in any case"`
	api.Created
}

type listMembershipsInput struct {
	api.SectionPath
	api.Page
	MembershipFilter
}

func listMemberships(_ context.Context, c *api.Call, in *listMembershipsInput) (*api.Query[Membership], error) {
	return in.query(c), nil
}

// query is the list of the memberships that the filter selects.
func (f *MembershipFilter) query(c *api.Call) *api.Query[Membership] {
	q := &api.Query[Membership]{Select: membershipColumns, From: membershipTables, ID: "s.id", Sort: api.Sort{By: "s.id", Type: "bigint"}, Scan: scanMembership,
		Where: []string{membershipOf}, Args: []any{c.Account.ID, c.Section.ID}}
	if f.User != "" {
		ref := api.UserKind.Ref(f.User)
		q.Filter("s.user_id = (SELECT x.id FROM users x WHERE x.account_id = ? AND (x.id = ? OR x.key = ?))", c.Account.ID, ref.ID, ref.Key)
	}
	for kind, named := range map[api.Kind]string{api.TeamKind: f.Team, api.OrganizationKind: f.Organization} {
		if named != "" {
			ref := kind.Ref(named)
			q.Filter("p.parent_id = (SELECT x.id FROM scopes x WHERE x.account_id = ? AND x.section_id = ? AND x.kind = ? AND (x.id = ? OR x.key = ?))",
				c.Account.ID, c.Section.ID, kind.Name, ref.ID, ref.Key)
		}
	}
	if f.Q != "" {
		q.Filter("u.search LIKE ?", api.Like(f.Q))
	}
	api.FilterCreated(q, "p.valid_from", f.Created)
	if f.Top {
		q.Filter("o.kind = 'account'")
	}
	if f.Primary {
		q.Filter("m.membership_id IS NOT NULL")
	}
	return q
}

// Below is what a membership shall be of, as bodies name it.
type Below struct {
	Team         string `json:"team,omitempty" maxLength:"300" doc:"its id, or key: and its key"`
	Organization string `json:"organization,omitempty" maxLength:"300" doc:"its id, or key: and its key; without it and a team: the account"`
}

// scope is the one that is named.
func (b Below) scope(ctx context.Context, c *api.Call) (int64, error) {
	if b.Team != "" && b.Organization != "" {
		return 0, api.Invalid("body.organization", "a membership is of a team or of an organization")
	}
	if b.Team != "" {
		return parent(ctx, c, api.TeamKind, b.Team)
	}
	return parent(ctx, c, api.OrganizationKind, b.Organization)
}

type newMembership struct {
	User string `json:"user" maxLength:"300" doc:"the user's id, or key: and his key"`
	Below
	Primary bool `json:"primary,omitempty" doc:"his primary one from now on"`
}

type createMembershipInput struct {
	api.SectionPath
	api.Idempotent
	Body newMembership
}

// member is the user whom a body names.
func member(ctx context.Context, c *api.Call, named string) (id int64, err error) {
	ref := api.UserKind.Ref(named)
	var erased bool
	err = c.Tx.QueryRow(ctx, `SELECT id, erased_at IS NOT NULL FROM users WHERE account_id = $1 AND (id = $2 OR key = $3)`, c.Account.ID, ref.ID, ref.Key).Scan(&id, &erased)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, api.Invalid("body.user", "there is no such user")
	}
	if err == nil && erased {
		err = api.Conflict("user_erased", "The user is erased: nothing of him can be changed any more.")
	}
	return id, err
}

func createMembership(ctx context.Context, c *api.Call, in *createMembershipInput) (*struct{ Body Membership }, error) {
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	user, err := member(ctx, c, in.Body.User)
	if err != nil {
		return nil, err
	}
	below, err := in.Body.scope(ctx, c)
	if err != nil {
		return nil, err
	}
	id, err := joined(ctx, c, user, below)
	if err != nil {
		return nil, err
	}
	var before *Membership
	if id == 0 {
		id, err = join(ctx, c, user, below)
	} else {
		before, err = loadMembership(ctx, c, id)
	}
	if err != nil {
		return nil, err
	}
	has, err := hasPrimary(ctx, c, user)
	if err != nil {
		return nil, err
	}
	if !has || in.Body.Primary && (before == nil || !before.Primary) {
		if err := setPrimary(ctx, c, user, id); err != nil {
			return nil, err
		}
	}
	m, err := loadMembership(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Membership }{*m}, record(ctx, c, "created", before, m)
}

// MembershipPath is the membership of a path.
type MembershipPath struct {
	api.SectionPath
	Membership string `path:"membership" maxLength:"200" doc:"the membership's id" example:"mem_1"`
}

func getMembership(ctx context.Context, c *api.Call, in *MembershipPath) (*struct{ Body Membership }, error) {
	m, err := loadMembership(ctx, c, api.MembershipKind.Ref(in.Membership).ID)
	return &struct{ Body Membership }{*m}, err
}

// membershipForChange is the membership of a path, in a directory that nobody else changes until the commit.
func membershipForChange(ctx context.Context, c *api.Call, in MembershipPath) (*Membership, error) {
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	return loadMembership(ctx, c, api.MembershipKind.Ref(in.Membership).ID)
}

type changeMembershipInput struct {
	MembershipPath
	api.Idempotent
}

func makePrimary(ctx context.Context, c *api.Call, in *changeMembershipInput) (*struct{ Body Membership }, error) {
	m, err := membershipForChange(ctx, c, in.MembershipPath)
	if err != nil {
		return nil, err
	}
	before := *m
	if !m.Primary {
		if err := setPrimary(ctx, c, m.user, m.number); err != nil {
			return nil, err
		}
		m.Primary = true
	}
	return &struct{ Body Membership }{*m}, record(ctx, c, "made_primary", &before, m)
}

type moveMembershipInput struct {
	MembershipPath
	api.Idempotent
	Body Below
}

func moveMembership(ctx context.Context, c *api.Call, in *moveMembershipInput) (*struct{ Body Membership }, error) {
	m, err := membershipForChange(ctx, c, in.MembershipPath)
	if err != nil {
		return nil, err
	}
	below, err := in.Body.scope(ctx, c)
	if err != nil {
		return nil, err
	}
	moved, err := m.moveTo(ctx, c, below)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Membership }{*moved}, nil
}

// moveTo ends a membership and begins another below a scope at once, the primary one if that was, and puts it on record.
func (m *Membership) moveTo(ctx context.Context, c *api.Call, below int64) (*Membership, error) {
	there, err := joined(ctx, c, m.user, below)
	if err != nil {
		return nil, err
	}
	if there != 0 {
		return nil, api.Conflict("already_member", "The user is a member there already.")
	}
	if _, err := link(ctx, c, m.number, 0); err != nil {
		return nil, err
	}
	id, err := join(ctx, c, m.user, below)
	if err != nil {
		return nil, err
	}
	if m.Primary {
		if err := setPrimary(ctx, c, m.user, id); err != nil {
			return nil, err
		}
	}
	moved, err := loadMembership(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return moved, record(ctx, c, "moved", m, moved)
}

func endMembership(ctx context.Context, c *api.Call, in *changeMembershipInput) (*struct{ Body Membership }, error) {
	m, err := membershipForChange(ctx, c, in.MembershipPath)
	if err != nil {
		return nil, err
	}
	before := *m
	at, err := link(ctx, c, m.number, 0)
	if err != nil {
		return nil, err
	}
	m.To = &at
	if m.Primary {
		next, err := other(ctx, c, m.user)
		if err != nil {
			return nil, err
		}
		if err := setPrimary(ctx, c, m.user, next); err != nil {
			return nil, err
		}
		m.Primary = false
	}
	return &struct{ Body Membership }{*m}, record(ctx, c, "ended", &before, m)
}
