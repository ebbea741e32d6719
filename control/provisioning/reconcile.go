package provisioning

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Difference is what lists say otherwise than rows, of what nothing is under way with.
type Difference struct {
	Kind  string `json:"kind"` // user or membership
	Name  string `json:"name"`
	Field string `json:"field"`
	Here  string `json:"here"`
	There string `json:"there"`
	Rule  string `json:"rule"` // what is done about it: taken from ZITADEL, set back there, or on record
}

// Reconcile compares with ZITADEL's lists, page by page, and tells every difference. With apply it mends them as events would
// have: lost ones are made up for. What changed a moment ago is left for the next time, since lists lag behind.
func (s *Service) Reconcile(ctx context.Context, apply bool, tell func(Difference)) error {
	if apply { // closed accounts whose people were still wanted elsewhere
		_, err := s.cfg.Pool.Exec(ctx, `UPDATE issuer_organizations o SET `+askedAgain+` FROM accounts a WHERE a.account_id = o.account_id AND o.own AND o.asked = o.done AND o.active <> (a.state NOT IN ('closed', 'erased'))`)
		if err != nil {
			return fmt.Errorf("look at organizations: %w", err)
		}
	}
	if err := s.compareUsers(ctx, apply, tell); err != nil {
		return fmt.Errorf("compare users: %w", err)
	}
	if err := s.compareGrants(ctx, apply, tell); err != nil {
		return fmt.Errorf("compare authorizations: %w", err)
	}
	return nil
}

// compareUsers goes over everybody who is known here, a page of ZITADEL's list at a time.
func (s *Service) compareUsers(ctx context.Context, apply bool, tell func(Difference)) error {
	for after := ""; ; {
		rows, err := s.cfg.Pool.Query(ctx, `SELECT subject FROM people WHERE issuer = $1 AND subject > $2
			UNION SELECT subject FROM issuer_users WHERE there NOT IN ('', 'removed', 'removing') AND subject > $2 ORDER BY 1 LIMIT $3`, s.cfg.Issuer, after, pageSize)
		if err != nil {
			return err
		}
		subjects, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(subjects) == 0 {
			return err
		}
		after = subjects[len(subjects)-1]
		list, err := s.api.listUsers(ctx, byIDs(subjects))
		if err != nil {
			return err
		}
		listed := map[string]*remoteUser{}
		for i := range list {
			listed[list[i].UserID] = &list[i]
		}
		for _, subject := range subjects {
			if err := s.compareUser(ctx, subject, listed[subject], apply, tell); err != nil {
				return err
			}
		}
	}
}

// errDry undoes what a comparison did that is to mend nothing.
var errDry = errors.New("nothing is mended")

func (s *Service) dry(ctx context.Context, apply bool, f func(pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		if err := f(tx); err != nil || apply {
			return err
		}
		return errDry
	})
	if errors.Is(err, errDry) {
		return nil
	}
	return err
}

func (s *Service) compareUser(ctx context.Context, subject string, there *remoteUser, apply bool, tell func(Difference)) error {
	gone := false
	if there == nil { // only ZITADEL's own word that he is not there is taken
		var err error
		if there, err = s.api.getUser(ctx, subject); err != nil {
			if gone = absent(err); !gone {
				return err
			}
		}
	}
	return s.dry(ctx, apply, func(tx pgx.Tx) error {
		b, err := s.lock(ctx, tx, subject)
		if err != nil || !b.settled || b.there == stateRemoved || b.there == stateRemoving {
			return ignoreNone(err)
		}
		before := *b
		if gone {
			b.move(stateRemoved)
		} else {
			if there.Human != nil {
				b.profile(there.Human.Profile.GivenName, there.Human.Profile.FamilyName, there.name())
				if there.Human.Email.IsVerified {
					if b.verified = true; there.Human.Email.Email != b.email {
						b.mail(there.Human.Email.Email)
					}
				}
			}
			if state := there.state(); state != b.there {
				b.move(state)
			}
		}
		if *b == before {
			return nil
		}
		for _, d := range []Difference{{Field: "name", Here: before.name, There: b.name}, {Field: "email", Here: before.email, There: b.email}, {Field: "state", Here: before.there, There: b.there}} {
			if d.Here != d.There {
				d.Kind, d.Name, d.Rule = "user", b.email, "taken from ZITADEL"
				tell(d)
			}
		}
		return s.keep(ctx, tx, &before, b, fromList)
	})
}

// compareGrants goes over the organizations, and the pages of what is given in each.
func (s *Service) compareGrants(ctx context.Context, apply bool, tell func(Difference)) error {
	type place struct {
		account int64
		id      string
	}
	for after := int64(0); ; {
		rows, err := s.cfg.Pool.Query(ctx, `SELECT account_id, organization FROM issuer_organizations WHERE made AND account_id > $1 ORDER BY 1 LIMIT $2`, after, pageSize)
		if err != nil {
			return err
		}
		places, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (p place, err error) { return p, r.Scan(&p.account, &p.id) })
		if err != nil || len(places) == 0 {
			return err
		}
		after = places[len(places)-1].account
		for _, p := range places {
			if err := s.compareOrganization(ctx, p.account, p.id, apply, tell); err != nil {
				return err
			}
		}
	}
}

func (s *Service) compareOrganization(ctx context.Context, account int64, organization string, apply bool, tell func(Difference)) error {
	var began time.Time
	if err := s.cfg.Pool.QueryRow(ctx, `SELECT now()`).Scan(&began); err != nil {
		return err
	}
	for offset := 0; ; offset += pageSize {
		list, err := s.api.listAuthorizations(ctx, offset, filter("organizationId", organization), filter("projectId", s.cfg.Project))
		if err != nil {
			return err
		}
		for i := range list {
			if list[i].Organization.ID != organization || list[i].ID == "" {
				return notSaid("it listed another organization than was asked for")
			}
			if err := s.compareGrant(ctx, account, &list[i], began, apply, tell); err != nil {
				return err
			}
		}
		if len(list) < pageSize {
			break
		}
	}
	return s.compareUnlisted(ctx, account, organization, began, apply, tell)
}

// compareGrant compares an authorization that is listed.
func (s *Service) compareGrant(ctx context.Context, account int64, a *authorization, began time.Time, apply bool, tell func(Difference)) error {
	if _, err := s.cfg.Pool.Exec(ctx, `UPDATE issuer_grants SET listed_at = $2 WHERE grant_id = $1`, a.ID, began); err != nil {
		return err
	}
	return s.dry(ctx, apply, func(tx pgx.Tx) error {
		h, err := s.lockGrant(ctx, tx, `g.grant_id = $2`, a.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			h, err = s.lockGrant(ctx, tx, `u.subject = $2 AND g.account_id = $3`, a.User.ID, account)
		}
		roles := slices.Sorted(slices.Values(a.keys()))
		if errors.Is(err, pgx.ErrNoRows) {
			tell(Difference{"membership", a.User.DisplayName, "roles", "", strings.Join(roles, " "), "given by hand: on record, and left"})
			return s.recordForeign(ctx, tx, account, a.ID, a.User.ID, roles, fromList)
		}
		if err != nil || !h.settled {
			return err
		}
		before := *h
		h.id, h.there = a.ID, roles
		if a.active() != h.activeThere {
			h.activeThere, h.shutThere = a.active(), !a.active()
		}
		if h.id == before.id && h.activeThere == before.activeThere && slices.Equal(h.there, h.roles) {
			return nil
		}
		if !slices.Equal(h.there, h.roles) {
			tell(Difference{"membership", h.email, "roles", strings.Join(h.roles, " "), strings.Join(roles, " "), "set back at ZITADEL"})
		}
		if h.activeThere != before.activeThere {
			tell(Difference{"membership", h.email, "active", fmt.Sprint(before.activeThere), fmt.Sprint(h.activeThere), "taken from ZITADEL"})
		}
		return s.keepGrant(ctx, tx, &before, h, fromList)
	})
}

// compareUnlisted looks for those that should have been listed, one by one: a list that changes while it is read in pages can
// leave one out.
func (s *Service) compareUnlisted(ctx context.Context, account int64, organization string, began time.Time, apply bool, tell func(Difference)) error {
	for after := int64(0); ; {
		rows, err := s.cfg.Pool.Query(ctx, `SELECT g.user_id, u.subject FROM issuer_grants g JOIN issuer_users u ON u.id = g.user_id
			WHERE g.account_id = $1 AND g.grant_id <> '' AND g.listed_at < $2 AND g.asked = g.done AND g.changed_at < now() - $3::interval AND g.user_id > $4 ORDER BY 1 LIMIT $5`,
			account, began, s.cfg.Pace.Settle, after, pageSize)
		if err != nil {
			return err
		}
		missing, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (g grant, err error) { return g, r.Scan(&g.user, &g.subject) })
		if err != nil || len(missing) == 0 {
			return err
		}
		after = missing[len(missing)-1].user
		for _, g := range missing {
			g.organization = organization
			found, err := g.find(ctx, s)
			if err != nil {
				return err
			}
			if found != nil {
				continue
			}
			err = s.dry(ctx, apply, func(tx pgx.Tx) error {
				h, err := s.lockGrant(ctx, tx, `g.account_id = $2 AND g.user_id = $3`, account, g.user)
				if err != nil || !h.settled || h.id == "" {
					return ignoreNone(err)
				}
				before := *h
				h.gone()
				tell(Difference{"membership", h.email, "roles", strings.Join(h.roles, " "), "", "set back at ZITADEL"})
				return s.keepGrant(ctx, tx, &before, h, fromList)
			})
			if err != nil {
				return err
			}
		}
	}
}
