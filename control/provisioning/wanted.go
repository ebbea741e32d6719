package provisioning

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/text/unicode/norm"
)

// Roles that the project grants to accounts' organizations.
const (
	AccountAdmin = "account_admin"
	EndUser      = "end_user"
)

// Roles are those of the project grant.
var Roles = []string{AccountAdmin, EndUser}

// Errors that callers may look for.
var (
	ErrEmail     = errors.New("this is no e-mail address")
	ErrRole      = errors.New("accounts have the roles account_admin and end_user at the issuer")
	ErrAbsent    = errors.New("nobody was invited by this id")
	ErrShutThere = errors.New("the person was deactivated or locked at the issuer, and only there can that be taken back")
)

const emailMax = 200 // bytes; ZITADEL's

// Invitee is whom somebody wants in an account.
type Invitee struct {
	Account    int64
	Email      string
	GivenName  string // both are ZITADEL's from when he is there; empty: of the e-mail
	FamilyName string
	Roles      []string // added to those that he has
	Mail       bool     // ZITADEL sends its invitation when he is there
}

// On is the issuer that is kept in step; empty: none is, and the functions of this package do nothing.
func On(ctx context.Context, tx pgx.Tx) (issuer string, err error) {
	if err = tx.QueryRow(ctx, `SELECT provisioned_issuer FROM deployment`).Scan(&issuer); err != nil {
		err = fmt.Errorf("is provisioning on: %w", err)
	}
	return issuer, err
}

// newID is an id there, of our own choosing. Nobody else has it: not another deployment at the same issuer, nor this one
// after its database was restored.
func newID() string { return strings.ToLower(rand.Text()) }

// Organization says that the account's organization is wanted as the account is now: there, with its name and state. An
// account without one gets an id, and one that operators named is taken as it is. It returns the id; empty: provisioning is
// off. The caller has locked the account.
func Organization(ctx context.Context, tx pgx.Tx, account int64) (id string, err error) {
	issuer, err := On(ctx, tx)
	if err != nil || issuer == "" {
		return "", err
	}
	own := newID()
	err = tx.QueryRow(ctx, `WITH given AS (UPDATE accounts SET issuer_organization = $2, revision = revision + 1
			WHERE account_id = $1 AND issuer_organization IS NULL RETURNING issuer_organization)
		SELECT coalesce((SELECT issuer_organization FROM given), issuer_organization) FROM accounts WHERE account_id = $1`, account, own).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("the account's organization: %w", err)
	}
	if err = askOrganization(ctx, tx, account, id, id == own); err != nil {
		return "", fmt.Errorf("ask for the account's organization: %w", err)
	}
	return id, nil
}

// askOrganization is no upsert: one of a row that is being updated can miss it, and then meets the other unique index.
func askOrganization(ctx context.Context, tx pgx.Tx, account int64, id string, own bool) error {
	var before string
	err := tx.QueryRow(ctx, `SELECT organization FROM issuer_organizations WHERE account_id = $1 FOR UPDATE`, account).Scan(&before)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		_, err = tx.Exec(ctx, `INSERT INTO issuer_organizations (account_id, organization, own, made) VALUES ($1, $2, $3, NOT $3)`, account, id, own)
		return err
	case err != nil:
		return err
	case before == id:
		_, err = tx.Exec(ctx, `UPDATE issuer_organizations SET `+askedAgain+` WHERE account_id = $1`, account)
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE issuer_organizations SET organization = $2, own = $3, made = NOT $3, granted = false, name = '', active = true, leased_until = '-infinity', `+askedAgain+` WHERE account_id = $1`, account, id, own)
	if err == nil { // what people may do in the one before gives nothing here any more
		_, err = tx.Exec(ctx, `UPDATE issuer_grants SET grant_id = '', roles_there = '{}', active_there = true, shut_there = false, sequence = 0, tried_at = '-infinity', leased_until = '-infinity', `+askedAgain+`
			WHERE account_id = $1`, account)
	}
	return err
}

// askedAgain makes a row pending from now on. One that an INSERT meets must say whose asked it raises, and is the same besides.
const (
	askedAgain = `asked = asked + 1, ` + pendingNow
	pendingNow = `attempts = 0, next_at = now(), state = 'pending', reason = '', changed_at = now()`
)

// Invite says that somebody is wanted in an account, and returns by which id he is known: one for each person, by his e-mail
// in any case. It is 0 when provisioning is off. The caller has locked the account.
func Invite(ctx context.Context, tx pgx.Tx, in Invitee) (int64, error) {
	in.Email = strings.TrimSpace(in.Email)
	local, _, ok := strings.Cut(in.Email, "@")
	switch {
	case !ok || local == "" || len(in.Email) > emailMax || strings.ContainsFunc(in.Email, unprintable):
		return 0, ErrEmail
	case len(in.Roles) == 0 || slices.ContainsFunc(in.Roles, func(r string) bool { return !slices.Contains(Roles, r) }):
		return 0, ErrRole
	}
	issuer, err := On(ctx, tx)
	if err != nil || issuer == "" {
		return 0, err
	}
	if _, err := Organization(ctx, tx, in.Account); err != nil {
		return 0, err
	}
	for _, name := range []*string{&in.GivenName, &in.FamilyName} {
		if *name = strings.TrimSpace(*name); *name == "" {
			*name = local
		}
	}
	mails := 0
	if in.Mail {
		mails = 1
	}
	var id int64
	err = tx.QueryRow(ctx, `INSERT INTO issuer_users AS u (key, email, given_name, family_name, home, subject, mails_asked) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (key) WHERE key <> '' DO UPDATE SET mails_asked = u.mails_asked + excluded.mails_asked,
			shut_there = u.shut_there AND u.there <> 'removed', asked = u.asked + 1, `+pendingNow+` RETURNING id`,
		Fold(in.Email), in.Email, in.GivenName, in.FamilyName, in.Account, newID(), mails).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("ask for a user: %w", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO issuer_grants AS g (account_id, user_id, roles) VALUES ($1, $2, ARRAY(SELECT DISTINCT unnest($3::text[]) ORDER BY 1))
		ON CONFLICT (account_id, user_id) DO UPDATE SET roles = ARRAY(SELECT DISTINCT unnest(g.roles || excluded.roles) ORDER BY 1),
			active = g.active OR g.roles = '{}', asked = g.asked + 1, `+pendingNow, in.Account, id, in.Roles)
	if err != nil {
		return 0, fmt.Errorf("ask for a user's roles: %w", err)
	}
	return id, nil
}

func unprintable(r rune) bool { return r <= ' ' || r == 0x7f }

// Fold is what e-mails are compared by.
func Fold(email string) string { return strings.ToLower(norm.NFC.String(strings.TrimSpace(email))) }

// Mail asks for ZITADEL's invitation again. Several that were not sent yet are one.
func Mail(ctx context.Context, tx pgx.Tx, id int64) error {
	return askUser(ctx, tx, id, `mails_asked = mails_asked + 1, `)
}

func askUser(ctx context.Context, tx pgx.Tx, id int64, set string) error {
	tag, err := tx.Exec(ctx, `UPDATE issuer_users SET `+set+askedAgain+` WHERE id = $1`, id)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrAbsent
	}
	return err
}

// SetRoles says which of his roles in an account somebody keeps. None is Revoke.
func SetRoles(ctx context.Context, tx pgx.Tx, id, account int64, roles []string) error {
	if slices.ContainsFunc(roles, func(r string) bool { return !slices.Contains(Roles, r) }) {
		return ErrRole
	}
	return setGrant(ctx, tx, id, account, fmt.Sprintf(`roles = '{%s}', `, strings.Join(roles, ",")))
}

// Revoke ends somebody's roles in an account. If nobody else wants him, and we made him and he never signed in, he is deleted
// there.
func Revoke(ctx context.Context, tx pgx.Tx, id, account int64) error {
	return SetRoles(ctx, tx, id, account, nil)
}

// SetState says whether somebody may use his roles in an account. He himself is deactivated there only if we made him and no
// account is left where he may: who is shut out of one is not shut out of others.
func SetState(ctx context.Context, tx pgx.Tx, id, account int64, active bool) error {
	return setGrant(ctx, tx, id, account, fmt.Sprintf(`active = %t, `, active))
}

func setGrant(ctx context.Context, tx pgx.Tx, id, account int64, set string) error {
	tag, err := tx.Exec(ctx, `UPDATE issuer_grants SET `+set+askedAgain+` WHERE user_id = $1 AND account_id = $2`, id, account)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrAbsent
	}
	if err == nil {
		err = askUser(ctx, tx, id, "")
	}
	return err
}

// ByEmail finds by which id somebody is known; 0: he is not.
func ByEmail(ctx context.Context, tx pgx.Tx, email string) (id int64, err error) {
	err = tx.QueryRow(ctx, `SELECT id FROM issuer_users WHERE key = $1 AND key <> ''`, Fold(email)).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return id, err
}

// Known is what is known of somebody who was invited.
type Known struct {
	Subject string // his id at the issuer; empty: he is not there yet
	Person  int64  // of people; 0: he is not there yet
	Seen    bool   // has signed in
	Account string // state of his roles in the account: pending, synced or failed
	Reason  string // why not
}

// Look says what is known of somebody in an account.
func Look(ctx context.Context, tx pgx.Tx, id, account int64) (k Known, err error) {
	err = tx.QueryRow(ctx, `SELECT CASE WHEN u.there <> '' THEN u.subject ELSE '' END, coalesce(u.person_id, 0), coalesce(p.seen, false), v.state, v.reason
		FROM issuer_grants g JOIN issuer_users u ON u.id = g.user_id JOIN provisioning v ON v.id = g.id LEFT JOIN people p ON p.id = u.person_id
		WHERE g.user_id = $1 AND g.account_id = $2`, id, account).Scan(&k.Subject, &k.Person, &k.Seen, &k.Account, &k.Reason)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrAbsent
	}
	return k, err
}

// SetPerson says whether the platform shuts a person out, which then holds at the issuer too. ErrShutThere: he is to be let
// in, and was deactivated or locked there. The transaction is the platform's.
func SetPerson(ctx context.Context, tx pgx.Tx, person int64, active bool) error {
	issuer, err := On(ctx, tx)
	if err != nil || issuer == "" {
		return err
	}
	var shutThere bool
	_, err = tx.Exec(ctx, `INSERT INTO issuer_users (key, email, given_name, family_name, subject, person_id, own, there)
		SELECT '', email, '', '', subject, id, false, 'active' FROM people WHERE id = $1 AND issuer = $2 ON CONFLICT DO NOTHING`, person, issuer)
	if err == nil {
		err = tx.QueryRow(ctx, `UPDATE issuer_users SET shut_here = NOT $3::boolean, `+askedAgain+`
			WHERE subject = (SELECT subject FROM people WHERE id = $1 AND issuer = $2) RETURNING shut_there`, person, issuer, active).Scan(&shutThere)
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows): // of another issuer
		return nil
	case err != nil:
		return fmt.Errorf("ask for a person's state: %w", err)
	case active && shutThere:
		return ErrShutThere
	}
	return nil
}

// Retry tries a row again at once: one of provisioning, with what it waits for. The account is 0 for the platform.
func Retry(ctx context.Context, tx pgx.Tx, id, account int64) error {
	n := int64(0)
	for _, sql := range []string{
		`UPDATE issuer_organizations SET ` + askedAgain + ` WHERE id = $1 OR account_id IN (SELECT account_id FROM issuer_grants WHERE id = $1)`,
		`UPDATE issuer_users SET ` + askedAgain + ` WHERE id = $1 AND $2 = 0 OR id IN (SELECT user_id FROM issuer_grants WHERE id = $1)`,
		`UPDATE issuer_grants SET ` + askedAgain + ` WHERE id = $1`,
	} {
		tag, err := tx.Exec(ctx, strings.ReplaceAll(sql, "$2", fmt.Sprint(account)), id)
		if err != nil {
			return err
		}
		n += tag.RowsAffected()
	}
	if n == 0 {
		return ErrAbsent
	}
	return nil
}

// Switch says which issuer is kept in step from now on; empty: none. The pool is of the platform's role.
func Switch(ctx context.Context, pool *pgxpool.Pool, issuer string) error {
	if _, err := pool.Exec(ctx, `UPDATE deployment SET provisioned_issuer = $1 WHERE provisioned_issuer <> $1`, issuer); err != nil {
		return fmt.Errorf("switch provisioning: %w", err)
	}
	return nil
}
