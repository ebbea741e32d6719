package provisioning

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Outcomes of events, as they are counted.
const (
	applied = "applied"
	known   = "known"   // was applied, or a newer one was; or it tells of what we did ourselves
	foreign = "foreign" // of somebody or something that is none of ours
	unknown = "unknown" // of a kind that nothing follows from
)

// From where something of ZITADEL is known, as the audit log says it.
const (
	fromEvent = "event"
	fromList  = "compared with ZITADEL's list"
)

// apply does what follows from an event, in one transaction.
func (s *Service) apply(ctx context.Context, e *event) (outcome string, err error) {
	err = pgx.BeginFunc(ctx, s.cfg.Pool, func(tx pgx.Tx) error {
		switch {
		case strings.HasPrefix(e.Type, "user.grant."):
			outcome, err = s.applyGrant(ctx, tx, e)
		case slices.Contains(userEvents, e.Type):
			outcome, err = s.applyUser(ctx, tx, e)
		default:
			outcome = unknown
		}
		return err
	})
	return outcome, err
}

var userEvents = []string{"user.human.profile.changed", "user.human.email.changed", "user.human.email.verified", "user.deactivated", "user.reactivated", "user.locked", "user.unlocked", "user.removed"}

// stateAfter is a user's state after an event.
var stateAfter = map[string]string{"user.deactivated": stateInactive, "user.locked": stateLocked, "user.removed": stateRemoved, "user.reactivated": stateActive, "user.unlocked": stateActive}

// somebody is a row of issuer_users as events and lists change it.
type somebody struct {
	id, person          int64
	subject, key, email string
	given, family       string
	name, shown, state  string // of people
	there, claimed      string
	verified            bool // has shown that the e-mail is his
	shutHere, shutThere bool
	settled             bool // nothing is under way, and lists say what is
	sequence, named     int64
}

const somebodyColumns = `u.id, coalesce(u.person_id, 0), u.subject, u.key, u.email, u.given_name, u.family_name, coalesce(p.name, ''), coalesce(p.email, ''), coalesce(p.state, ''), u.there, u.claimed, u.verified, u.shut_here, u.shut_there,
	u.sequence, u.named, u.asked = u.done AND u.changed_at < now() - $1::interval`

func scanSomebody(row pgx.CollectableRow) (b somebody, err error) {
	return b, row.Scan(&b.id, &b.person, &b.subject, &b.key, &b.email, &b.given, &b.family, &b.name, &b.shown, &b.state, &b.there, &b.claimed, &b.verified, &b.shutHere, &b.shutThere, &b.sequence, &b.named, &b.settled)
}

// lock loads somebody for change: who was invited, or signed in and gets a row now.
func (s *Service) lock(ctx context.Context, tx pgx.Tx, subject string) (*somebody, error) {
	_, err := tx.Exec(ctx, `INSERT INTO issuer_users (key, email, given_name, family_name, subject, person_id, own, there, done, state, changed_at)
		SELECT '', email, '', '', subject, id, false, 'active', 1, 'synced', '2000-01-01' FROM people WHERE issuer = $1 AND subject = $2 ON CONFLICT DO NOTHING`, s.cfg.Issuer, subject)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT `+somebodyColumns+` FROM issuer_users u LEFT JOIN people p ON p.id = u.person_id WHERE u.subject = $2 FOR UPDATE OF u`, s.cfg.Pace.Settle, subject)
	if err != nil {
		return nil, err
	}
	b, err := pgx.CollectExactlyOneRow(rows, scanSomebody)
	return &b, err
}

func (s *Service) applyUser(ctx context.Context, tx pgx.Tx, e *event) (string, error) {
	b, err := s.lock(ctx, tx, e.AggregateID)
	if errors.Is(err, pgx.ErrNoRows) {
		return foreign, nil
	}
	if err != nil {
		return "", err
	}
	to, aboutState := stateAfter[e.Type]
	last := &b.named
	if aboutState {
		last = &b.sequence
	}
	if e.Sequence <= *last {
		return known, nil
	}
	*last = e.Sequence
	if aboutState && e.Editor == s.api.key.UserID { // what we did, we know
		_, err := tx.Exec(ctx, `UPDATE issuer_users SET sequence = $2 WHERE id = $1`, b.id, b.sequence)
		return known, err
	}
	before := *b
	switch e.Type {
	case "user.human.profile.changed":
		b.profile(e.Payload.FirstName, e.Payload.LastName, e.Payload.DisplayName)
	case "user.human.email.changed":
		b.claimed = e.Payload.Email // holds when it is verified
	case "user.human.email.verified":
		if b.verified = true; b.claimed != "" {
			b.mail(b.claimed)
		}
	default:
		b.move(to)
	}
	return applied, s.keep(ctx, tx, &before, b, fromEvent)
}

// profile takes a name; what is empty did not change.
func (b *somebody) profile(given, family, display string) {
	if given != "" {
		b.given = given
	}
	if family != "" {
		b.family = family
	}
	b.name = short(strings.TrimSpace(b.given + " " + b.family))
	if display != "" {
		b.name = short(display)
	}
}

// mail takes an e-mail that was verified. Whoever was invited is known by it from now on.
func (b *somebody) mail(email string) {
	b.email, b.shown, b.claimed = short(email), short(email), ""
	if b.key != "" {
		b.key = Fold(b.email)
	}
}

// move takes a state that somebody else brought about: a deactivation on either side wins.
func (b *somebody) move(to string) {
	b.there, b.shutThere = to, to != stateActive
	b.state = "active"
	if b.shutThere || b.shutHere {
		b.state = "inactive"
	}
}

// keep writes what became of somebody, with an entry of what anybody sees of it. The worker looks at him again, and what it
// is about to write of him does not count.
func (s *Service) keep(ctx context.Context, tx pgx.Tx, before, b *somebody, from string) error {
	if b.key != before.key {
		var taken bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM issuer_users WHERE key = $1 AND id <> $2)`, b.key, b.id).Scan(&taken); err != nil {
			return err
		}
		if taken { // by an invitation of the new e-mail, which is refused and says so; this one stays known by the old
			b.key = before.key
		}
	}
	_, err := tx.Exec(ctx, `UPDATE issuer_users SET key = $2, email = $3, given_name = $4, family_name = $5, there = $6, claimed = $7, shut_there = $8, sequence = $9, named = $10, verified = $11, `+askedAgain+`, leased_until = '-infinity'
		WHERE id = $1`, b.id, b.key, b.email, b.given, b.family, b.there, b.claimed, b.shutThere, b.sequence, b.named, b.verified)
	if err == nil && b.there == stateRemoved && before.there != stateRemoved {
		_, err = tx.Exec(ctx, `UPDATE issuer_grants SET grant_id = '', roles_there = '{}', active_there = true, `+askedAgain+`, leased_until = '-infinity' WHERE user_id = $1`, b.id)
	}
	if err != nil || b.person == 0 || b.name == before.name && b.shown == before.shown && b.state == before.state {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE people SET name = $2, email = $3, state = $4 WHERE id = $1`, b.person, b.name, b.shown, b.state); err != nil {
		return err
	}
	action := "person.updated"
	if b.state != before.state {
		action = map[string]string{"active": "person.reactivated", "inactive": "person.deactivated"}[b.state]
	}
	return s.record(ctx, tx, 0, action, personObject(b), before.facts(), b.facts(), from)
}

func (b *somebody) facts() map[string]string {
	return map[string]string{"name": b.name, "email": b.shown, "state": b.state, "at_issuer": b.there}
}

// record puts on record what ZITADEL did, or what is set back there.
func (s *Service) record(ctx context.Context, tx pgx.Tx, account int64, action string, of audit.Object, before, after any, from string) error {
	changes, err := audit.Diff(before, after)
	if err != nil {
		return err
	}
	return s.cfg.Audit.Append(ctx, tx, &audit.Entry{Account: account, At: s.cfg.Now(), Actor: audit.Actor{Kind: "system", Name: "zitadel"}, Action: action, Object: of, Changes: changes, Reason: from})
}
