package users

import (
	"context"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/jackc/pgx/v5"
)

// apply does what was planned for the lines, each kind of change at once.
func apply(ctx context.Context, c *api.Call, _ []*imports.Line, plans []plan) error {
	for _, write := range []func(context.Context, *api.Call, []plan) error{insertUsers, updateUsers} {
		if err := write(ctx, c, plans); err != nil {
			return err
		}
	}
	moved := map[string][]int64{}
	for i := range plans {
		p := &plans[i]
		if p.was != nil && p.is.State != p.was.State {
			moved[p.is.State] = append(moved[p.is.State], p.is.number)
		}
		action := "user.updated"
		switch {
		case p.was == nil:
			action = "user.created"
		case !p.changes():
			continue // identities are on record by themselves
		case p.is.State == p.was.State:
		case p.is.State == "active":
			action = "user.reactivated"
		default:
			action = "user.deactivated"
		}
		if err := p.is.record(ctx, c, action, "", p.was); err != nil {
			return err
		}
	}
	for state, users := range moved {
		if err := provisioning.SetUsers(ctx, c.Tx, c.Account.ID, users, state == "active"); err != nil {
			return err
		}
	}
	return changeIdentities(ctx, c, plans)
}

// changes says whether a user who is there becomes another.
func (p *plan) changes() bool {
	return p.was != nil && (p.is.Name != p.was.Name || p.is.Email != p.was.Email || p.is.State != p.was.State)
}

// written are users in columns.
type written struct {
	ids                         []int64
	keys, names, emails, states []string
}

func (w *written) add(u *User) {
	w.ids, w.keys, w.names = append(w.ids, u.number), append(w.keys, u.Key), append(w.names, u.Name)
	w.emails, w.states = append(w.emails, u.Email), append(w.states, u.State)
}

// insertUsers makes those who are new, with a row in each section, and numbers them.
func insertUsers(ctx context.Context, c *api.Call, plans []plan) error {
	var made []*User
	for i := range plans {
		if plans[i].was == nil {
			made = append(made, &plans[i].is)
		}
	}
	rows, err := c.Tx.Query(ctx, `SELECT nextval(pg_get_serial_sequence('users', 'id')) FROM generate_series(1, $1)`, len(made))
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	var w written
	for i, u := range made {
		u.number, u.ID, u.CreatedAt = ids[i], api.UserKind.ID(ids[i]), c.Now
		w.add(u)
	}
	if _, err := c.Tx.Exec(ctx, `INSERT INTO users (account_id, id, key, name, email, state, created_at) OVERRIDING SYSTEM VALUE
		SELECT $1, id, key, name, nullif(email, ''), state, $7 FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[]) AS u(id, key, name, email, state)`,
		c.Account.ID, w.ids, w.keys, w.names, w.emails, w.states, c.Now); err != nil {
		return err
	}
	return addToSections(ctx, c, w.ids)
}

func updateUsers(ctx context.Context, c *api.Call, plans []plan) error {
	var w written
	for i := range plans {
		if plans[i].changes() {
			w.add(&plans[i].is)
		}
	}
	if len(w.ids) == 0 {
		return nil
	}
	_, err := c.Tx.Exec(ctx, `UPDATE users u SET name = n.name, email = nullif(n.email, ''), state = n.state, revision = revision + 1
		FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS n(id, name, email, state) WHERE u.account_id = $1 AND u.id = n.id AND u.id = ANY($2)`,
		c.Account.ID, w.ids, w.names, w.emails, w.states)
	return err
}

// changeIdentities ends those that lines left out, and begins those that are new.
func changeIdentities(ctx context.Context, c *api.Call, plans []plan) error {
	users := map[int64]*User{}
	var ended, ids []int64
	var sources, values []string
	for i := range plans {
		p := &plans[i]
		users[p.is.number] = &p.is
		ended = append(ended, p.end...)
		for _, one := range p.begin {
			ids, sources, values = append(ids, p.is.number), append(sources, one.source), append(values, one.value)
		}
	}
	if err := recordIdentities(ctx, c, users, "user.identity_ended", `UPDATE user_identities i SET valid_to = greatest($3, i.valid_from + interval '1 microsecond')
		WHERE i.account_id = $1 AND i.id = ANY($2) RETURNING i.user_id, `+identityColumns, c.Account.ID, ended, c.Now); err != nil {
		return err
	}
	return recordIdentities(ctx, c, users, "user.identity_added", `INSERT INTO user_identities AS i (account_id, user_id, source, value, valid_from)
		SELECT $1, n.id, n.source, n.value, greatest($5, (SELECT max(o.valid_from) + interval '1 microsecond' FROM user_identities o
			WHERE o.account_id = $1 AND o.source = n.source AND o.value = n.value))
		FROM unnest($2::bigint[], $3::text[], $4::text[]) AS n(id, source, value) RETURNING i.user_id, `+identityColumns, c.Account.ID, ids, sources, values, c.Now)
}

// recordIdentities runs a statement that returns users and identities, and puts each on record.
func recordIdentities(ctx context.Context, c *api.Call, users map[int64]*User, action, sql string, args ...any) error {
	rows, err := c.Tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	type owned struct {
		user int64
		Identity
	}
	changed, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o owned, err error) {
		err = row.Scan(&o.user, &o.number, &o.Source, &o.Value, &o.From, &o.To)
		o.ID = api.IdentityKind.ID(o.number)
		return o, err
	})
	if err != nil {
		return err
	}
	for i := range changed {
		if err := changed[i].record(ctx, c, action, users[changed[i].user]); err != nil {
			return err
		}
	}
	return nil
}
