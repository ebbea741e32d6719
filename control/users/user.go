package users

import (
	"context"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"
)

// User is a user as the API shows him.
type User struct {
	ID        string    `json:"id" example:"usr_1"`
	Key       string    `json:"key" example:"u-1" doc:"what products name him by"`
	Aliases   []string  `json:"aliases,omitempty" doc:"keys that he had before: products may go on naming him so"`
	Name      string    `json:"name" example:"Ada Lovelace"`
	Email     string    `json:"email,omitempty" example:"ada@acme.example"`
	State     string    `json:"state" enum:"active,inactive,erased" doc:"inactive: what he still uses is charged, and flagged"`
	Person    string    `json:"person,omitempty" example:"per_1" doc:"who signs in as him"`
	CreatedAt time.Time `json:"created_at"`

	number, revision int64
}

const stateOf = `CASE WHEN u.erased_at IS NULL THEN u.state ELSE 'erased' END`

const columns = `u.id, u.revision, u.key, u.name, coalesce(u.email, ''), ` + stateOf + `, u.created_at,
	ARRAY(SELECT a.key FROM key_aliases a WHERE a.account_id = u.account_id AND a.user_id = u.id ORDER BY a.id), coalesce(u.person_id, 0)`

// aliased is whose alias $3 is, in account $1.
const aliased = `(SELECT user_id FROM key_aliases WHERE account_id = $1 AND kind = 'user' AND section_id IS NULL AND key = $3)`

func scan(row pgx.CollectableRow) (u User, err error) {
	var person int64
	err = row.Scan(&u.number, &u.revision, &u.Key, &u.Name, &u.Email, &u.State, &u.CreatedAt, &u.Aliases, &person)
	u.ID = api.UserKind.ID(u.number)
	if person != 0 {
		u.Person = api.PersonKind.ID(person)
	}
	return u, err
}

func (u *User) object() audit.Object { return audit.Object{Kind: api.UserKind.Name, ID: u.ID} }

func (u *User) answer() *api.Answer[User] { return api.NewAnswer(u.revision, *u) }

// recorded is what the audit log has of a user: not who he is.
type recorded struct {
	State  string `json:"state"`
	Name   string `json:"name,omitempty"`
	Email  string `json:"email,omitempty"`
	Key    string `json:"key,omitempty"`
	Person string `json:"person,omitempty"`
}

const changed = "changed"

// record puts a change of a user on record. before nil: he was not there.
func (u *User) record(ctx context.Context, c *api.Call, action, reason string, before *User) error {
	change := api.Change{Action: action, Object: u.object(), Reason: reason}
	after := recorded{State: u.State}
	if before != nil {
		change.Before = recorded{State: before.State}
		if before.Name != u.Name {
			after.Name = changed
		}
		if before.Key != u.Key && u.State != "erased" {
			after.Key = changed
		}
		if before.Person != u.Person {
			after.Person = changed
		}
		if before.Email != u.Email {
			after.Email = changed
		}
	}
	change.After = after
	return c.Record(ctx, change)
}

// load reads a user of the account.
func load(ctx context.Context, c *api.Call, ref api.Ref) (*User, error) {
	rows, err := c.Tx.Query(ctx, `SELECT `+columns+` FROM users u WHERE u.account_id = $1 AND (u.id = $2 OR u.key = $3 OR u.id = `+aliased+`)`, c.Account.ID, ref.ID, ref.Key)
	u, err := api.One(api.UserKind, rows, err, scan)
	return &u, err
}

// loadForChange begins a change of a user who was not erased.
func loadForChange(ctx context.Context, c *api.Call, id string) (*User, error) {
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	u, err := load(ctx, c, api.UserKind.Ref(id))
	if err == nil && u.State == "erased" {
		err = erasedAlready()
	}
	return u, err
}

func erasedAlready() *api.Problem {
	return api.Conflict("user_erased", "The user is erased: nothing of him can be changed any more.")
}

// save writes what can change of a user, with a new revision, and fills in what the database says.
func (u *User) save(ctx context.Context, c *api.Call) error {
	rows, err := c.Tx.Query(ctx, `UPDATE users u SET name = $3, email = nullif($4, ''), state = $5, revision = revision + 1
		WHERE u.account_id = $1 AND u.id = $2 RETURNING `+columns, c.Account.ID, u.number, u.Name, u.Email, u.State)
	*u, err = api.One(api.UserKind, rows, err, scan)
	return err
}

const (
	activeUsers = "active users"
	countActive = `SELECT count(*) FROM users WHERE account_id = $1 AND state = 'active'`
)

// addToSections gives users a row in each section of the account.
func addToSections(ctx context.Context, c *api.Call, users []int64) error {
	_, err := c.Tx.Exec(ctx, `INSERT INTO scopes (account_id, section_id, kind, user_id, created_at)
		SELECT s.account_id, s.section_id, 'user', u.id, $3 FROM account_sections s, unnest($2::bigint[]) AS u(id) WHERE s.account_id = $1`, c.Account.ID, users, c.Now)
	return err
}

// holdLimit refuses one active user too many.
func holdLimit(ctx context.Context, c *api.Call) error {
	return c.HoldLimit(ctx, c.Account.Limits.Users, activeUsers, countActive)
}

// How many characters a name, an e-mail and the two parts of an identity have at most, as the tags of inputs say too.
const nameMax, emailMax, identityMax = 200, 320, 256

// text is a name or e-mail as it is kept: what looks the same is the same.
func text(s string) string { return norm.NFC.String(strings.TrimSpace(s)) }

func name(s string) (string, error) {
	if s = text(s); s == "" {
		return "", api.Invalid("body.name", "a name is not empty")
	}
	return s, nil
}
