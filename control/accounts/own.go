package accounts

import (
	"context"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
)

func registerOwn(a *api.API) {
	api.Read(a, api.Operation{Method: http.MethodGet, Path: wholePath, ID: "getAccount", Summary: "An account", Tag: tag, Permission: access.AccountRead,
		Examples: []api.Example{{As: asAdmin, Path: "/v1/accounts/key:acme"}}}, getOwn)
	api.Write(a, api.Operation{Method: http.MethodPatch, Path: wholePath, ID: "updateAccount", Summary: "Change an account's name, time zone or domains", Tag: tag,
		Permission: access.AccountWrite, Errors: []int{http.StatusPreconditionRequired},
		Examples: []api.Example{{As: asAdmin, Path: "/v1/accounts/key:acme", Header: map[string]string{"If-Match": "*"}, Body: `{"name":"Acme Corp"}`}}}, updateOwn)
}

type getOwnInput struct {
	api.AccountPath
	api.IfNoneMatch
}

func getOwn(ctx context.Context, c *api.Call, _ *getOwnInput) (*api.Answer[Account], error) {
	a, err := load(ctx, c.Tx, api.Ref{ID: c.Account.ID})
	if err != nil {
		return nil, err
	}
	return a.answer(), nil
}

type updateOwnInput struct {
	api.AccountPath
	api.Idempotent
	api.IfMatch
	Body struct {
		Name          *string   `json:"name,omitempty" minLength:"1" maxLength:"200"`
		TimeZone      *string   `json:"time_zone,omitempty" maxLength:"64" doc:"of cycles that begin from now on"`
		InviteDomains *[]string `json:"invite_domains,omitempty" maxItems:"100" doc:"e-mails of which domains it invites; none: of all"`
	}
}

func updateOwn(ctx context.Context, c *api.Call, in *updateOwnInput) (*api.Answer[Account], error) {
	a, err := loadForChange(ctx, c.Tx, api.Ref{ID: c.Account.ID})
	if err != nil {
		return nil, err
	}
	return change(ctx, c, a, in.IfMatch, platformChange{Name: in.Body.Name, TimeZone: in.Body.TimeZone, InviteDomains: in.Body.InviteDomains})
}
