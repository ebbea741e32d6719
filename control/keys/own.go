package keys

import (
	"context"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
)

const (
	tag      = "Service keys"
	asSuper  = "super_admin"
	asAdmin  = "account_admin:acme"
	own      = "/v1/accounts/{account}/keys"
	ownKey   = own + "/{key}"
	ofAcme   = "/v1/accounts/key:acme/keys"
	platform = "/v1/platform/keys"
	theKey   = platform + "/{key}"
)

// Register adds the operations.
func Register(a *api.API) {
	registerOwn(a)
	registerPlatform(a)
}

func registerOwn(a *api.API) {
	api.List(a, api.Operation{Path: own, ID: "listKeys", Summary: "An account's service keys", Tag: tag, Permission: access.KeysRead,
		Examples: []api.Example{{As: asAdmin, Path: ofAcme + "?state=active&sort=-last_used_at"}}}, listOwn)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: own, ID: "createKey", Summary: "Make a service key", Tag: tag, Permission: access.KeysWrite,
		Description: "The answer has the key's text, which is shown once. It may send for this account alone.", Status: http.StatusCreated,
		Examples: []api.Example{
			{As: asAdmin, Path: ofAcme, Body: `{"name":"gateway","sources":["key:alchemi-web"],"expires_at":"2099-01-01T00:00:00Z"}`},
			{As: asAdmin, Path: ofAcme, Body: `{"name":"nobody's","sources":["key:nobody"]}`, Status: http.StatusUnprocessableEntity},
		}}, createOwn)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: ownKey, ID: "getKey", Summary: "A service key", Tag: tag, Permission: access.KeysRead,
		Examples: []api.Example{{As: asAdmin, Path: ofAcme + "/{id}", Make: "createKey"}}},
		func(ctx context.Context, c *api.Call, in *ownInput) (*struct{ Body ServiceKey }, error) {
			return one(ctx, c, c.Account.ID, in.Key)
		})
	api.Write(a, api.Operation{Method: http.MethodPost, Path: ownKey + "/rotate", ID: "rotateKey", Summary: "Give a service key another text", Tag: tag, Permission: access.KeysWrite,
		Description: rotateDescription, Examples: []api.Example{{As: asAdmin, Path: ofAcme + "/{id}/rotate", Make: "createKey", Body: `{"overlap_minutes":60}`}}},
		func(ctx context.Context, c *api.Call, in *rotateOwnInput) (*created, error) {
			return rotate(ctx, c, c.Account.ID, in.Key, in.Body.overlap())
		})
	api.Write(a, api.Operation{Method: http.MethodPost, Path: ownKey + "/revoke", ID: "revokeKey", Summary: "End a service key", Tag: tag, Permission: access.KeysWrite,
		Description: revokeDescription, Examples: []api.Example{{As: asAdmin, Path: ofAcme + "/{id}/revoke", Make: "createKey"}}},
		func(ctx context.Context, c *api.Call, in *revokeOwnInput) (*struct{ Body ServiceKey }, error) {
			return revoke(ctx, c, c.Account.ID, in.Key)
		})
}

const (
	rotateDescription = "The answer has the new text, which is shown once. The text before is good for overlap_minutes more; one before that no longer."
	revokeDescription = "Within two seconds nothing takes it any more, by either of its texts. It can't be undone."
)

// KeyPath is the key of a route.
type KeyPath struct {
	Key string `path:"key" maxLength:"200" doc:"the key's id" example:"key_1"`
}

type ownInput struct {
	api.AccountPath
	KeyPath
}

func one(ctx context.Context, c *api.Call, account int64, key string) (*struct{ Body ServiceKey }, error) {
	k, err := load(ctx, c, account, key, false)
	if err != nil {
		return nil, err
	}
	return &struct{ Body ServiceKey }{*k}, nil
}

// Filters are those of both lists.
type Filters struct {
	State string `query:"state" enum:"active,expired,revoked" doc:"only those in this state"`
	Q     string `query:"q" maxLength:"200" doc:"only those whose name has this in it, in any case"`
	Sort  string `query:"sort" enum:"created_at,-created_at,name,-name,last_used_at,-last_used_at" default:"-created_at" doc:"the order; with - in front, from the end"`
}

func (f *Filters) query(now time.Time) (*api.Query[ServiceKey], error) {
	q := &api.Query[ServiceKey]{Select: columns, From: "service_keys k", ID: "k.id", Scan: scan(now)}
	var err error
	if q.Sort, err = api.SortBy(f.Sort, map[string]api.Sort{"created_at": {By: "k.created_at", Type: "timestamptz"}, "name": {By: "k.name", Type: "text"},
		"last_used_at": {By: "coalesce(k.last_used_at, '-infinity')", Type: "timestamptz"}}); err != nil {
		return nil, err
	}
	ofState(q, f.State, now)
	q.Search(f.Q, "k.name")
	return q, nil
}

type listOwnInput struct {
	api.AccountPath
	api.Page
	Filters
}

func listOwn(_ context.Context, c *api.Call, in *listOwnInput) (*api.Query[ServiceKey], error) {
	q, err := in.query(c.Now)
	if err == nil {
		q.Filter("k.account_id = ?", c.Account.ID)
	}
	return q, err
}

type createOwnInput struct {
	api.AccountPath
	api.Idempotent
	Body struct {
		Name      string     `json:"name" minLength:"1" maxLength:"200"`
		Sources   []string   `json:"sources,omitempty" maxItems:"100" doc:"ids or key:s of the sources that it may send as; none: all that may send for the account"`
		ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"absent: never"`
	}
}

func createOwn(ctx context.Context, c *api.Call, in *createOwnInput) (*created, error) {
	sources, err := sourcesOf(ctx, c, c.Account.ID, in.Body.Sources)
	if err != nil {
		return nil, err
	}
	r := record{account: c.Account.ID, name: in.Body.Name, allSources: len(sources) == 0, sources: sources, expires: in.Body.ExpiresAt, now: c.Now}
	return r.make(ctx, c)
}

type rotation struct {
	OverlapMinutes int `json:"overlap_minutes" minimum:"0" maximum:"43200" doc:"how long the text before is good, too"`
}

func (r rotation) overlap() time.Duration { return time.Duration(r.OverlapMinutes) * time.Minute }

type rotateOwnInput struct {
	api.AccountPath
	KeyPath
	api.Idempotent
	Body rotation
}

type revokeOwnInput struct {
	api.AccountPath
	KeyPath
	api.Idempotent
}
