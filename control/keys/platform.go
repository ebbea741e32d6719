package keys

import (
	"context"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
)

func registerPlatform(a *api.API) {
	api.List(a, api.Operation{Path: platform, ID: "listPlatformKeys", Summary: "Service keys that are no account's own", Tag: tag, Permission: access.PlatformKeys,
		Examples: []api.Example{{As: asSuper, Path: platform + "?state=active"}}}, listPlatform)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: platform, ID: "createPlatformKey", Summary: "Make a service key for several accounts, or all", Tag: tag,
		Permission: access.PlatformKeys, Description: "The answer has the key's text, which is shown once.", Status: http.StatusCreated,
		Examples: []api.Example{
			{As: asSuper, Path: platform, Body: `{"name":"gateway eu","sources":["key:litellm"],"accounts":["key:acme","key:globex"]}`},
			{As: asSuper, Path: platform, Body: `{"name":"for whom?"}`, Status: http.StatusUnprocessableEntity},
		}}, createPlatform)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: theKey, ID: "getPlatformKey", Summary: "A service key of the platform's", Tag: tag, Permission: access.PlatformKeys,
		Examples: []api.Example{{As: asSuper, Path: platform + "/{id}", Make: "createPlatformKey"}}},
		func(ctx context.Context, c *api.Call, in *KeyPath) (*struct{ Body ServiceKey }, error) {
			return one(ctx, c, 0, in.Key)
		})
	api.Write(a, api.Operation{Method: http.MethodPost, Path: theKey + "/rotate", ID: "rotatePlatformKey", Summary: "Give a service key of the platform's another text", Tag: tag,
		Permission: access.PlatformKeys, Description: rotateDescription,
		Examples: []api.Example{{As: asSuper, Path: platform + "/{id}/rotate", Make: "createPlatformKey", Body: `{"overlap_minutes":1440}`}}},
		func(ctx context.Context, c *api.Call, in *rotatePlatformInput) (*created, error) {
			return rotate(ctx, c, 0, in.Key, in.Body.overlap())
		})
	api.Write(a, api.Operation{Method: http.MethodPost, Path: theKey + "/revoke", ID: "revokePlatformKey", Summary: "End a service key of the platform's", Tag: tag,
		Permission: access.PlatformKeys, Description: revokeDescription,
		Examples: []api.Example{{As: asSuper, Path: platform + "/{id}/revoke", Make: "createPlatformKey"}}},
		func(ctx context.Context, c *api.Call, in *revokePlatformInput) (*struct{ Body ServiceKey }, error) {
			return revoke(ctx, c, 0, in.Key)
		})
}

type listPlatformInput struct {
	api.Page
	Filters
	Account string `query:"account" maxLength:"200" doc:"only those that may send for this account: its id, or key: and its key"`
}

func listPlatform(_ context.Context, c *api.Call, in *listPlatformInput) (*api.Query[ServiceKey], error) {
	q, err := in.query(c.Now)
	if err != nil {
		return nil, err
	}
	q.Filter("k.account_id IS NULL")
	if in.Account != "" {
		ref := api.AccountKind.Ref(in.Account)
		q.Filter(`k.all_accounts OR EXISTS (SELECT FROM service_key_accounts x JOIN accounts a USING (account_id) WHERE x.key_id = k.id AND (a.account_id = ? OR a.key = ?))`, ref.ID, ref.Key)
	}
	return q, nil
}

type createPlatformInput struct {
	api.Idempotent
	Body struct {
		Name        string     `json:"name" minLength:"1" maxLength:"200"`
		Sources     []string   `json:"sources,omitempty" maxItems:"100" doc:"ids or key:s of the sources that it may send as; none: all"`
		Accounts    []string   `json:"accounts,omitempty" maxItems:"1000" doc:"ids or key:s of the accounts that it may send for"`
		AllAccounts bool       `json:"all_accounts,omitempty" doc:"instead of accounts: whichever its sources may"`
		ExpiresAt   *time.Time `json:"expires_at,omitempty" doc:"absent: never"`
	}
}

func createPlatform(ctx context.Context, c *api.Call, in *createPlatformInput) (*created, error) {
	if in.Body.AllAccounts == (len(in.Body.Accounts) > 0) {
		return nil, api.Invalid("body.accounts", "name accounts, or say all_accounts: one of the two")
	}
	sources, err := sourcesOf(ctx, c, 0, in.Body.Sources)
	if err != nil {
		return nil, err
	}
	accounts, err := accountsNamed(ctx, c, in.Body.Accounts)
	if err != nil {
		return nil, err
	}
	r := record{name: in.Body.Name, allSources: len(sources) == 0, sources: sources, allAccounts: in.Body.AllAccounts, accounts: accounts,
		expires: in.Body.ExpiresAt, now: c.Now}
	return r.make(ctx, c)
}

type rotatePlatformInput struct {
	KeyPath
	api.Idempotent
	Body rotation
}

type revokePlatformInput struct {
	KeyPath
	api.Idempotent
}
