package invites

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"
)

const (
	tag       = "Invites"
	asSuper   = "super_admin"
	asAdmin   = "account_admin:acme"
	inSection = "section_admin:acme/copilot"
	platform  = "/v1/platform/accounts/{id}/invites"
	own       = "/v1/accounts/{account}/invites"
	ofSection = "/v1/accounts/{account}/sections/{section}/invites"
	ofAcme    = "/v1/accounts/key:acme/invites"
	ofCopilot = "/v1/accounts/key:acme/sections/key:copilot/invites"
)

// Register adds the operations, and the page.
func Register(a *api.API) {
	registerPlatform(a)
	registerOwn(a)
	registerSection(a)
	registerAccepting(a)
	registerPage(a)
	a.Beside((&settling{a}).run)
}

// RoleInvite is an invite to a role.
type RoleInvite struct {
	Email string `json:"email" minLength:"3" maxLength:"320" format:"email"`
	Name  string `json:"name,omitempty" maxLength:"200" doc:"of whom it is for, if known"`
	Role  string `json:"role" enum:"account_admin,account_viewer,section_admin"`
	Delivery
}

// draft is the invite to the role, in an account and, of a section_admin, a section.
func (r *RoleInvite) draft(account, section int64) *draft {
	return &draft{account: account, role: r.Role, section: section, email: text(r.Email), name: text(r.Name), Delivery: r.Delivery}
}

func text(s string) string { return norm.NFC.String(strings.TrimSpace(s)) }

func registerPlatform(a *api.API) {
	api.Write(a, api.Operation{Method: http.MethodPost, Path: platform, ID: "inviteFirstAdmin", Summary: "Invite an account's admin, for the platform", Tag: tag,
		Permission: access.AccountsManage, Status: http.StatusCreated, Description: "So that a new account gets somebody who invites the others.",
		Examples: []api.Example{{As: asSuper, Path: "/v1/platform/accounts/key:initech/invites", Body: `{"email":"peter@initech.example","name":"Peter Gibbons"}`}}}, inviteFirst)
}

type inviteFirstInput struct {
	ID string `path:"id" maxLength:"200" doc:"the account's id, or key: and its key" example:"key:acme"`
	api.Idempotent
	Body struct {
		Email string `json:"email" minLength:"3" maxLength:"320" format:"email"`
		Name  string `json:"name,omitempty" maxLength:"200" doc:"of whom it is for, if known"`
		Delivery
	}
}

func inviteFirst(ctx context.Context, c *api.Call, in *inviteFirstInput) (*sent, error) {
	ref := api.AccountKind.Ref(in.ID)
	rows, err := c.Tx.Query(ctx, `SELECT account_id FROM accounts WHERE (account_id = $1 OR key = $2) AND state <> 'erased'`, ref.ID, ref.Key)
	account, err := api.One(api.AccountKind, rows, err, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	role := RoleInvite{Email: in.Body.Email, Name: in.Body.Name, Role: string(access.AccountAdmin), Delivery: in.Body.Delivery}
	return role.draft(account, 0).send(ctx, c)
}

func registerOwn(a *api.API) {
	api.List(a, api.Operation{Path: own, ID: "listInvites", Summary: "An account's invites", Tag: tag, Permission: access.AssignmentsRead,
		Examples: []api.Example{{As: asAdmin, Path: ofAcme + "?state=pending&role=account_viewer"}}}, listOwn)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: own, ID: "inviteToRole", Summary: "Invite somebody to a role", Tag: tag, Permission: access.AssignmentsWrite, Status: http.StatusCreated,
		Description: "Whoever accepts gets the assignment. One to the same that is pending is sent again. An account_admin is that only where the issuer says so too: where the cockpit provisions the issuer, it sees to it.",
		Examples: []api.Example{{As: asAdmin, Path: ofAcme, Body: `{"email":"barbara@acme.example","name":"Barbara Liskov","role":"section_admin","section":"key:copilot"}`},
			{As: asAdmin, Path: ofAcme, Body: `{"email":"barbara@acme.example","role":"section_admin"}`, Status: http.StatusUnprocessableEntity}}}, inviteToRole)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: own + "/{invite}", ID: "getInvite", Summary: "An invite", Tag: tag, Permission: access.AssignmentsRead,
		Examples: []api.Example{{As: asAdmin, Path: ofAcme + "/{id}", Make: "inviteToRole"}}},
		func(ctx context.Context, c *api.Call, in *oneInput) (*struct{ Body Invite }, error) {
			return get(ctx, c, in.Invite)
		})
	api.Write(a, api.Operation{Method: http.MethodPost, Path: own + "/{invite}/resend", ID: "resendInvite", Summary: "Send an invite again", Tag: tag, Permission: access.AssignmentsWrite,
		Description: resendDescription, Examples: []api.Example{{As: asAdmin, Path: ofAcme + "/{id}/resend", Make: "inviteToRole", Body: `{"expires_in_days":14}`}}},
		func(ctx context.Context, c *api.Call, in *resendInput) (*sent, error) {
			return resend(ctx, c, in.Invite, in.Body.Days)
		})
	api.Write(a, api.Operation{Method: http.MethodPost, Path: own + "/{invite}/revoke", ID: "revokeInvite", Summary: "Revoke an invite", Tag: tag, Permission: access.AssignmentsWrite,
		Examples: []api.Example{{As: asAdmin, Path: ofAcme + "/{id}/revoke", Make: "inviteToRole"}}},
		func(ctx context.Context, c *api.Call, in *revokeInput) (*struct{ Body Invite }, error) {
			return end(ctx, c, in.Invite)
		})
}

const resendDescription = "Also one that expired. The link before opens nothing from now on."

func registerSection(a *api.API) {
	api.List(a, api.Operation{Path: ofSection, ID: "listSectionInvites", Summary: "A section's invites of end users", Tag: tag, Permission: access.DirectoryRead,
		Examples: []api.Example{{As: inSection, Path: ofCopilot + "?state=expired"}}}, listSection)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: ofSection, ID: "inviteUser", Summary: "Invite a user of the section to sign in", Tag: tag, Permission: access.DirectoryWrite,
		Status: http.StatusCreated, Description: "A user with an e-mail and a place in the section. Whoever accepts is the person of that user from then on. One to him that is pending is sent again.",
		Examples: []api.Example{{As: inSection, Path: ofCopilot, Body: `{"user":"key:u-1"}`}, {As: inSection, Path: ofCopilot, Body: `{"user":"key:nobody"}`, Status: http.StatusUnprocessableEntity}}}, inviteUser)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: ofSection + "/{invite}", ID: "getSectionInvite", Summary: "An invite of an end user", Tag: tag, Permission: access.DirectoryRead,
		Examples: []api.Example{{As: inSection, Path: ofCopilot + "/{id}", Make: "inviteUser"}}},
		func(ctx context.Context, c *api.Call, in *oneSectionInput) (*struct{ Body Invite }, error) {
			return get(ctx, c, in.Invite)
		})
	api.Write(a, api.Operation{Method: http.MethodPost, Path: ofSection + "/{invite}/resend", ID: "resendSectionInvite", Summary: "Send an end user's invite again", Tag: tag,
		Permission: access.DirectoryWrite, Description: resendDescription, Examples: []api.Example{{As: inSection, Path: ofCopilot + "/{id}/resend", Make: "inviteUser", Body: `{}`}}},
		func(ctx context.Context, c *api.Call, in *resendSectionInput) (*sent, error) {
			return resend(ctx, c, in.Invite, in.Body.Days)
		})
	api.Write(a, api.Operation{Method: http.MethodPost, Path: ofSection + "/{invite}/revoke", ID: "revokeSectionInvite", Summary: "Revoke an end user's invite", Tag: tag, Permission: access.DirectoryWrite,
		Examples: []api.Example{{As: inSection, Path: ofCopilot + "/{id}/revoke", Make: "inviteUser"}}},
		func(ctx context.Context, c *api.Call, in *revokeSectionInput) (*struct{ Body Invite }, error) {
			return end(ctx, c, in.Invite)
		})
}

// Filters are those of both lists, and of jobs.
type Filters struct {
	State    string    `query:"state" json:"state,omitempty" enum:"pending,accepted,revoked,expired" doc:"only those in this state"`
	Delivery string    `query:"delivery" json:"delivery,omitempty" enum:"link,mail" doc:"only those that went out so"`
	Q        string    `query:"q" json:"q,omitempty" maxLength:"200" doc:"only those whose e-mail, name or user's key has this in it, in any case"`
	SentFrom time.Time `query:"sent_from" json:"sent_from,omitzero" doc:"only those sent at this time or later"`
	SentTo   time.Time `query:"sent_to" json:"sent_to,omitzero" doc:"only those sent before this time"`
}

// Order is that of both lists.
type Order struct {
	Sort string `query:"sort" enum:"sent_at,-sent_at,expires_at,-expires_at,email,-email" default:"-sent_at" doc:"the order; with - in front, from the end"`
}

func (o Order) of(q *api.Query[Invite]) (err error) {
	q.Sort, err = api.SortBy(o.Sort, map[string]api.Sort{"sent_at": {By: "i.sent_at", Type: "timestamptz"}, "expires_at": {By: "i.expires_at", Type: "timestamptz"},
		"email": {By: "i.email", Type: "text"}})
	return err
}

// query is the list of the invites that the filters select, without an order.
func (f *Filters) query(c *api.Call) *api.Query[Invite] {
	q := &api.Query[Invite]{Select: columns, From: tables, ID: "i.id", Scan: scan(c.Now)}
	q.Filter("i.account_id = ?", c.Account.ID)
	if f.State != "" {
		q.Filter(stateOf+" = ?", c.Now, f.State)
	}
	if f.Delivery != "" {
		q.Filter("i.delivery = ?", f.Delivery)
	}
	if !f.SentFrom.IsZero() {
		q.Filter("i.sent_at >= ?", f.SentFrom)
	}
	if !f.SentTo.IsZero() {
		q.Filter("i.sent_at < ?", f.SentTo)
	}
	q.Search(f.Q, "i.email", "i.name", "coalesce(u.key, '')")
	return q
}

type listOwnInput struct {
	api.AccountPath
	api.Page
	Filters
	Order
	Role    string `query:"role" enum:"account_admin,account_viewer,section_admin,end_user" doc:"only those to this role"`
	Section string `query:"section" maxLength:"200" doc:"only those of this section: its id, or key: and its key"`
}

func listOwn(_ context.Context, c *api.Call, in *listOwnInput) (*api.Query[Invite], error) {
	q := in.query(c)
	if in.Role != "" {
		q.Filter("i.role = ?", in.Role)
	}
	if in.Section != "" {
		ref := api.SectionKind.Ref(in.Section)
		q.Filter("s.id = ? OR s.key = ?", ref.ID, ref.Key)
	}
	return q, in.of(q)
}

type listSectionInput struct {
	api.SectionPath
	api.Page
	Filters
	Order
}

func listSection(_ context.Context, c *api.Call, in *listSectionInput) (*api.Query[Invite], error) {
	q := in.ofSection(c)
	return q, in.of(q)
}

// ofSection is query for the end users of the call's section.
func (f *Filters) ofSection(c *api.Call) *api.Query[Invite] {
	q := f.query(c)
	q.Filter("i.section_id = ? AND i.role = 'end_user'", c.Section.ID)
	return q
}

type inviteToRoleInput struct {
	api.AccountPath
	api.Idempotent
	Body struct {
		RoleInvite
		Section string `json:"section,omitempty" maxLength:"200" doc:"of a section_admin: the section's id, or key: and its key"`
	}
}

func inviteToRole(ctx context.Context, c *api.Call, in *inviteToRoleInput) (*sent, error) {
	if (in.Body.Section != "") != (in.Body.Role == string(access.SectionAdmin)) {
		return nil, api.Invalid("body.section", "a section_admin is of a section, and nobody else is")
	}
	section, err := c.FindSection(ctx, "body.section", in.Body.Section)
	if err != nil {
		return nil, err
	}
	return in.Body.draft(c.Account.ID, section).send(ctx, c)
}

type inviteUserInput struct {
	api.SectionPath
	api.Idempotent
	Body struct {
		User string `json:"user" maxLength:"200" doc:"the user's id, or key: and his key"`
		Delivery
	}
}

func inviteUser(ctx context.Context, c *api.Call, in *inviteUserInput) (*sent, error) {
	d, err := ofUser(ctx, c, api.UserKind.Ref(in.Body.User))
	if err != nil {
		return nil, err
	}
	d.Delivery = in.Body.Delivery
	return d.send(ctx, c)
}

// InvitePath is the invite of a route.
type InvitePath struct {
	Invite string `path:"invite" maxLength:"200" doc:"the invite's id" example:"inv_1"`
}

type oneInput struct {
	api.AccountPath
	InvitePath
}

type oneSectionInput struct {
	api.SectionPath
	InvitePath
}

// Again is what an invite is sent again with.
type Again struct {
	Days int `json:"expires_in_days,omitempty" minimum:"1" maximum:"30" default:"7" doc:"how long it can be accepted from now on"`
}

type resendInput struct {
	api.AccountPath
	InvitePath
	api.Idempotent
	Body Again
}

type resendSectionInput struct {
	api.SectionPath
	InvitePath
	api.Idempotent
	Body Again
}

type revokeInput struct {
	api.AccountPath
	InvitePath
	api.Idempotent
}

type revokeSectionInput struct {
	api.SectionPath
	InvitePath
	api.Idempotent
}

// find loads an invite of the call's account, or section.
func find(ctx context.Context, c *api.Call, invite string, lock bool) (*Invite, error) {
	section := int64(0)
	if c.Section != nil {
		section = c.Section.ID
	}
	return load(ctx, c, c.Account.ID, section, api.InviteKind.Ref(invite).ID, lock)
}

func get(ctx context.Context, c *api.Call, invite string) (*struct{ Body Invite }, error) {
	i, err := find(ctx, c, invite, false)
	return &struct{ Body Invite }{*i}, err
}

func resend(ctx context.Context, c *api.Call, invite string, days int) (*sent, error) {
	i, err := find(ctx, c, invite, true)
	if err != nil {
		return nil, err
	}
	return i.sendAgain(ctx, c, days)
}

func end(ctx context.Context, c *api.Call, invite string) (*struct{ Body Invite }, error) {
	i, err := find(ctx, c, invite, true)
	if err != nil {
		return nil, err
	}
	return revoke(ctx, c, i)
}
