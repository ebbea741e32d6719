package users

import (
	"context"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/jackc/pgx/v5"
)

// Filter says which users: of a list, or of a job.
type Filter struct {
	Q      string `query:"q" json:"q,omitempty" maxLength:"200" doc:"only those whose key, name, e-mail or alias has this in it, in any case"`
	State  string `query:"state" json:"state,omitempty" enum:"active,inactive,erased" doc:"only those in this state"`
	Key    string `query:"key" json:"key,omitempty" maxLength:"256" doc:"only the one with this key or alias"`
	Email  string `query:"email" json:"email,omitempty" maxLength:"320" doc:"only those with this e-mail, in any case"`
	Person string `query:"person" json:"person,omitempty" maxLength:"200" doc:"only the one who is this person"`
	Linked string `query:"linked" json:"linked,omitempty" enum:"true,false" doc:"only those who are a person, or only those who are none"`
	api.Created
	Section      string `query:"section" json:"section,omitempty" maxLength:"200" doc:"only those who are members in this section: its id, or key: and its key. With without_team: those who are in no team of it"`
	Team         string `query:"team" json:"team,omitempty" maxLength:"300" doc:"only its members: its id, or with section key: and its key"`
	Organization string `query:"organization" json:"organization,omitempty" maxLength:"300" doc:"only those in it, and in what is below it: its id, or with section key: and its key"`
	WithoutUse   bool   `query:"without_use" json:"without_use,omitempty" doc:"only those to whom nothing was charged in the open cycle, of the section or of all"`
	Over         bool   `query:"over_allocation" json:"over_allocation,omitempty" doc:"only those who used all of an allocation, share or cap of their own in the open cycle, of the section or of all"`
	WithoutTeam  bool   `query:"without_team" json:"without_team,omitempty" doc:"only those who are in no team"`
}

type listInput struct {
	api.AccountPath
	api.Page
	Filter
	Sort string `query:"sort" enum:"key,-key,name,-name" default:"key"`
}

func list(ctx context.Context, c *api.Call, in *listInput) (*api.Query[User], error) {
	sort, err := api.SortBy(in.Sort, map[string]api.Sort{"key": {By: "u.key", Type: "text"}, "name": {By: "u.name", Type: "text"}})
	if err != nil {
		return nil, err
	}
	q, err := in.query(ctx, c)
	if err == nil {
		q.Sort = sort
	}
	return q, err
}

// query is the list of the users that the filter selects, without an order.
func (f *Filter) query(ctx context.Context, c *api.Call) (*api.Query[User], error) {
	q := &api.Query[User]{Select: columns, From: "users u", ID: "u.id", Scan: scan}
	q.Filter("u.account_id = ?", c.Account.ID)
	if f.State != "" {
		q.Filter(stateOf+" = ?", f.State)
	}
	if f.Q != "" {
		q.Filter("u.search LIKE ? OR u.id IN (SELECT a.user_id FROM key_aliases a WHERE a.account_id = ? AND a.kind = 'user' AND lower(a.key COLLATE pg_c_utf8) LIKE ?)",
			api.Like(f.Q), c.Account.ID, api.Like(f.Q))
	}
	if f.Key != "" {
		q.Filter("u.key = ? OR u.id = (SELECT a.user_id FROM key_aliases a WHERE a.account_id = ? AND a.kind = 'user' AND a.section_id IS NULL AND a.key = ?)", f.Key, c.Account.ID, f.Key)
	}
	if f.Email != "" {
		q.Filter("lower(u.email) = lower(?)", f.Email)
	}
	if f.Person != "" {
		q.Filter("u.person_id = ?", api.PersonKind.Ref(f.Person).ID)
	}
	if f.Linked != "" {
		q.Filter("(u.person_id IS NOT NULL) = ?", f.Linked == "true")
	}
	api.FilterCreated(q, "u.created_at", f.Created)
	return q, f.places(ctx, c, q)
}

// member is somebody's current place. Conditions on m and p follow.
const member = `SELECT FROM scopes m JOIN scope_parents p ON p.account_id = m.account_id AND p.scope_id = m.id AND p.valid_to = 'infinity'
	WHERE m.account_id = u.account_id AND m.user_id = u.id AND m.kind = 'membership'`

// inTeam narrows member to places in teams.
const inTeam = ` AND EXISTS (SELECT FROM scopes t WHERE t.account_id = p.account_id AND t.id = p.parent_id AND t.kind = 'team')`

// places filters by where users are members.
func (f *Filter) places(ctx context.Context, c *api.Call, q *api.Query[User]) error {
	section, err := c.FindSection(ctx, "query.section", f.Section)
	if err != nil {
		return err
	}
	for _, place := range []struct {
		kind  api.Kind
		named string
	}{{api.TeamKind, f.Team}, {api.OrganizationKind, f.Organization}} {
		if place.named == "" {
			continue
		}
		ids, err := below(ctx, c, place.kind, place.named, section)
		if err != nil {
			return err
		}
		q.Filter(`EXISTS (`+member+` AND p.parent_id IN (SELECT unnest(?::bigint[])))`, ids)
	}
	if f.WithoutUse {
		charged, err := balances.UsersOf(ctx, c.Tx, c.Account.ID, section, c.Now, balances.Charged)
		if err != nil {
			return err
		}
		q.In("u.id", charged, false)
	}
	if f.Over {
		over, err := balances.UsersOf(ctx, c.Tx, c.Account.ID, section, c.Now, balances.Over)
		if err != nil {
			return err
		}
		q.In("u.id", over, true)
	}
	switch {
	case f.WithoutTeam && section != 0:
		q.Filter(`NOT EXISTS (`+member+inTeam+` AND m.section_id = ?)`, section)
	case f.WithoutTeam:
		q.Filter(`NOT EXISTS (` + member + inTeam + `)`)
	case section != 0:
		q.Filter(`EXISTS (`+member+` AND m.section_id = ?)`, section)
	}
	return nil
}

// below are an organization or team and what is below it now.
func below(ctx context.Context, c *api.Call, kind api.Kind, named string, section int64) ([]int64, error) {
	ref := kind.Ref(named)
	rows, err := c.Tx.Query(ctx, `WITH RECURSIVE down AS (
			SELECT id FROM scopes WHERE account_id = $1 AND kind = $2 AND (id = $3 AND $5::bigint IN (0, section_id) OR key = $4 AND section_id = $5)
			UNION SELECT p.scope_id FROM down JOIN scope_parents p ON p.account_id = $1 AND p.parent_id = down.id AND p.valid_to = 'infinity'
				JOIN scopes s ON s.account_id = $1 AND s.id = p.scope_id AND s.kind <> 'membership')
		SELECT id FROM down`, c.Account.ID, kind.Name, ref.ID, ref.Key, section)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err == nil && len(ids) == 0 {
		err = api.Invalid("query."+kind.Name, "there is no such "+kind.Name)
	}
	return ids, err
}
