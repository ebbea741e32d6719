package users

import (
	"context"
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/jackc/pgx/v5"
)

const (
	tag     = "Users"
	asAdmin = "account_admin:acme"
	path    = "/v1/accounts/{account}/users"
	onePath = path + "/{user}"
	ofAcme  = "/v1/accounts/key:acme/users"
	made    = ofAcme + "/{id}"
)

// Register adds the operations.
func Register(a *api.API) {
	api.List(a, api.Operation{Path: path, ID: "listUsers", Summary: "The account's users", Tag: tag, Permission: access.UsersRead,
		Examples: []api.Example{{As: asAdmin, Path: ofAcme + "?q=ada&sort=name"}, {As: "section_admin:acme/copilot", Path: ofAcme + "?section=key:copilot&team=key:support"}}}, list)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: path, ID: "createUser", Summary: "Add a user", Tag: tag, Permission: access.UsersWrite, Status: http.StatusCreated,
		Description: "Without a key he gets one that nobody has.",
		Examples: []api.Example{{As: asAdmin, Path: ofAcme, Body: `{"name":"Frances Allen","email":"frances@acme.example"}`},
			{As: asAdmin, Path: ofAcme, Body: `{"key":"u-1","name":"Another Ada"}`, Status: http.StatusConflict}}}, create)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: onePath, ID: "getUser", Summary: "A user", Tag: tag, Permission: access.UsersRead,
		Examples: []api.Example{{As: asAdmin, Path: made, Make: "createUser"}, {As: "account_viewer:acme", Path: ofAcme + "/key:u-1"}}}, get)
	api.Write(a, api.Operation{Method: http.MethodPatch, Path: onePath, ID: "updateUser", Summary: "Change a user's name or e-mail", Tag: tag, Permission: access.UsersWrite,
		Errors:   []int{http.StatusPreconditionRequired},
		Examples: []api.Example{{As: asAdmin, Path: made, Make: "createUser", Header: map[string]string{"If-Match": "*"}, Body: `{"name":"Fran Allen"}`}}}, update)
	for _, m := range moves {
		api.Write(a, api.Operation{Method: http.MethodPost, Path: onePath + "/" + m.verb, ID: m.verb + "User", Summary: m.summary, Description: m.description, Tag: tag,
			Permission: access.UsersWrite, Examples: m.examples}, m.do)
	}
	registerIdentities(a)
	registerErasing(a)
	registerRenaming(a)
	registerPeople(a)
}

type newUser struct {
	Key   *string `json:"key,omitempty" maxLength:"256" doc:"what products name him by, in Unicode form NFC; case-sensitive"`
	Name  string  `json:"name" minLength:"1" maxLength:"200"`
	Email string  `json:"email,omitempty" maxLength:"320" format:"email"`
}

type createInput struct {
	api.AccountPath
	api.Idempotent
	Body newUser
}

func create(ctx context.Context, c *api.Call, in *createInput) (*api.Answer[User], error) {
	key, err := api.Key(in.Body.Key)
	if err != nil {
		return nil, err
	}
	called, err := name(in.Body.Name)
	if err != nil {
		return nil, err
	}
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	rows, err := c.Tx.Query(ctx, `INSERT INTO users AS u (account_id, key, name, email, created_at) VALUES ($1, $2, $3, nullif($4, ''), $5) RETURNING `+columns,
		c.Account.ID, key, called, text(in.Body.Email), c.Now)
	u, err := api.One(api.UserKind, rows, err, scan)
	if api.Violates(err, "users_account_id_key_key") {
		return nil, api.Conflict("key_taken", "The account has or had a user with this key.")
	}
	if err != nil {
		return nil, err
	}
	if err := holdLimit(ctx, c); err != nil {
		return nil, err
	}
	if err := addToSections(ctx, c, []int64{u.number}); err != nil {
		return nil, err
	}
	return u.answer(), u.record(ctx, c, "user.created", "", nil)
}

// UserPath is the user of a path.
type UserPath struct {
	api.AccountPath
	User string `path:"user" maxLength:"300" doc:"the user's id, or key: and his key" example:"key:u-1"`
}

type getInput struct {
	UserPath
	api.IfNoneMatch
}

func get(ctx context.Context, c *api.Call, in *getInput) (*api.Answer[User], error) {
	u, err := load(ctx, c, api.UserKind.Ref(in.User))
	if err != nil {
		return nil, err
	}
	return u.answer(), nil
}

type userChange struct {
	Name  *string `json:"name,omitempty" minLength:"1" maxLength:"200"`
	Email *string `json:"email,omitempty" maxLength:"320" doc:"empty: none"`
}

type updateInput struct {
	UserPath
	api.Idempotent
	api.IfMatch
	Body userChange
}

func update(ctx context.Context, c *api.Call, in *updateInput) (*api.Answer[User], error) {
	u, err := loadForChange(ctx, c, in.User)
	if err != nil {
		return nil, err
	}
	if err := in.Check(u.revision, u, in.Body); err != nil {
		return nil, err
	}
	before := *u
	if in.Body.Name != nil {
		if u.Name, err = name(*in.Body.Name); err != nil {
			return nil, err
		}
	}
	if in.Body.Email != nil {
		u.Email = text(*in.Body.Email)
	}
	if err := u.save(ctx, c); err != nil {
		return nil, err
	}
	return u.answer(), u.record(ctx, c, "user.updated", "", &before)
}

// move is a change of state that can be taken back.
type move struct {
	verb, summary, many, description string
	from, to, action                 string
	examples                         []api.Example
}

var moves = []move{
	{"deactivate", "Deactivate a user", "Deactivate users", "What he still uses is charged, and flagged.", "active", "inactive", "user.deactivated",
		[]api.Example{{As: asAdmin, Path: made + "/deactivate", Make: "createUser"}}},
	{"reactivate", "Make a user active again", "Make users active again", "", "inactive", "active", "user.reactivated",
		[]api.Example{{As: asAdmin, Path: made + "/reactivate", Make: "createUser", Status: http.StatusConflict}, {As: asAdmin, Path: ofAcme + "/key:u-6/reactivate"}}},
}

type moveInput struct {
	UserPath
	api.Idempotent
}

func (m move) do(ctx context.Context, c *api.Call, in *moveInput) (*api.Answer[User], error) {
	u, err := loadForChange(ctx, c, in.User)
	if err != nil {
		return nil, err
	}
	refused, err := m.apply(ctx, c, []*User{u}, "")
	if err = errors.Join(err, refused[0]); err != nil {
		return nil, err
	}
	return u.answer(), nil
}

// apply brings users, in a directory that nobody else changes, to m's state, all at once, and puts it on record. refused says,
// at the place of each, why it can't be; one who is nil is not there.
func (m move) apply(ctx context.Context, c *api.Call, users []*User, reason string) (refused []error, err error) {
	refused = make([]error, len(users))
	room := math.MaxInt
	if m.to == "active" {
		if room, err = c.Room(ctx, c.Account.Limits.Users, countActive); err != nil {
			return refused, err
		}
	}
	before, moved := map[int64]User{}, map[int64]*User{}
	for i, u := range users {
		switch {
		case u == nil:
			refused[i] = api.NotFound(api.UserKind)
		case u.State == "erased":
			refused[i] = erasedAlready()
		case u.State != m.from:
			refused[i] = api.Conflict("user_"+u.State, "The user is "+u.State+" already.")
		case len(moved) >= room:
			refused[i] = api.LimitReached(c.Account.Limits.Users, activeUsers)
		default:
			before[u.number], moved[u.number] = *u, u
		}
	}
	if len(moved) == 0 {
		return refused, nil
	}
	rows, err := c.Tx.Query(ctx, `UPDATE users u SET state = $3, revision = revision + 1 WHERE u.account_id = $1 AND u.id = ANY($2) RETURNING `+columns,
		c.Account.ID, slices.Sorted(maps.Keys(moved)), m.to)
	if err != nil {
		return refused, err
	}
	saved, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return refused, err
	}
	for _, u := range saved {
		was := before[u.number]
		*moved[u.number] = u
		if err := u.record(ctx, c, m.action, reason, &was); err != nil {
			return refused, err
		}
	}
	return refused, provisioning.SetUsers(ctx, c.Tx, c.Account.ID, slices.Collect(maps.Keys(moved)), m.to == "active")
}
