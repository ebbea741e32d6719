package scopes

import (
	"context"
	"errors"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Membership is a user's place below a team, an organization or the account.
type Membership struct {
	ID      string     `json:"id" example:"mem_1"`
	User    Member     `json:"user"`
	Of      Parent     `json:"of"`
	Primary bool       `json:"primary" doc:"usage that names no team is charged along it"`
	From    time.Time  `json:"from"`
	To      *time.Time `json:"to,omitempty" doc:"when it ended; absent while it lasts"`

	number, user int64
	parent       int64 // a scope
}

// Member is a user as memberships name him.
type Member struct {
	ID   string `json:"id" example:"usr_1"`
	Key  string `json:"key" example:"u-1"`
	Name string `json:"name" example:"Ada Lovelace"`
}

const (
	membershipColumns = `s.account_id, s.id, u.id, u.key, u.name, p.valid_from, m.membership_id IS NOT NULL, ` + parentColumns
	membershipTables  = `scopes s JOIN accounts a ON a.account_id = s.account_id JOIN users u ON u.account_id = s.account_id AND u.id = s.user_id
		JOIN scope_parents p ON p.account_id = s.account_id AND p.scope_id = s.id AND p.valid_to = 'infinity' ` + parentTables + `
		LEFT JOIN primary_memberships m ON m.account_id = s.account_id AND m.section_id = s.section_id AND m.user_id = s.user_id AND m.membership_id = s.id AND m.valid_to = 'infinity'`
	// membershipOf is whose they are: account and section follow.
	membershipOf = `s.account_id = $1 AND s.section_id = $2 AND s.kind = 'membership'`
)

func scanMembership(row pgx.CollectableRow) (m Membership, err error) {
	var account int64
	var kind, key, name string
	err = row.Scan(&account, &m.number, &m.user, &m.User.Key, &m.User.Name, &m.From, &m.Primary, &m.parent, &kind, &key, &name)
	m.ID, m.User.ID, m.Of = api.MembershipKind.ID(m.number), api.UserKind.ID(m.user), *newParent(kind, account, m.parent, key, name)
	return m, err
}

// loadMembership reads one that lasts.
func loadMembership(ctx context.Context, c *api.Call, id int64) (*Membership, error) {
	rows, err := c.Tx.Query(ctx, `SELECT `+membershipColumns+` FROM `+membershipTables+` WHERE `+membershipOf+` AND s.id = $3`, c.Account.ID, c.Section.ID, id)
	m, err := api.One(api.MembershipKind, rows, err, scanMembership)
	return &m, err
}

// recorded is what the audit log has of a membership: the user by his id alone, since who he is may be erased.
type recorded struct {
	User    string     `json:"user"`
	Of      Parent     `json:"of"`
	Primary bool       `json:"primary"`
	To      *time.Time `json:"to,omitempty"`
}

func (m *Membership) recorded() any {
	if m == nil {
		return nil
	}
	return recorded{m.User.ID, m.Of, m.Primary, m.To}
}

func record(ctx context.Context, c *api.Call, what string, before, after *Membership) error {
	return c.Record(ctx, api.Change{Action: "membership." + what, Object: audit.Object{Kind: api.MembershipKind.Name, ID: after.ID}, Before: before.recorded(), After: after.recorded()})
}

// join gives the user a membership below parent.
func join(ctx context.Context, c *api.Call, user, parent int64) (id int64, err error) {
	if err = c.Tx.QueryRow(ctx, `INSERT INTO scopes (account_id, section_id, kind, user_id, created_at) VALUES ($1, $2, 'membership', $3, $4) RETURNING id`,
		c.Account.ID, c.Section.ID, user, c.Now).Scan(&id); err != nil {
		return 0, err
	}
	_, err = link(ctx, c, id, parent)
	return id, err
}

// joined is the user's membership below parent that lasts; 0 if he has none.
func joined(ctx context.Context, c *api.Call, user, parent int64) (id int64, err error) {
	err = c.Tx.QueryRow(ctx, `SELECT s.id FROM `+membershipTables+` WHERE `+membershipOf+` AND s.user_id = $3 AND p.parent_id = $4`,
		c.Account.ID, c.Section.ID, user, parent).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return id, err
}

// other is the oldest of the user's memberships that last; 0 if he has none.
func other(ctx context.Context, c *api.Call, user int64) (id int64, err error) {
	err = c.Tx.QueryRow(ctx, `SELECT coalesce(min(s.id), 0) FROM `+membershipTables+` WHERE `+membershipOf+` AND s.user_id = $3`, c.Account.ID, c.Section.ID, user).Scan(&id)
	return id, err
}

// hasPrimary says whether the user has a primary membership in the section.
func hasPrimary(ctx context.Context, c *api.Call, user int64) (has bool, err error) {
	err = c.Tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM primary_memberships WHERE account_id = $1 AND section_id = $2 AND user_id = $3 AND valid_to = 'infinity')`,
		c.Account.ID, c.Section.ID, user).Scan(&has)
	return has, err
}

// setPrimary makes the membership the user's primary one from now on, and the one before it that no more. 0: none is.
func setPrimary(ctx context.Context, c *api.Call, user, membership int64) error {
	if _, err := c.Tx.Exec(ctx, `UPDATE primary_memberships SET valid_to = greatest($4, valid_from + interval '1 microsecond')
		WHERE account_id = $1 AND section_id = $2 AND user_id = $3 AND valid_to = 'infinity'`, c.Account.ID, c.Section.ID, user, c.Now); err != nil || membership == 0 {
		return err
	}
	_, err := c.Tx.Exec(ctx, `INSERT INTO primary_memberships (account_id, section_id, user_id, membership_id, valid_from, recorded_at)
		SELECT $1, $2, $3, $4, greatest($5, (SELECT max(valid_to) FROM primary_memberships WHERE account_id = $1 AND section_id = $2 AND user_id = $3)), $5`,
		c.Account.ID, c.Section.ID, user, membership, c.Now)
	return err
}
