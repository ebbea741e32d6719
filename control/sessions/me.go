package sessions

import (
	"context"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

// Me is who calls, as the cockpit sees it now.
type Me struct {
	Kind       string     `json:"kind" enum:"person,service"`
	ID         string     `json:"id" example:"per_1"`
	Name       string     `json:"name" example:"Ada"`
	Client     string     `json:"client,omitempty" doc:"the key of the program that the person came through, which bounds what follows"`
	Roles      []Held     `json:"roles" nullable:"false" doc:"none: an end user"`
	Elevations []Elevated `json:"elevations" nullable:"false" doc:"where a super admin may write now"`
}

// Held is a role and its place.
type Held struct {
	Role    string `json:"role" enum:"super_admin,account_admin,account_viewer,section_admin,product"`
	Account *Place `json:"account,omitempty" doc:"absent: all"`
	Section *Place `json:"section,omitempty" doc:"absent: all"`
}

// Place is an account or a section.
type Place struct {
	ID   string `json:"id" example:"acc_1"`
	Key  string `json:"key" example:"acme"`
	Name string `json:"name,omitempty" example:"Acme"`
}

// Elevated is where and until when.
type Elevated struct {
	Account string    `json:"account" example:"acc_1"`
	Until   time.Time `json:"until"`
}

func me(ctx context.Context, c *api.Call, _ *struct{}) (*struct{ Body Me }, error) {
	p := c.Principal
	out := &struct{ Body Me }{Me{Kind: string(p.Kind), ID: api.PersonKind.ID(p.ID), Name: p.Name, Roles: []Held{}, Elevations: []Elevated{}}}
	if p.Kind == access.Service {
		out.Body.ID = api.KeyKind.ID(p.ID)
	}
	if p.Client != nil {
		out.Body.Client = p.Client.Key
	}
	accounts, sections, err := places(ctx, c.Tx, p.Grants)
	if err != nil {
		return nil, err
	}
	for _, g := range p.Grants {
		out.Body.Roles = append(out.Body.Roles, Held{string(g.Role), accounts[g.Account], sections[g.Section]})
	}
	for _, e := range p.Elevations {
		if c.Now.Before(e.Until) {
			out.Body.Elevations = append(out.Body.Elevations, Elevated{api.AccountKind.ID(e.Account), e.Until})
		}
	}
	return out, nil
}

// places are the accounts and sections of grants, by id.
func places(ctx context.Context, tx pgx.Tx, grants []access.Grant) (accounts, sections map[int64]*Place, err error) {
	var a, s []int64
	for _, g := range grants {
		a, s = append(a, g.Account), append(s, g.Section)
	}
	if accounts, err = found(ctx, tx, api.AccountKind, `SELECT account_id, key, name FROM accounts WHERE account_id = ANY($1)`, a); err != nil {
		return nil, nil, err
	}
	sections, err = found(ctx, tx, api.SectionKind, `SELECT id, key, '' FROM sections WHERE id = ANY($1)`, s)
	return accounts, sections, err
}

func found(ctx context.Context, tx pgx.Tx, kind api.Kind, sql string, ids []int64) (map[int64]*Place, error) {
	all := map[int64]*Place{}
	rows, err := tx.Query(ctx, sql, ids)
	if err != nil {
		return nil, err
	}
	var id int64
	var key, name string
	_, err = pgx.ForEachRow(rows, []any{&id, &key, &name}, func() error {
		all[id] = &Place{kind.ID(id), key, name}
		return nil
	})
	return all, err
}
