package provisioning

import (
	"context"
	"errors"
	"slices"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

func personObject(b *somebody) audit.Object {
	return audit.Object{Kind: api.PersonKind.Name, ID: api.PersonKind.ID(b.person), Name: b.name}
}

// held is a row of issuer_grants as events and lists change it.
type held struct {
	account, user int64
	email         string
	roles         []string
	active        bool
	id            string
	there         []string
	activeThere   bool
	shutThere     bool
	sequence      int64
	settled       bool
}

const heldColumns = `g.account_id, g.user_id, u.email, g.roles, g.active, g.grant_id, g.roles_there, g.active_there, g.shut_there, g.sequence, g.asked = g.done AND g.changed_at < now() - $1::interval`

func scanHeld(row pgx.CollectableRow) (h held, err error) {
	return h, row.Scan(&h.account, &h.user, &h.email, &h.roles, &h.active, &h.id, &h.there, &h.activeThere, &h.shutThere, &h.sequence, &h.settled)
}

// lockGrant loads a row for change by where.
func (s *Service) lockGrant(ctx context.Context, tx pgx.Tx, where string, args ...any) (*held, error) {
	rows, err := tx.Query(ctx, `SELECT `+heldColumns+` FROM issuer_grants g JOIN issuer_users u ON u.id = g.user_id JOIN issuer_organizations o ON o.account_id = g.account_id
		WHERE `+where+` FOR UPDATE OF g`, append([]any{s.cfg.Pace.Settle}, args...)...)
	if err != nil {
		return nil, err
	}
	h, err := pgx.CollectExactlyOneRow(rows, scanHeld)
	return &h, err
}

func (s *Service) applyGrant(ctx context.Context, tx pgx.Tx, e *event) (string, error) {
	h, err := s.lockGrant(ctx, tx, `g.grant_id = $2`, e.AggregateID)
	if errors.Is(err, pgx.ErrNoRows) {
		return s.given(ctx, tx, e)
	}
	if err != nil {
		return "", err
	}
	if e.Sequence <= h.sequence {
		return known, nil
	}
	h.sequence = e.Sequence
	if e.Editor == s.api.key.UserID {
		_, err := tx.Exec(ctx, `UPDATE issuer_grants SET sequence = $3 WHERE account_id = $1 AND user_id = $2`, h.account, h.user, h.sequence)
		return known, err
	}
	before := *h
	switch e.Type {
	case "user.grant.changed", "user.grant.cascade.changed":
		h.there = slices.Sorted(slices.Values(e.Payload.RoleKeys))
	case "user.grant.removed", "user.grant.cascade.removed":
		h.gone()
	case "user.grant.deactivated":
		h.activeThere, h.shutThere = false, true
	case "user.grant.reactivated":
		h.activeThere, h.shutThere = true, false
	default:
		return unknown, nil
	}
	if e.Type == "user.grant.cascade.removed" { // with the project grant, maybe
		if _, err := tx.Exec(ctx, `UPDATE issuer_organizations SET granted = false, `+askedAgain+`, leased_until = '-infinity' WHERE account_id = $1`, h.account); err != nil {
			return "", err
		}
	}
	return applied, s.keepGrant(ctx, tx, &before, h, fromEvent)
}

// given is an authorization that no row has. One of somebody whose roles the cockpit ended is ended again. One that the
// cockpit never had to do with stays, on record: whoever is admin in the account's organization administers the account.
func (s *Service) given(ctx context.Context, tx pgx.Tx, e *event) (string, error) {
	if e.Type != "user.grant.added" || e.Payload.ProjectID != s.cfg.Project || e.Editor == s.api.key.UserID {
		return foreign, nil
	}
	h, err := s.lockGrant(ctx, tx, `u.subject = $2 AND o.organization = $3`, e.Payload.UserID, e.ResourceOwner)
	switch {
	case err == nil:
		before := *h
		h.id, h.there, h.activeThere, h.sequence = e.AggregateID, slices.Sorted(slices.Values(e.Payload.RoleKeys)), true, e.Sequence
		return applied, s.keepGrant(ctx, tx, &before, h, fromEvent)
	case !errors.Is(err, pgx.ErrNoRows):
		return "", err
	}
	var account int64
	err = tx.QueryRow(ctx, `SELECT account_id FROM accounts WHERE issuer_organization = $1`, e.ResourceOwner).Scan(&account)
	if errors.Is(err, pgx.ErrNoRows) {
		return foreign, nil
	}
	if err != nil {
		return "", err
	}
	return applied, s.recordForeign(ctx, tx, account, e.AggregateID, e.Payload.UserID, e.Payload.RoleKeys, fromEvent)
}

const byHand = "issuer_roles.given_by_hand"

// recordForeign puts an authorization on record that the cockpit did not make: once, however often it is told.
func (s *Service) recordForeign(ctx context.Context, tx pgx.Tx, account int64, id, user string, roles []string, from string) error {
	var told bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM audit_entries WHERE account_id = $1 AND object_kind = 'issuer_roles' AND object_id = $2 AND action = $3)`, account, id, byHand).Scan(&told); err != nil || told {
		return err
	}
	return s.record(ctx, tx, account, byHand, audit.Object{Kind: "issuer_roles", ID: id, Name: user}, nil, map[string]any{"roles": ours(roles)}, from)
}

// keepGrant writes what became of an authorization, with an entry. What is not as wanted, the worker sets back.
func (s *Service) keepGrant(ctx context.Context, tx pgx.Tx, before, h *held, from string) error {
	if h.id != "" { // a row that is being claimed with an id which is not its own any more loses it
		if _, err := tx.Exec(ctx, `UPDATE issuer_grants SET grant_id = '' WHERE grant_id = $1 AND (account_id, user_id) <> ($2, $3)`, h.id, h.account, h.user); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE issuer_grants SET grant_id = $3, roles_there = $4, active_there = $5, shut_there = $6, sequence = $7, `+askedAgain+`, leased_until = '-infinity'
		WHERE account_id = $1 AND user_id = $2`, h.account, h.user, h.id, h.there, h.activeThere, h.shutThere, h.sequence)
	if err != nil {
		return err
	}
	action := "issuer_roles.changed"
	if !slices.Equal(h.there, h.roles) {
		action = "issuer_roles.set_back"
	}
	return s.record(ctx, tx, h.account, action, audit.Object{Kind: "issuer_roles", ID: api.ProvisioningKind.ID(h.user), Name: h.email}, before.facts(), h.facts(), from)
}

// gone is that it is not there any more.
func (h *held) gone() {
	h.id, h.there, h.activeThere, h.shutThere, h.sequence = "", []string{}, true, false, 0
}

func (h *held) facts() map[string]any {
	return map[string]any{"roles": h.there, "active": h.activeThere, "there": h.id != ""}
}
