// Package provisionings shows how far the issuer is in step with an account's people, or with everything (control/provisioning).
//
// It owns the operations and nothing else: rows are made by what wants something, and brought about by the worker. A row is
// an account's organization, somebody's membership in it, or, for the platform alone, somebody himself. Where nothing is kept
// in step there are no rows.
//
// Failures: those of every operation.
package provisionings

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/jackc/pgx/v5"
)

// Provisioning is an object that is wanted at the issuer.
type Provisioning struct {
	ID        string     `json:"id" example:"prv_1"`
	Kind      string     `json:"kind" enum:"organization,user,membership" doc:"the account's organization there, somebody, or somebody's roles in the organization"`
	Account   string     `json:"account,omitempty" doc:"the account's id; absent of users, who are the platform's" example:"acc_1"`
	Subject   string     `json:"subject" doc:"the issuer's id of the organization or the user" example:"281744"`
	Email     string     `json:"email,omitempty" example:"grace@acme.example"`
	Roles     []string   `json:"roles,omitempty" doc:"that are wanted; none: they are to end"`
	State     string     `json:"state" enum:"pending,synced,failed" doc:"failed: it was refused several times, and is tried once an hour"`
	Reason    string     `json:"reason,omitempty" doc:"why it is not synced"`
	Attempts  int        `json:"attempts" doc:"that did not succeed, since somebody asked last"`
	NextAt    *time.Time `json:"next_at,omitempty" doc:"when it is tried again"`
	ChangedAt time.Time  `json:"changed_at"`

	number int64
}

const columns = `v.id, v.kind, coalesce(v.account_id, 0), v.subject, v.email, v.roles, v.state, v.reason, v.attempts, v.next_at, v.changed_at`

func scan(row pgx.CollectableRow) (p Provisioning, err error) {
	var account int64
	err = row.Scan(&p.number, &p.Kind, &account, &p.Subject, &p.Email, &p.Roles, &p.State, &p.Reason, &p.Attempts, &p.NextAt, &p.ChangedAt)
	p.ID = api.ProvisioningKind.ID(p.number)
	if account != 0 {
		p.Account = api.AccountKind.ID(account)
	}
	return p, err
}

const (
	tag      = "Provisioning"
	platform = "/v1/platform/provisioning"
	own      = "/v1/accounts/{account}/provisioning"
	acme     = "/v1/accounts/key:acme/provisioning"
	asSuper  = "super_admin"
	asAdmin  = "account_admin:acme"
)

// Register adds the operations.
func Register(a *api.API) {
	const again = "It is tried at once, with what it waits for, instead of when its time comes."
	api.List(a, api.Operation{Path: platform, ID: "listPlatformProvisioning", Summary: "How far the issuer is in step, in all accounts", Tag: tag, Permission: access.PlatformRead,
		Examples: []api.Example{{As: asSuper, Path: platform + "?state=failed"}}}, listAll)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: platform + "/{provisioning}/retry", ID: "retryPlatformProvisioning", Summary: "Try again at the issuer", Description: again, Tag: tag,
		Permission: access.PeopleManage, Examples: []api.Example{{As: asSuper, Path: platform + "/prv_1/retry", Status: http.StatusNotFound}}}, retryAny)
	api.List(a, api.Operation{Path: own, ID: "listProvisioning", Summary: "How far the issuer is in step with the account", Tag: tag, Permission: access.UsersRead,
		Examples: []api.Example{{As: asAdmin, Path: acme + "?state=failed"}}}, listOwn)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: own + "/{provisioning}/retry", ID: "retryProvisioning", Summary: "Try again at the issuer", Description: again, Tag: tag,
		Permission: access.UsersWrite, Examples: []api.Example{{As: asAdmin, Path: acme + "/prv_1/retry", Status: http.StatusNotFound}}}, retryOwn)
}

// Filter are what lists may be asked for.
type Filter struct {
	api.Page
	State string `query:"state" enum:"pending,synced,failed" doc:"only those in this state"`
	Kind  string `query:"kind" enum:"organization,user,membership" doc:"only those of this kind"`
	Q     string `query:"q" maxLength:"200" doc:"only those whose e-mail or subject has this in it, in any case"`
	Sort  string `query:"sort" enum:"changed_at,-changed_at" default:"-changed_at" doc:"the order; with - in front, from the end"`
}

func (f *Filter) query() (*api.Query[Provisioning], error) {
	q := &api.Query[Provisioning]{Select: columns, From: "provisioning v", ID: "v.id", Scan: scan}
	var err error
	if q.Sort, err = api.SortBy(f.Sort, map[string]api.Sort{"changed_at": {By: "v.changed_at", Type: "timestamptz"}}); err != nil {
		return nil, err
	}
	if f.State != "" {
		q.Filter("v.state = ?", f.State)
	}
	if f.Kind != "" {
		q.Filter("v.kind = ?", f.Kind)
	}
	q.Search(f.Q, "v.email", "v.subject")
	return q, nil
}

type listAllInput struct{ Filter }

func listAll(_ context.Context, _ *api.Call, in *listAllInput) (*api.Query[Provisioning], error) {
	return in.query()
}

type listOwnInput struct {
	api.AccountPath
	Filter
}

func listOwn(_ context.Context, c *api.Call, in *listOwnInput) (*api.Query[Provisioning], error) {
	q, err := in.query()
	if err == nil {
		q.Filter("v.account_id = ?", c.Account.ID)
	}
	return q, err
}

// Path is the object of a route.
type Path struct {
	Provisioning string `path:"provisioning" maxLength:"200" doc:"its id" example:"prv_1"`
}

type retryAnyInput struct {
	Path
	api.Idempotent
}

type retryOwnInput struct {
	api.AccountPath
	Path
	api.Idempotent
}

func retryAny(ctx context.Context, c *api.Call, in *retryAnyInput) (*struct{ Body Provisioning }, error) {
	return retry(ctx, c, in.Provisioning, 0)
}

func retryOwn(ctx context.Context, c *api.Call, in *retryOwnInput) (*struct{ Body Provisioning }, error) {
	return retry(ctx, c, in.Provisioning, c.Account.ID)
}

func retry(ctx context.Context, c *api.Call, text string, account int64) (*struct{ Body Provisioning }, error) {
	id := api.ProvisioningKind.Ref(text).ID
	before, err := load(ctx, c.Tx, id, account)
	if err != nil {
		return nil, err
	}
	if err := provisioning.Retry(ctx, c.Tx, id, account); errors.Is(err, provisioning.ErrAbsent) {
		return nil, api.NotFound(api.ProvisioningKind)
	} else if err != nil {
		return nil, err
	}
	after, err := load(ctx, c.Tx, id, account)
	if err != nil {
		return nil, err
	}
	name := after.Email
	if name == "" {
		name = after.Subject
	}
	return &struct{ Body Provisioning }{after}, c.Record(ctx, api.Change{Action: "provisioning.retried",
		Object: audit.Object{Kind: api.ProvisioningKind.Name, ID: after.ID, Name: name}, Before: before, After: after})
}

func load(ctx context.Context, tx pgx.Tx, id, account int64) (Provisioning, error) {
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM provisioning v WHERE v.id = $1 AND ($2::bigint = 0 OR v.account_id = $2)`, id, account)
	return api.One(api.ProvisioningKind, rows, err, scan)
}
