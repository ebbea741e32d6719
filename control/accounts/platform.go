package accounts

import (
	"context"
	"net/http"
	"slices"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/metering/directory"
)

const (
	tag       = "Accounts"
	asSuper   = "super_admin"
	asAdmin   = "account_admin:acme"
	platform  = "/v1/platform/accounts"
	onePath   = platform + "/{id}"
	wholePath = "/v1/accounts/{account}"
)

// Register adds the operations.
func Register(a *api.API) {
	registerPlatform(a)
	registerOwn(a)
	registerSections(a)
	registerFactors(a)
	registerElevations(a)
}

// IDPath is the account of a platform's route.
type IDPath struct {
	ID string `path:"id" maxLength:"200" doc:"the account's id, or key: and its key" example:"key:acme"`
}

func registerPlatform(a *api.API) {
	api.List(a, api.Operation{Path: platform, ID: "listAccounts", Summary: "All accounts", Tag: tag, Permission: access.PlatformRead,
		Examples: []api.Example{{As: asSuper, Path: platform + "?state=active&sort=name"}}}, list)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: platform, ID: "createAccount", Summary: "Create an account", Tag: tag, Permission: access.AccountsManage,
		Status: http.StatusCreated, Examples: []api.Example{{As: asSuper, Path: platform, Body: `{"key":"initrode","name":"Initrode","time_zone":"Europe/Paris"}`}}}, create)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: onePath, ID: "getPlatformAccount", Summary: "One account, for the platform", Tag: tag, Permission: access.PlatformRead,
		Examples: []api.Example{{As: asSuper, Path: platform + "/key:acme"}}}, get)
	api.Write(a, api.Operation{Method: http.MethodPatch, Path: onePath, ID: "updatePlatformAccount", Summary: "Change an account's limits, organization, name or time zone", Tag: tag,
		Permission: access.AccountsManage, Errors: []int{http.StatusPreconditionRequired},
		Examples: []api.Example{{As: asSuper, Path: platform + "/key:acme", Header: map[string]string{"If-Match": "*"}, Body: `{"limits":{"users":500}}`}}}, update)
	for _, m := range moves {
		api.Write(a, api.Operation{Method: http.MethodPost, Path: onePath + "/" + m.verb, ID: m.verb + "Account", Summary: m.summary, Description: m.description, Tag: tag,
			Permission: access.AccountsManage, Examples: []api.Example{{As: asSuper, Path: platform + "/key:" + m.example + "/" + m.verb, Body: `{"reason":"as agreed by mail"}`}}}, m.do)
	}
}

// Filter says which accounts: of a list, or of a job.
type Filter struct {
	State  string `query:"state" json:"state,omitempty" enum:"active,suspended,closed,erased" doc:"only those in this state"`
	Region string `query:"region" json:"region,omitempty" maxLength:"64" doc:"only those of this region"`
	Q      string `query:"q" json:"q,omitempty" maxLength:"200" doc:"only those whose key or name has this in it, in any case"`
}

type listInput struct {
	api.Page
	Filter
	Sort string `query:"sort" enum:"key,-key,name,-name,created_at,-created_at" default:"key" doc:"the order; with - in front, from the end"`
}

func list(_ context.Context, _ *api.Call, in *listInput) (q *api.Query[Account], err error) {
	q = in.query()
	q.Sort, err = api.SortBy(in.Sort, map[string]api.Sort{"key": {By: "a.key", Type: "text"}, "name": {By: "a.name", Type: "text"},
		"created_at": {By: "a.created_at", Type: "timestamptz"}})
	return q, err
}

// query is the list of the accounts that the filter selects, without an order.
func (f *Filter) query() *api.Query[Account] {
	q := &api.Query[Account]{Select: columns, From: "accounts a", ID: "a.account_id", Scan: scan}
	if f.State != "" {
		q.Filter("a.state = ?", f.State)
	}
	if f.Region != "" {
		q.Filter("a.region = ?", f.Region)
	}
	q.Search(f.Q, "a.key", "a.name")
	return q
}

type newAccount struct {
	Key                string      `json:"key" minLength:"1" maxLength:"128" pattern:"^[a-z0-9][a-z0-9._-]*$" patternDescription:"small letters, digits, dots, dashes and underscores" doc:"what products name it by; never changes"`
	Name               string      `json:"name" minLength:"1" maxLength:"200"`
	TimeZone           string      `json:"time_zone" maxLength:"64" doc:"an IANA name" example:"Europe/Berlin"`
	Region             string      `json:"region,omitempty" maxLength:"64" pattern:"^[a-z0-9-]+$" default:"default" doc:"never changes"`
	IssuerOrganization string      `json:"issuer_organization,omitempty" maxLength:"200"`
	Limits             *api.Limits `json:"limits,omitempty"`
}

type createInput struct {
	api.Idempotent
	Body newAccount
}

func create(ctx context.Context, c *api.Call, in *createInput) (*api.Answer[Account], error) {
	if err := zone(in.Body.TimeZone); err != nil {
		return nil, err
	}
	if in.Body.Limits == nil {
		in.Body.Limits = &api.Limits{}
	}
	version, err := directory.Raise(ctx, c.Tx)
	if err != nil {
		return nil, err
	}
	rows, err := c.Tx.Query(ctx, `INSERT INTO accounts AS a (key, name, time_zone, region, issuer_organization, limits, version, created_at)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6, $7, $8) RETURNING `+columns,
		in.Body.Key, in.Body.Name, in.Body.TimeZone, in.Body.Region, in.Body.IssuerOrganization, in.Body.Limits, version, c.Now)
	a, err := api.One(api.AccountKind, rows, err, scan)
	if err != nil {
		return nil, conflict(err)
	}
	if err := a.inStep(ctx, c.Tx); err != nil {
		return nil, err
	}
	return a.answer(), c.Record(ctx, api.Change{Account: a.number, Action: "account.created", Object: a.object(), After: a})
}

type getInput struct {
	IDPath
	api.IfNoneMatch
}

func get(ctx context.Context, c *api.Call, in *getInput) (*api.Answer[Account], error) {
	a, err := load(ctx, c.Tx, api.AccountKind.Ref(in.ID))
	if err != nil {
		return nil, err
	}
	return a.answer(), nil
}

type platformChange struct {
	Name               *string     `json:"name,omitempty" minLength:"1" maxLength:"200"`
	TimeZone           *string     `json:"time_zone,omitempty" maxLength:"64"`
	IssuerOrganization *string     `json:"issuer_organization,omitempty" maxLength:"200" doc:"empty: none"`
	Limits             *api.Limits `json:"limits,omitempty" doc:"all of them: one that is left out is no limit"`
	InviteDomains      *[]string   `json:"invite_domains,omitempty" maxItems:"100" doc:"e-mails of which domains it invites; none: of all"`
}

type updateInput struct {
	IDPath
	api.Idempotent
	api.IfMatch
	Body platformChange
}

func update(ctx context.Context, c *api.Call, in *updateInput) (*api.Answer[Account], error) {
	a, err := loadForChange(ctx, c.Tx, api.AccountKind.Ref(in.ID))
	if err != nil {
		return nil, err
	}
	return change(ctx, c, a, in.IfMatch, in.Body)
}

// change applies what is given.
func change(ctx context.Context, c *api.Call, a *Account, match api.IfMatch, body platformChange) (*api.Answer[Account], error) {
	if err := match.Check(a.revision, a, body); err != nil {
		return nil, err
	}
	before := *a
	if body.Name != nil {
		a.Name = *body.Name
	}
	if body.TimeZone != nil {
		if err := zone(*body.TimeZone); err != nil {
			return nil, err
		}
		a.TimeZone = *body.TimeZone
	}
	if body.IssuerOrganization != nil {
		a.IssuerOrganization = *body.IssuerOrganization
	}
	if body.Limits != nil {
		a.Limits = *body.Limits
	}
	if body.InviteDomains != nil {
		var err error
		if a.InviteDomains, err = domains(*body.InviteDomains); err != nil {
			return nil, err
		}
	}
	if err := a.save(ctx, c.Tx); err != nil {
		return nil, err
	}
	if a.Name != before.Name || a.IssuerOrganization != before.IssuerOrganization {
		if err := a.inStep(ctx, c.Tx); err != nil {
			return nil, err
		}
	}
	return a.answer(), c.Record(ctx, api.Change{Account: a.number, Action: "account.updated", Object: a.object(), Before: before, After: a})
}

// move is a change of state.
type move struct {
	verb, summary, description string
	example                    string // the key of an account of the demo that it can be done to
	from                       []string
	to                         string
	action                     string
	apply                      func(*api.Call, *Account, string)
}

var moves = []move{
	{"suspend", "Suspend an account", "authorize denies its users; what is still used is charged, and flagged. Its people can read.", "initech", []string{"active"}, "suspended", "account.suspended",
		func(_ *api.Call, a *Account, reason string) { a.SuspendedReason = reason }},
	{"reactivate", "Make a suspended account active again", "Also one that was closed, until it is erased.", "umbrella", []string{"suspended", "closed"}, "active", "account.reactivated",
		func(_ *api.Call, a *Account, _ string) { a.SuspendedReason, a.ClosesAt = "", nil }},
	{"close", "Close an account", "It can be opened again for 30 days. Then directory, ledger, usage and audit log are exported, and erased.", "initech", []string{"active", "suspended"}, "closed", "account.closed",
		func(c *api.Call, a *Account, reason string) {
			at := c.Now.Add(closedFor).UTC()
			a.SuspendedReason, a.ClosesAt = reason, &at
		}},
}

type moveInput struct {
	IDPath
	api.Idempotent
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"for the audit log, and for the account's admins"`
	}
}

func (m move) do(ctx context.Context, c *api.Call, in *moveInput) (*api.Answer[Account], error) {
	a, err := loadForChange(ctx, c.Tx, api.AccountKind.Ref(in.ID))
	if err != nil {
		return nil, err
	}
	if err := m.move(ctx, c, a, in.Body.Reason); err != nil {
		return nil, err
	}
	return a.answer(), nil
}

// move changes the state of an account that was loaded for change, and puts it on record.
func (m move) move(ctx context.Context, c *api.Call, a *Account, reason string) error {
	if !slices.Contains(m.from, a.State) {
		return api.Conflict("account_"+a.State, "The account is "+a.State+".")
	}
	before := *a
	a.State = m.to
	m.apply(c, a, reason)
	if err := a.save(ctx, c.Tx); err != nil {
		return err
	}
	if err := a.inStep(ctx, c.Tx); err != nil {
		return err
	}
	return c.Record(ctx, api.Change{Account: a.number, Action: m.action, Object: a.object(), Before: before, After: a, Reason: reason})
}
