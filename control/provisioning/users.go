package provisioning

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// user is a row of issuer_users with what is wanted of him.
type user struct {
	row
	key, email, given, family string
	subject                   string
	own                       bool
	there                     string
	shutHere, shutThere       bool
	mailsAsked, mailsSent     int
	home                      int64  // in whose organization he is made
	organization              string // its id; empty: none is there yet
	seen                      bool   // has signed in
	wanted                    bool   // somewhere
	may                       bool   // somewhere
}

// dueUsers claims users. One who is to be made waits for an organization of those who want him: the first's, if it is there.
func (s *Service) dueUsers(ctx context.Context, limit int) ([]task, error) {
	ids, lease, err := s.claim(ctx, `UPDATE issuer_users SET leased_until = now() + $2::interval
		WHERE id IN (SELECT id FROM issuer_users u WHERE asked <> done AND next_at <= now() AND leased_until <= now()
				AND (there NOT IN ('', 'removed') OR NOT EXISTS (SELECT FROM issuer_grants WHERE user_id = u.id AND roles <> '{}')
					OR EXISTS (SELECT FROM issuer_organizations o WHERE o.made AND (o.account_id = u.home OR o.account_id IN (SELECT account_id FROM issuer_grants WHERE user_id = u.id AND roles <> '{}'))))
			ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
		RETURNING id, leased_until`, limit)
	if err != nil {
		return nil, err
	}
	rows, err := s.cfg.Pool.Query(ctx, `SELECT u.id, u.asked, u.attempts, u.leased_until, u.key, u.email, u.given_name, u.family_name, u.subject, u.own, u.there, u.shut_here, u.shut_there, u.mails_asked, u.mails_sent,
			coalesce(h.account_id, 0), coalesce(h.organization, ''), coalesce(p.seen, false), EXISTS (SELECT FROM issuer_grants WHERE user_id = u.id AND roles <> '{}'),
			EXISTS (SELECT FROM issuer_grants WHERE user_id = u.id AND roles <> '{}' AND active)
		FROM issuer_users u LEFT JOIN people p ON p.id = u.person_id LEFT JOIN LATERAL (SELECT o.account_id, o.organization FROM issuer_organizations o
			WHERE o.made AND (o.account_id = u.home OR o.account_id IN (SELECT account_id FROM issuer_grants WHERE user_id = u.id AND roles <> '{}'))
			ORDER BY o.account_id = u.home DESC, o.account_id LIMIT 1) h ON true
		WHERE u.id = ANY($1) AND u.leased_until = $2`, ids, lease)
	if err != nil {
		return nil, fmt.Errorf("what users are to be: %w", err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (task, error) {
		u := &user{row: row{kind: "user"}}
		return u, r.Scan(&u.id, &u.asked, &u.attempts, &u.lease, &u.key, &u.email, &u.given, &u.family, &u.subject, &u.own, &u.there, &u.shutHere, &u.shutThere, &u.mailsAsked, &u.mailsSent,
			&u.home, &u.organization, &u.seen, &u.wanted, &u.may)
	})
}

func (u *user) bring(ctx context.Context, s *Service) error {
	if u.there == stateRemoving || !u.wanted && u.own && !u.seen {
		if err := u.end(ctx, s); err != nil || !u.wanted {
			return err
		}
	}
	if u.there == stateRemoved {
		if u.shutThere || !u.wanted {
			u.mailsSent = u.mailsAsked
			if u.wanted {
				return refusal("he was removed at the issuer: invite him again, if he is wanted")
			}
			return nil
		}
		// We removed him, and he is wanted again. His new id is in the row before he is made by it.
		u.subject, u.there, u.own = newID(), "", true
		return errLater{reason: "he was removed, and is made again"}
	}
	if u.there == "" {
		if err := u.make(ctx, s); err != nil {
			return err
		}
	}
	if err := u.move(ctx, s); err != nil {
		return err
	}
	if u.mailsSent < u.mailsAsked && u.there == stateActive {
		// Whoever has set himself up needs no invitation, and gets none.
		if err := s.api.sendInvitation(ctx, u.subject); err != nil && !unchanged(err) {
			return err
		}
	}
	u.mailsSent = u.mailsAsked
	return nil
}

// move brings about his state. Whom an account has shut out of all it has, and nobody else has, is shut out; if we made him.
// That it is being changed is in the row before it is: of a change that was not answered nobody knows, and what is wanted by
// then is asked for again.
func (u *user) move(ctx context.Context, s *Service) error {
	open := !u.shutHere && (!u.own || !u.wanted || u.may)
	verb, to := "deactivate", stateInactive
	if open {
		verb, to = "reactivate", stateActive
	}
	switch {
	case u.there == stateMoving:
		if err := s.api.moveUser(ctx, u.subject, verb); err != nil && !unchanged(err) {
			return err
		}
		u.there = to
	case open && u.there == stateInactive && !u.shutThere, !open && u.there == stateActive:
		u.there = stateMoving
		return errLater{reason: "his state is changed"}
	}
	return nil
}

// end deletes whom we made, nobody wants any more, and who never signed in. It is also done when it is not known whether he
// was made. That he is to go is in the row before he goes, and holds whoever wants him meanwhile: else one who finds him wanted
// would take him for there, while another deletes him.
func (u *user) end(ctx context.Context, s *Service) error {
	switch u.there {
	case stateRemoving:
		if err := s.api.deleteUser(ctx, u.subject); err != nil && !absent(err) {
			return err
		}
	case stateRemoved:
	default:
		u.there = stateRemoving
		return errLater{reason: "he is removed"}
	}
	u.there, u.mailsSent = stateRemoved, u.mailsAsked
	return nil
}

// make finds him by his e-mail, or makes him.
func (u *user) make(ctx context.Context, s *Service) error {
	found, err := u.find(ctx, s)
	if err != nil || found {
		return err
	}
	err = s.api.createUser(ctx, u.organization, u)
	if err == nil {
		u.there = stateActive
		return nil
	}
	if !exists(err) {
		return err
	}
	switch known, err := s.api.getUser(ctx, u.subject); {
	case err == nil:
		u.there = known.state()
		return nil
	case !absent(err):
		return err
	}
	if found, err = u.find(ctx, s); err != nil || found {
		return err
	}
	return errLater{in: grown(s.cfg.Pace.Backoff, 2, s.cfg.Pace.RowMax), reason: "somebody with this e-mail or login name is there, and is not listed yet"}
}

// find takes whoever has the e-mail there. He must have verified it: anybody can claim an address that is not his.
func (u *user) find(ctx context.Context, s *Service) (bool, error) {
	list, err := s.api.listUsers(ctx, byEmail(u.email))
	if err != nil {
		return false, err
	}
	var verified []remoteUser
	unverified := false
	for _, r := range list {
		switch {
		case r.Human == nil || Fold(r.Human.Email.Email) != u.key || r.UserID == "" || r.state() == stateRemoved:
		case r.UserID == u.subject: // made by a call that was not answered
			u.there = r.state()
			return true, nil
		case r.Human.Email.IsVerified:
			verified = append(verified, r)
		default:
			unverified = true
		}
	}
	switch {
	case len(verified) > 1:
		return false, refusal("several people at the issuer have this e-mail")
	case len(verified) == 0 && unverified:
		return false, refusal("somebody at the issuer has this e-mail, and has not verified it")
	case len(verified) == 0:
		return false, nil
	}
	r := verified[0]
	var other bool
	if err := s.cfg.Pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM issuer_users WHERE subject = $1 AND key <> '' AND id <> $2)`, r.UserID, u.id).Scan(&other); err != nil {
		return false, err
	}
	if other {
		return false, refusal("this person was invited by another e-mail, which he had before")
	}
	u.subject, u.own, u.there = r.UserID, false, r.state()
	u.shutThere = u.there != stateActive
	u.given, u.family = r.Human.Profile.GivenName, r.Human.Profile.FamilyName
	return true, nil
}

// save writes how far it came. Whoever is there is in people, so that he can be given roles before he signs in.
func (u *user) save(ctx context.Context, s *Service, out outcome) error {
	return pgx.BeginFunc(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		var before string
		err := tx.QueryRow(ctx, `SELECT subject FROM issuer_users WHERE id = $1 AND leased_until = $2 FOR UPDATE`, u.id, u.lease).Scan(&before)
		if err != nil {
			return ignoreNone(err) // somebody else has it
		}
		if before != u.subject {
			if err := u.absorb(ctx, tx); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `UPDATE issuer_users SET subject = $2, person_id = NULL, sequence = 0 WHERE id = $1`, u.id, u.subject); err != nil {
				return fmt.Errorf("take a user: %w", err)
			}
		}
		if before != u.subject || u.there == stateRemoved { // his authorizations went with him
			if _, err := tx.Exec(ctx, `UPDATE issuer_grants SET grant_id = '', roles_there = '{}', active_there = true, `+askedAgain+` WHERE user_id = $1 AND grant_id <> ''`, u.id); err != nil {
				return err
			}
		}
		if u.there != "" && u.there != stateRemoved && u.there != stateRemoving {
			if err := u.person(ctx, tx, s.cfg.Issuer); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `UPDATE issuer_users SET own = $3, there = $4, shut_there = shut_there OR $5, mails_sent = greatest(mails_sent, $6), given_name = $7, family_name = $8,
			home = coalesce(nullif($9, 0), home), `+saved(10)+` WHERE id = $1 AND leased_until = $2`,
			out.args(u.id, u.lease, u.asked, u.own, u.there, u.shutThere, u.mailsSent, u.given, u.family, u.home)...)
		return err
	})
}

// absorb ends the row of whom events or the platform named before he was invited; what it says holds for this one.
func (u *user) absorb(ctx context.Context, tx pgx.Tx) error {
	var here, there bool
	err := tx.QueryRow(ctx, `DELETE FROM issuer_users WHERE subject = $1 AND key = '' RETURNING shut_here, shut_there`, u.subject).Scan(&here, &there)
	if err == nil {
		_, err = tx.Exec(ctx, `UPDATE issuer_users SET shut_here = shut_here OR $2, shut_there = shut_there OR $3, asked = asked + 1 WHERE id = $1`, u.id, here, there)
	}
	return ignoreNone(err)
}

// person is who he is here.
func (u *user) person(ctx context.Context, tx pgx.Tx, issuer string) error {
	name := strings.TrimSpace(u.given + " " + u.family)
	_, err := tx.Exec(ctx, `WITH p AS (INSERT INTO people AS p (issuer, subject, name, email, seen, state) VALUES ($2, $3, $4, $5, false, CASE WHEN $6 THEN 'inactive' ELSE 'active' END)
			ON CONFLICT (issuer, subject) DO UPDATE SET state = CASE WHEN $6 THEN 'inactive' ELSE p.state END RETURNING id)
		UPDATE issuer_users SET person_id = (SELECT id FROM p) WHERE id = $1`, u.id, issuer, u.subject, name, u.email, u.shutThere)
	if err != nil {
		return fmt.Errorf("write down who was invited: %w", err)
	}
	return nil
}
