package invites

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/naming"
)

func registerAccepting(a *api.API) {
	const path, none = "/v1/invites", `{"token":"inv_nobodyhasthis"}`
	api.Read(a, api.Operation{Method: http.MethodPost, Path: path + "/look", ID: "lookAtInvite", Summary: "What an invite is for", Tag: tag, Permission: access.SelfRead,
		Description: "For whoever has its link and has signed in. A POST, so that the link's text is in no log.",
		Examples:    []api.Example{{As: asAdmin, Path: path + "/look", Body: none, Status: http.StatusNotFound}}}, look)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: path + "/accept", ID: "acceptInvite", Summary: "Accept an invite", Tag: tag, Permission: access.SelfWrite,
		Description: "As whoever has signed in, whose e-mail at the issuer must be the invited one. Accepted again by the same person it is answered as it is.",
		Examples:    []api.Example{{As: asAdmin, Path: path + "/accept", Body: none, Status: http.StatusNotFound}}}, accept)
}

type tokenBody struct {
	Token string `json:"token" minLength:"1" maxLength:"100" doc:"the text in the link, behind the #"`
}

// Offer is what an invite is for, as whoever has its link sees it.
type Offer struct {
	Account   KeyedRef   `json:"account"`
	Name      string     `json:"account_name" example:"Acme"`
	Role      string     `json:"role" enum:"account_admin,account_viewer,section_admin,end_user"`
	Section   *KeyedRef  `json:"section,omitempty"`
	Email     string     `json:"email" example:"grace@acme.example"`
	InvitedBy *PersonRef `json:"invited_by,omitempty"`
	State     string     `json:"state" enum:"pending,accepted,revoked,expired"`
	ExpiresAt time.Time  `json:"expires_at"`
	Yours     bool       `json:"yours" doc:"whether the e-mail is that of whoever asks"`
}

// presented loads the invite that a token opens, of any account, and that account; lock says that it will be changed.
func presented(ctx context.Context, c *api.Call, token string, lock bool) (*Invite, *Offer, error) {
	sql := `SELECT ` + columns + ` FROM ` + tables + ` WHERE i.token_hash = $1`
	if lock {
		sql += ` FOR UPDATE OF i`
	}
	rows, err := c.Tx.Query(ctx, sql, hashed(token))
	i, err := api.One(api.InviteKind, rows, err, scan(c.Now))
	if err != nil {
		return nil, nil, err
	}
	o := &Offer{Role: i.Role, Section: i.Section, Email: i.Email, InvitedBy: i.InvitedBy, State: i.State, ExpiresAt: i.ExpiresAt}
	account := api.Account{ID: i.account}
	var email string
	err = c.Tx.QueryRow(ctx, `SELECT a.key, a.name, a.state, a.limits, coalesce((SELECT email FROM people WHERE id = $2), '') FROM accounts a WHERE a.account_id = $1`,
		i.account, c.Principal.ID).Scan(&account.Key, &o.Name, &account.State, &account.Limits, &email)
	o.Account, o.Yours = KeyedRef{api.AccountKind.ID(account.ID), account.Key}, c.Principal.Kind == access.Person && strings.EqualFold(text(email), i.Email)
	c.Account = &account
	return &i, o, err
}

type lookInput struct{ Body tokenBody }

func look(ctx context.Context, c *api.Call, in *lookInput) (*struct{ Body Offer }, error) {
	_, o, err := presented(ctx, c, in.Body.Token, false)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Offer }{*o}, nil
}

type acceptInput struct {
	api.Idempotent
	Body tokenBody
}

// Accepted is what somebody has from accepting.
type Accepted struct {
	Offer
	AcceptedAt *time.Time `json:"accepted_at"`
}

func accept(ctx context.Context, c *api.Call, in *acceptInput) (*struct{ Body Accepted }, error) {
	// The account is locked first, as everybody does who changes its directory, and then the invite.
	if _, _, err := presented(ctx, c, in.Body.Token, false); err != nil {
		return nil, err
	}
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	before, o, err := presented(ctx, c, in.Body.Token, true)
	if err != nil {
		return nil, err
	}
	me := api.PersonKind.ID(c.Principal.ID)
	switch {
	case c.Principal.Kind != access.Person:
		return nil, api.NewProblem(http.StatusForbidden, api.CodeForbidden, "Only a person accepts an invite.")
	case before.State == "accepted" && before.AcceptedBy.ID == me:
		return &struct{ Body Accepted }{Accepted{*o, before.AcceptedAt}}, before.record(ctx, c, "invite.accepted", before)
	case before.State != pending:
		return nil, before.over()
	case !o.Yours:
		return nil, api.NewProblem(http.StatusForbidden, "other_email", "The invite is for another e-mail than that of whoever has signed in.")
	}
	if err := allowed(ctx, c.Tx, before.account, before.Email); err != nil {
		return nil, err
	}
	admin := slices.ContainsFunc(c.Principal.Grants, func(g access.Grant) bool { return g.Role == access.AccountAdmin && g.Account == before.account })
	i, err := before.accept(ctx, c, admin)
	if err != nil {
		return nil, err
	}
	o.State = i.State
	return &struct{ Body Accepted }{Accepted{*o, i.AcceptedAt}}, nil
}

// accept makes the caller what the invite, which is locked, says, and puts that on record. admin: the issuer calls him admin of
// the account, and no assignment makes him less.
func (i *Invite) accept(ctx context.Context, c *api.Call, admin bool) (*Invite, error) {
	known, err := i.known(ctx, c)
	switch {
	case err != nil:
	case i.Role == endUser:
		err = link(ctx, c, i.user)
	case !admin || i.Role == string(access.AccountAdmin):
		_, err = c.Tx.Exec(ctx, `INSERT INTO assignments (account_id, person_id, role, section_id, created_at) VALUES ($1, $2, $3, nullif($4::bigint, 0), $5) ON CONFLICT DO NOTHING`,
			i.account, c.Principal.ID, i.Role, i.section, c.Now)
	}
	if err != nil {
		return nil, err
	}
	_, err = c.Tx.Exec(ctx, `UPDATE invites SET state = 'accepted', accepted_at = $3, accepted_by = $4, provisioned = nullif($5::bigint, 0) WHERE account_id = $1 AND id = $2`,
		i.account, i.number, c.Now, c.Principal.ID, known)
	if err != nil {
		return nil, err
	}
	after, err := load(ctx, c, i.account, 0, i.number, false)
	if err != nil {
		return nil, err
	}
	return after, after.record(ctx, c, "invite.accepted", i)
}

// link makes the caller the person of a user, who must still be there.
func link(ctx context.Context, c *api.Call, user int64) error {
	var state string
	if err := c.Tx.QueryRow(ctx, `SELECT CASE WHEN erased_at IS NULL THEN state ELSE 'erased' END FROM users WHERE account_id = $1 AND id = $2`, c.Account.ID, user).Scan(&state); err != nil {
		return err
	}
	if state != "active" {
		return api.Conflict("user_"+state, "The user is "+state+" by now.")
	}
	return naming.Link(ctx, c, user, c.Principal.ID)
}
