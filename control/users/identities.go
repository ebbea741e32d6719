package users

import (
	"context"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/naming"
	"github.com/jackc/pgx/v5"
)

// Identity is what somebody else calls a user.
type Identity struct {
	ID     string     `json:"id" example:"idn_1"`
	Source string     `json:"source" example:"litellm" doc:"who calls him so: a source of usage, or whatever else has ids of its own"`
	Value  string     `json:"value" example:"gateway-grace"`
	From   time.Time  `json:"from"`
	To     *time.Time `json:"to,omitempty" doc:"when it ended; absent while it lasts"`

	number int64
}

const identityColumns = `i.id, i.source, i.value, i.valid_from, nullif(i.valid_to, 'infinity')`

func scanIdentity(row pgx.CollectableRow) (i Identity, err error) {
	err = row.Scan(&i.number, &i.Source, &i.Value, &i.From, &i.To)
	i.ID = api.IdentityKind.ID(i.number)
	return i, err
}

// record puts it on record that an identity began or ended: of the user, and not which.
func (i *Identity) record(ctx context.Context, c *api.Call, action string, u *User) error {
	change := api.Change{Action: action, Object: u.object()}
	if said := map[string]string{"identity": i.ID, "source": i.Source}; i.To == nil {
		change.After = said
	} else {
		change.Before = said
	}
	return c.Record(ctx, change)
}

func registerIdentities(a *api.API) {
	const path, ofBarbara = onePath + "/identities", ofAcme + "/key:u-3/identities"
	api.List(a, api.Operation{Path: path, ID: "listIdentities", Summary: "What others call a user, and called him", Tag: tag, Permission: access.UsersRead,
		Examples: []api.Example{{As: "account_viewer:acme", Path: made + "/identities", Make: "createUser"}, {As: asAdmin, Path: ofAcme + "/key:u-42/identities?current=true"}}}, listIdentities)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: path, ID: "addIdentity", Summary: "Say what a source calls a user", Tag: tag, Permission: access.UsersWrite,
		Description: "Usage that names it is his, also of earlier times that comes from now on. One that he has already is answered as it is.", Status: http.StatusCreated,
		Examples: []api.Example{{As: asAdmin, Path: ofBarbara, Body: `{"source":"litellm","value":"gateway-liskov"}`},
			{As: asAdmin, Path: ofBarbara, Body: `{"source":"litellm","value":"gateway-grace"}`, Status: http.StatusConflict}}}, addIdentity)
	api.Write(a, api.Operation{Method: http.MethodDelete, Path: path + "/{identity}", ID: "endIdentity", Summary: "End an identity", Tag: tag, Permission: access.UsersWrite,
		Description: "From now on it names nobody, and may name somebody else.",
		Examples:    []api.Example{{As: asAdmin, Path: ofBarbara + "/{id}", Make: "addIdentity"}}}, endIdentity)
}

type listIdentitiesInput struct {
	UserPath
	api.Page
	Current bool   `query:"current" doc:"only those that last"`
	Source  string `query:"source" maxLength:"256" doc:"only those of this source"`
}

func listIdentities(ctx context.Context, c *api.Call, in *listIdentitiesInput) (*api.Query[Identity], error) {
	u, err := load(ctx, c, api.UserKind.Ref(in.User))
	if err != nil {
		return nil, err
	}
	q := &api.Query[Identity]{Select: identityColumns, From: "user_identities i", ID: "i.id", Sort: api.Sort{By: "i.id", Type: "bigint"}, Scan: scanIdentity}
	q.Filter("i.account_id = ? AND i.user_id = ?", c.Account.ID, u.number)
	if in.Current {
		q.Filter("i.valid_to = 'infinity'")
	}
	if in.Source != "" {
		q.Filter("i.source = ?", in.Source)
	}
	return q, nil
}

type addIdentityInput struct {
	UserPath
	api.Idempotent
	Body struct {
		Source string `json:"source" minLength:"1" maxLength:"256"`
		Value  string `json:"value" minLength:"1" maxLength:"256" doc:"case-sensitive"`
	}
}

func addIdentity(ctx context.Context, c *api.Call, in *addIdentityInput) (*struct{ Body Identity }, error) {
	u, err := loadForChange(ctx, c, in.User)
	if err != nil {
		return nil, err
	}
	i := Identity{Source: in.Body.Source, Value: in.Body.Value}
	if i.number, i.From, err = naming.AddIdentity(ctx, c, u.number, i.Source, i.Value); err != nil {
		return nil, err
	}
	i.ID = api.IdentityKind.ID(i.number)
	return &struct{ Body Identity }{i}, i.record(ctx, c, "user.identity_added", u)
}

type endIdentityInput struct {
	UserPath
	api.Idempotent
	Identity string `path:"identity" maxLength:"200" doc:"the identity's id"`
}

func endIdentity(ctx context.Context, c *api.Call, in *endIdentityInput) (*struct{ Body Identity }, error) {
	u, err := loadForChange(ctx, c, in.User)
	if err != nil {
		return nil, err
	}
	rows, err := c.Tx.Query(ctx, `UPDATE user_identities i SET valid_to = greatest($4, i.valid_from + interval '1 microsecond')
		WHERE i.account_id = $1 AND i.user_id = $2 AND i.id = $3 AND i.valid_to = 'infinity' RETURNING `+identityColumns,
		c.Account.ID, u.number, api.IdentityKind.Ref(in.Identity).ID, c.Now)
	i, err := api.One(api.IdentityKind, rows, err, scanIdentity)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Identity }{i}, i.record(ctx, c, "user.identity_ended", u)
}
