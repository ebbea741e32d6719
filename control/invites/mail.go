package invites

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/pause"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/jackc/pgx/v5"
)

// issuerRole is what the issuer is to call somebody in the account's organization. The narrower roles are the cockpit's own.
func issuerRole(role string) string {
	if role == string(access.AccountAdmin) {
		return provisioning.AccountAdmin
	}
	return provisioning.EndUser
}

// wanted asks for whom the invite is for at the issuer, and returns as whom he is known; 0: the issuer is not provisioned.
func (d *draft) wanted(ctx context.Context, c *api.Call, mail bool) (int64, error) {
	if _, err := c.Tx.Exec(ctx, `SELECT FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE`, d.account); err != nil {
		return 0, err
	}
	given, family := d.name, ""
	if at := strings.LastIndex(d.name, " "); at > 0 {
		given, family = d.name[:at], d.name[at+1:]
	}
	known, err := provisioning.Invite(ctx, c.Tx, provisioning.Invitee{Account: d.account, Email: d.email, GivenName: given, FamilyName: family,
		Roles: []string{issuerRole(d.role)}, Mail: mail})
	if errors.Is(err, provisioning.ErrEmail) {
		err = api.Invalid("body.email", "the issuer takes no such e-mail")
	}
	return known, err
}

// mail has the issuer send the invite, if it is to.
func (d *draft) mail(ctx context.Context, c *api.Call) (known int64, err error) {
	if d.How != byMail {
		return 0, nil
	}
	if known, err = d.wanted(ctx, c, true); err == nil && known == 0 {
		err = api.Conflict("mail_unavailable", "The issuer is not provisioned by the cockpit, and sends no mail for it; invite by link.")
	}
	return known, err
}

// known is as whom the issuer knows whoever accepts, with the role from now on; 0: the issuer is not provisioned.
func (i *Invite) known(ctx context.Context, c *api.Call) (int64, error) {
	if i.provisioned != 0 {
		return i.provisioned, nil
	}
	d := draft{account: i.account, role: i.Role, email: i.Email, name: i.Name}
	return d.wanted(ctx, c, false)
}

// withdraw takes back at the issuer what the invite, which is over, asked for there, and no other of his does.
func (i *Invite) withdraw(ctx context.Context, c *api.Call) error {
	if i.provisioned == 0 {
		return nil
	}
	rows, err := c.Tx.Query(ctx, `SELECT DISTINCT CASE role WHEN 'account_admin' THEN $3 ELSE $4 END FROM invites
		WHERE account_id = $1 AND provisioned = $2 AND state <> 'revoked' ORDER BY 1`, i.account, i.provisioned, provisioning.AccountAdmin, provisioning.EndUser)
	if err != nil {
		return err
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	return provisioning.SetRoles(ctx, c.Tx, i.provisioned, i.account, roles)
}

const (
	settleEvery = 2 * time.Second
	settleMax   = 500 // at a time
)

// settling is what accepts invites by mail, as soon as whom they are for has set himself up at the issuer, by the mail or long
// before, or has signed in here. Their time is the issuer's: when it let somebody in, he is in.
type settling struct{ api *api.API }

// run settles now and then, until ctx ends.
func (s *settling) run(ctx context.Context) error {
	for {
		if err := s.once(ctx); err != nil && ctx.Err() == nil {
			s.api.Config().Log.Warn("accepting invites by mail", "error", err)
		}
		if !pause.For(ctx, settleEvery) {
			return nil
		}
	}
}

// due is an invite whose person is there.
type due struct {
	account, invite, person int64
	name                    string
}

func (s *settling) once(ctx context.Context) error {
	rows, err := s.api.Config().Stores.Platform.Query(ctx, `SELECT i.account_id, i.id, p.id, coalesce(nullif(p.name, ''), p.email)
		FROM invites i JOIN accounts a USING (account_id) JOIN issuer_users u ON u.id = i.provisioned JOIN people p ON p.id = u.person_id
			LEFT JOIN users x ON x.account_id = i.account_id AND x.id = i.user_id
		WHERE i.state = 'pending' AND i.delivery = 'mail' AND (u.verified OR NOT u.own OR p.seen) AND p.state = 'active' AND a.state = 'active' AND coalesce(x.state, 'active') = 'active' ORDER BY i.id LIMIT $1`, settleMax)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d due, err error) {
		return d, row.Scan(&d.account, &d.invite, &d.person, &d.name)
	})
	if err != nil {
		return err
	}
	var failed []error
	for _, d := range all {
		if err := s.accept(ctx, d); err != nil {
			failed = append(failed, fmt.Errorf("invite %s: %w", api.InviteKind.ID(d.invite), err))
		}
	}
	return errors.Join(failed...)
}

func (s *settling) accept(ctx context.Context, d due) error {
	return s.api.Config().Stores.InTx(ctx, d.account, pgx.ReadWrite, func(tx pgx.Tx) error {
		c, err := s.api.Later(ctx, tx, api.Work{Author: api.Author{Kind: access.Person, ID: d.person, Name: d.name}, Permission: access.SelfWrite, Account: d.account})
		if err != nil {
			return err
		}
		if err := c.ChangeDirectory(ctx); err != nil {
			return err
		}
		i, err := load(ctx, c, d.account, 0, d.invite, true)
		if err != nil || i.state != pending {
			return err
		}
		var admin bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM issuer_grants WHERE account_id = $1 AND user_id = $2 AND $3 = ANY(roles))`,
			d.account, i.provisioned, provisioning.AccountAdmin).Scan(&admin); err != nil {
			return err
		}
		if _, err := i.accept(ctx, c, admin); err != nil {
			return err
		}
		return c.Settle(ctx)
	})
}
