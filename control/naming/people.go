package naming

import (
	"context"
	"errors"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

// Somebody is how a body names somebody who has signed in: in one of three ways.
type Somebody struct {
	Person  string `json:"person,omitempty" maxLength:"200" doc:"the id of somebody who has a role in the account, or is a user of it"`
	Subject string `json:"subject,omitempty" maxLength:"200" doc:"or the issuer's name for the person"`
	Email   string `json:"email,omitempty" maxLength:"320" doc:"or the person's e-mail, in any case"`
}

// Find is the person's id. Only super admins name by their ids people who are nothing in the account.
func (p *Somebody) Find(ctx context.Context, c *api.Call) (int64, error) {
	type way struct {
		field, sql string
		args       []any
	}
	var ways []way
	if p.Person != "" {
		ways = append(ways, way{"person", `SELECT id FROM people p WHERE id = $1 AND ($2 OR EXISTS (SELECT FROM assignments x WHERE x.account_id = $3 AND x.person_id = p.id)
			OR EXISTS (SELECT FROM users u WHERE u.account_id = $3 AND u.person_id = p.id))`,
			[]any{api.PersonKind.Ref(p.Person).ID, c.Principal.Is(access.SuperAdmin), c.Account.ID}})
	}
	if p.Subject != "" {
		ways = append(ways, way{"subject", `SELECT id FROM people WHERE subject = $1`, []any{p.Subject}})
	}
	if p.Email != "" {
		ways = append(ways, way{"email", `SELECT id FROM people WHERE lower(email) = lower($1)`, []any{p.Email}})
	}
	if len(ways) != 1 {
		return 0, api.Invalid("body", "name the person in one way: person, subject or email")
	}
	w := ways[0]
	rows, err := c.Tx.Query(ctx, w.sql, w.args...)
	if err != nil {
		return 0, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, api.Invalid("body."+w.field, "nobody who has signed in is called so")
	case len(found) > 1:
		return 0, api.Conflict("person_ambiguous", "Several people have that "+w.field+": name the person in another way.")
	}
	return found[0], nil
}

// Link says that the user is the person: usage that names the person's subject is his from now on. One that is linked so
// already stays as it is. The directory is being changed by whoever calls (api.Call.ChangeDirectory). user_linked: he is
// another person; person_linked: the person is another user of the account; identity_taken: the subject is another user's.
func Link(ctx context.Context, c *api.Call, user, person int64) error {
	var have *int64
	var issuer, subject string
	err := c.Tx.QueryRow(ctx, `SELECT u.person_id, p.issuer, p.subject FROM users u JOIN people p ON p.id = $3 WHERE u.account_id = $1 AND u.id = $2`,
		c.Account.ID, user, person).Scan(&have, &issuer, &subject)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return api.NotFound(api.PersonKind)
	case err != nil:
		return err
	case have != nil && *have == person:
		return nil
	case have != nil:
		return api.Conflict("user_linked", "The user is another person; unlink him first.")
	}
	_, err = c.Tx.Exec(ctx, `UPDATE users SET person_id = $3, revision = revision + 1 WHERE account_id = $1 AND id = $2`, c.Account.ID, user, person)
	if api.Violates(err, "users_person") {
		return api.Conflict("person_linked", "The person is another user of the account; unlink that one first.")
	}
	if err != nil {
		return err
	}
	_, _, err = AddIdentity(ctx, c, user, issuer, subject)
	return err
}

// Unlink says that the user is that person no more: usage that names the subject is nobody's from now on. It says whether he
// was linked.
func Unlink(ctx context.Context, c *api.Call, user int64) (was bool, err error) {
	var issuer, subject string
	err = c.Tx.QueryRow(ctx, `SELECT p.issuer, p.subject FROM users u JOIN people p ON p.id = u.person_id WHERE u.account_id = $1 AND u.id = $2`, c.Account.ID, user).Scan(&issuer, &subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err = c.Tx.Exec(ctx, `UPDATE user_identities SET valid_to = greatest($5, valid_from + interval '1 microsecond')
		WHERE account_id = $1 AND user_id = $2 AND source = $3 AND value = $4 AND valid_to = 'infinity'`, c.Account.ID, user, issuer, subject, c.Now); err != nil {
		return false, err
	}
	_, err = c.Tx.Exec(ctx, `UPDATE users SET person_id = NULL, revision = revision + 1 WHERE account_id = $1 AND id = $2`, c.Account.ID, user)
	return true, err
}
