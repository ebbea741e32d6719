package users

import (
	"context"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/naming"
	"github.com/jackc/pgx/v5"
)

func registerPeople(a *api.API) {
	const person, ofBarbara = onePath + "/person", ofAcme + "/key:u-3/person"
	api.Write(a, api.Operation{Method: http.MethodPut, Path: person, ID: "linkUser", Summary: "Say which person a user is", Tag: tag, Permission: access.UsersWrite,
		Description: "The person has signed in once. Usage that names the person's subject is the user's from now on. A person is one user of an account at most.",
		Examples: []api.Example{{As: asAdmin, Path: ofBarbara, Body: `{"email":"grace@acme.example"}`},
			{As: asAdmin, Path: ofBarbara, Body: `{"email":"nobody@acme.example"}`, Status: http.StatusUnprocessableEntity}}}, link)
	api.Write(a, api.Operation{Method: http.MethodDelete, Path: person, ID: "unlinkUser", Summary: "Say that a user is that person no more", Tag: tag, Permission: access.UsersWrite,
		Description: "One who is nobody is answered as he is.", Examples: []api.Example{{As: asAdmin, Path: ofBarbara}}}, unlink)
	api.List(a, api.Operation{Path: "/v1/platform/people/{person}/users", ID: "listUsersOfPerson", Summary: "Which users a person is, in all accounts", Tag: tag, Permission: access.PlatformRead,
		Examples: []api.Example{{As: "super_admin", Path: "/v1/platform/people/per_1/users"}}}, ofPerson)
}

type linkInput struct {
	UserPath
	api.Idempotent
	Body naming.Somebody
}

func link(ctx context.Context, c *api.Call, in *linkInput) (*api.Answer[User], error) {
	before, err := loadForChange(ctx, c, in.User)
	if err != nil {
		return nil, err
	}
	person, err := in.Body.Find(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := naming.Link(ctx, c, before.number, person); err != nil {
		return nil, err
	}
	return before.linked(ctx, c, "user.linked")
}

type unlinkInput struct {
	UserPath
	api.Idempotent
}

func unlink(ctx context.Context, c *api.Call, in *unlinkInput) (*api.Answer[User], error) {
	before, err := loadForChange(ctx, c, in.User)
	if err != nil {
		return nil, err
	}
	if _, err := naming.Unlink(ctx, c, before.number); err != nil {
		return nil, err
	}
	return before.linked(ctx, c, "user.unlinked")
}

// linked puts it on record that a user is another person than before.
func (u *User) linked(ctx context.Context, c *api.Call, action string) (*api.Answer[User], error) {
	now, err := load(ctx, c, api.Ref{ID: u.number})
	if err != nil {
		return nil, err
	}
	return now.answer(), now.record(ctx, c, action, "", u)
}

// PersonsUser is a user of some account, who is a person.
type PersonsUser struct {
	Account UserAccount `json:"account"`
	User
}

// UserAccount is the account of a user, where several are in a list.
type UserAccount struct {
	ID   string `json:"id" example:"acc_1"`
	Key  string `json:"key" example:"acme"`
	Name string `json:"name" example:"Acme"`
}

type ofPersonInput struct {
	api.Page
	Person string `path:"person" maxLength:"200" doc:"the person's id" example:"per_1"`
}

func ofPerson(ctx context.Context, c *api.Call, in *ofPersonInput) (*api.Query[PersonsUser], error) {
	rows, err := c.Tx.Query(ctx, `SELECT id FROM people WHERE id = $1`, api.PersonKind.Ref(in.Person).ID)
	id, err := api.One(api.PersonKind, rows, err, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	q := &api.Query[PersonsUser]{Select: `a.account_id, a.key, a.name, ` + columns, From: `users u JOIN accounts a ON a.account_id = u.account_id`, ID: "u.id",
		Sort: api.Sort{By: "a.key", Type: "text"}, Scan: func(row pgx.CollectableRow) (p PersonsUser, err error) {
			var account int64
			p.User, err = scan(scanBehind{row, []any{&account, &p.Account.Key, &p.Account.Name}})
			p.Account.ID = api.AccountKind.ID(account)
			return p, err
		}}
	q.Filter("u.person_id = ?", id)
	return q, nil
}

// scanBehind is a row whose first columns go elsewhere.
type scanBehind struct {
	pgx.CollectableRow
	first []any
}

// Scan implements pgx.CollectableRow.
func (s scanBehind) Scan(dest ...any) error {
	return s.CollectableRow.Scan(append(s.first, dest...)...)
}
