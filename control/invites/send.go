package invites

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

// Sent is an invite that goes out, with the link if it is by link.
type Sent struct {
	Invite
	Link string `json:"link,omitempty" example:"https://cockpit.example/invite#inv_…" doc:"what to pass on to whom it is for. It is shown here, and never again; sent again, it is another one"`
}

type sent struct{ Body Sent }

const (
	byLink = "link"
	byMail = "mail"

	endUser = "end_user"

	daysDefault = 7 // as the tags of inputs say too
)

// Delivery is how an invite goes out.
type Delivery struct {
	How  string `json:"delivery,omitempty" enum:"link,mail" default:"link" doc:"link: the answer has a link to pass on. mail: the issuer sends its own, where the cockpit provisions it"`
	Days int    `json:"expires_in_days,omitempty" minimum:"1" maximum:"30" default:"7" doc:"how long it can be accepted"`
}

// draft is an invite that is to be made.
type draft struct {
	account       int64
	role          string
	section, user int64 // 0: none
	email, name   string
	Delivery
}

// token is the text in a link, and what is kept of it; none of a mail.
func (d *Delivery) token() (text string, hash []byte) {
	if d.How == byMail {
		return "", nil
	}
	text = "inv_" + strings.ToLower(rand.Text())
	return text, hashed(text)
}

func (d *Delivery) until(c *api.Call) time.Time {
	return c.Now.Add(time.Duration(d.Days) * 24 * time.Hour)
}

func hashed(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// send makes the invite, and puts it on record. One to the same that is pending is sent again.
func (d *draft) send(ctx context.Context, c *api.Call) (*sent, error) {
	if err := allowed(ctx, c.Tx, d.account, d.email); err != nil {
		return nil, err
	}
	known, err := d.mail(ctx, c)
	if err != nil {
		return nil, err
	}
	text, hash := d.token()
	var id int64
	err = c.Tx.QueryRow(ctx, `INSERT INTO invites (account_id, role, section_id, user_id, email, name, delivery, token_hash, sent_at, expires_at, created_at, created_by, provisioned)
		VALUES ($1, $2, nullif($3::bigint, 0), nullif($4::bigint, 0), $5, $6, $7, $8, $9, $10, $9, $11, nullif($12::bigint, 0)) ON CONFLICT DO NOTHING RETURNING id`,
		d.account, d.role, d.section, d.user, d.email, d.name, d.How, hash, c.Now, d.until(c), c.Principal.ID, known).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return d.sendAgain(ctx, c, known)
	}
	if err != nil {
		return nil, err
	}
	i, err := load(ctx, c, d.account, 0, id, false)
	if err != nil {
		return nil, err
	}
	return i.sent(c, text), i.record(ctx, c, "invite.created", nil)
}

// sendAgain renews the pending invite to the same.
func (d *draft) sendAgain(ctx context.Context, c *api.Call, known int64) (*sent, error) {
	rows, err := c.Tx.Query(ctx, `SELECT `+columns+` FROM `+tables+` WHERE i.account_id = $1 AND i.state = 'pending' AND i.role = $2 AND coalesce(i.section_id, 0) = $3
		AND coalesce(i.user_id, 0) = $4 AND ($4 <> 0 OR lower(i.email COLLATE pg_c_utf8) = lower($5 COLLATE pg_c_utf8)) FOR UPDATE OF i`, d.account, d.role, d.section, d.user, d.email)
	before, err := api.One(api.InviteKind, rows, err, scan(c.Now))
	if err != nil {
		return nil, err
	}
	before.Email = d.email
	return before.renew(ctx, c, d.Delivery, known)
}

func (i *Invite) sent(c *api.Call, text string) *sent {
	s := &sent{Sent{Invite: *i}}
	if text != "" {
		s.Body.Link = c.URL(pagePath) + "#" + text
	}
	return s
}

// ofUser is the invite of a user of the call's section: he has an e-mail and a place there, and nobody signs in as him yet.
func ofUser(ctx context.Context, c *api.Call, ref api.Ref) (*draft, error) {
	d := &draft{account: c.Account.ID, role: endUser, section: c.Section.ID}
	var state string
	var linked, member bool
	err := c.Tx.QueryRow(ctx, `SELECT u.id, u.name, coalesce(u.email, ''), CASE WHEN u.erased_at IS NULL THEN u.state ELSE 'erased' END, u.person_id IS NOT NULL,
			EXISTS (SELECT FROM scopes m JOIN scope_parents p ON p.account_id = m.account_id AND p.scope_id = m.id AND p.valid_to = 'infinity'
				WHERE m.account_id = u.account_id AND m.user_id = u.id AND m.kind = 'membership' AND m.section_id = $4)
		FROM users u WHERE u.account_id = $1 AND (u.id = $2 OR u.key = $3)`, c.Account.ID, ref.ID, ref.Key, c.Section.ID).
		Scan(&d.user, &d.name, &d.email, &state, &linked, &member)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		err = api.Invalid("body.user", "there is no such user")
	case err != nil:
	case state != "active":
		err = api.Conflict("user_"+state, "The user is "+state+".")
	case linked:
		err = api.Conflict("user_linked", "Somebody signs in as this user already.")
	case !member:
		err = api.Conflict("no_membership", "The user has no place in this section: add a membership first.")
	case d.email == "":
		err = api.Conflict("no_email", "The user has no e-mail.")
	}
	return d, err
}

// sendAgain sends an invite that was not accepted once more, in the way that it went out.
func (i *Invite) sendAgain(ctx context.Context, c *api.Call, days int) (*sent, error) {
	if i.state != pending {
		return nil, i.over()
	}
	if err := allowed(ctx, c.Tx, i.account, i.Email); err != nil {
		return nil, err
	}
	d := draft{account: i.account, role: i.Role, email: i.Email, name: i.Name, Delivery: Delivery{i.Delivery, days}}
	known, err := d.mail(ctx, c)
	if err != nil {
		return nil, err
	}
	return i.renew(ctx, c, d.Delivery, known)
}

// renew gives an invite another link, or none, and another time.
func (i *Invite) renew(ctx context.Context, c *api.Call, how Delivery, known int64) (*sent, error) {
	text, hash := how.token()
	_, err := c.Tx.Exec(ctx, `UPDATE invites SET email = $3, delivery = $4, token_hash = $5, sends = sends + 1, sent_at = $6, expires_at = $7, provisioned = nullif($8::bigint, 0)
		WHERE account_id = $1 AND id = $2`, i.account, i.number, i.Email, how.How, hash, c.Now, how.until(c), known)
	if err != nil {
		return nil, err
	}
	after, err := load(ctx, c, i.account, 0, i.number, false)
	if err != nil {
		return nil, err
	}
	return after.sent(c, text), after.record(ctx, c, "invite.resent", i)
}

// revoke ends an invite that was not accepted. One that is revoked stays as it is.
func revoke(ctx context.Context, c *api.Call, before *Invite) (*struct{ Body Invite }, error) {
	if before.state == "accepted" {
		return nil, before.over()
	}
	if _, err := c.Tx.Exec(ctx, `UPDATE invites SET state = 'revoked' WHERE account_id = $1 AND id = $2`, before.account, before.number); err != nil {
		return nil, err
	}
	i, err := load(ctx, c, before.account, 0, before.number, false)
	if err == nil {
		err = i.withdraw(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	return &struct{ Body Invite }{*i}, i.record(ctx, c, "invite.revoked", before)
}

// over is why nothing more can be done with an invite.
func (i *Invite) over() error {
	switch i.State {
	case "accepted":
		return api.Conflict("invite_accepted", "The invite is accepted already.")
	case "revoked":
		return api.Conflict("invite_revoked", "The invite is revoked: make another one.")
	}
	return api.Conflict("invite_expired", "The invite was not accepted in time: ask for another one.")
}

// allowed refuses an e-mail of a domain that the account does not invite.
func allowed(ctx context.Context, tx pgx.Tx, account int64, email string) error {
	var domains []string
	if err := tx.QueryRow(ctx, `SELECT invite_domains FROM accounts WHERE account_id = $1`, account).Scan(&domains); err != nil {
		return err
	}
	domain, err := api.Domain(email[strings.LastIndex(email, "@")+1:])
	if len(domains) == 0 || err == nil && slices.Contains(domains, domain) {
		return nil
	}
	return api.Conflict("domain_not_allowed", fmt.Sprintf("The account invites %s only.", strings.Join(domains, ", ")))
}
