package provisioning

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// nameMax is ZITADEL's, of an organization, in bytes.
const nameMax = 200

// organization is a row of issuer_organizations with what is wanted of it.
type organization struct {
	row
	id            string
	own           bool
	made, granted bool
	name          string // as written last
	active        bool   // as written last
	wanted, key   string // the account's name and key
	open          bool   // wanted
}

// dueOrganizations claims organizations. One is to be active while its account is open, and while any of its people may do
// something in another account: they could not sign in otherwise.
func (s *Service) dueOrganizations(ctx context.Context, limit int) ([]task, error) {
	ids, lease, err := s.claim(ctx, `UPDATE issuer_organizations SET leased_until = now() + $2::interval
		WHERE account_id IN (SELECT account_id FROM issuer_organizations WHERE asked <> done AND next_at <= now() AND leased_until <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
		RETURNING id, leased_until`, limit)
	if err != nil {
		return nil, err
	}
	rows, err := s.cfg.Pool.Query(ctx, `SELECT o.account_id, o.asked, o.attempts, o.leased_until, o.organization, o.own, o.made, o.granted, o.name, o.active, a.name, a.key,
			a.state NOT IN ('closed', 'erased') OR EXISTS (SELECT FROM issuer_users u JOIN issuer_grants g ON g.user_id = u.id JOIN accounts b ON b.account_id = g.account_id
				WHERE u.home = a.account_id AND b.account_id <> a.account_id AND g.roles <> '{}' AND g.active AND b.state NOT IN ('closed', 'erased'))
		FROM issuer_organizations o JOIN accounts a ON a.account_id = o.account_id WHERE o.id = ANY($1) AND o.leased_until = $2`, ids, lease)
	if err != nil {
		return nil, fmt.Errorf("what organizations are to be: %w", err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (task, error) {
		o := &organization{row: row{kind: "organization"}}
		return o, r.Scan(&o.row.id, &o.asked, &o.attempts, &o.lease, &o.id, &o.own, &o.made, &o.granted, &o.name, &o.active, &o.wanted, &o.key, &o.open)
	})
}

// names are what it may be called: names of organizations are unique at ZITADEL, and those of accounts are not.
func (o *organization) names() []string {
	suffix := " (" + o.key + ")"
	name := o.wanted
	if over := len(name) + len(suffix) - nameMax; over > 0 {
		name = name[:max(0, len(name)-over)]
	}
	return []string{cut(o.wanted), cut(name + suffix)}
}

// cut is text within nameMax, of whole characters.
func cut(text string) string {
	for i := range text {
		if i > nameMax-4 {
			return text[:i]
		}
	}
	return text
}

func (o *organization) bring(ctx context.Context, s *Service) error {
	if !o.made {
		if err := o.make(ctx, s); err != nil {
			return err
		}
	}
	if !o.granted && o.id != s.cfg.Platform { // which owns the project
		if err := s.api.grantProject(ctx, s.cfg.Project, o.id); err != nil {
			return err
		}
	}
	o.granted = true
	if !o.own {
		return nil
	}
	if names := o.names(); o.name != names[0] && o.name != names[1] {
		if err := o.rename(ctx, s, names); err != nil {
			return err
		}
	}
	if o.active != o.open {
		if err := s.api.moveOrganization(ctx, o.id, o.open); err != nil && !unchanged(err) {
			return err
		}
		o.active = o.open
	}
	return nil
}

// make creates it. That it exists already says that it was made by a call which was not answered, or that its name is
// taken; with another name it is one or the other.
func (o *organization) make(ctx context.Context, s *Service) error {
	for _, name := range o.names() {
		err := s.api.createOrganization(ctx, o.id, name)
		if err == nil {
			o.made, o.name = true, name
			return nil
		}
		if !exists(err) {
			return err
		}
		if o.made, err = s.api.hasOrganization(ctx, o.id); err != nil || o.made {
			return err // its name is written again, since which of the two it has is not known
		}
	}
	return errLater{in: grown(s.cfg.Pace.Backoff, 2, s.cfg.Pace.RowMax), reason: "it exists, and is not listed yet; or its name is taken, also with the account's key"}
}

func (o *organization) rename(ctx context.Context, s *Service, names []string) (err error) {
	for _, name := range names {
		if err = s.api.renameOrganization(ctx, o.id, name); err == nil || unchanged(err) {
			o.name = name
			return nil
		}
		if !exists(err) {
			return err
		}
	}
	return err
}

func (o *organization) save(ctx context.Context, s *Service, out outcome) error {
	_, err := s.cfg.Pool.Exec(ctx, `UPDATE issuer_organizations SET made = $3, granted = $4, name = $5, active = $6, `+saved(7)+`
		WHERE account_id = $1 AND leased_until = $2 AND organization = $13`, append(out.args(o.row.id, o.lease, o.asked, o.made, o.granted, o.name, o.active), o.id)...)
	return err
}

// saved writes an outcome from parameter n on: state, reason, attempts, in, done, asked. What was asked for meanwhile is
// pending, and due now.
func saved(n int) string {
	return fmt.Sprintf(`state = CASE WHEN asked = $%[6]d::bigint THEN $%[1]d ELSE 'pending' END, reason = $%[2]d, attempts = CASE WHEN asked = $%[6]d THEN $%[3]d::integer ELSE 0 END,
		next_at = CASE WHEN asked = $%[6]d THEN now() + $%[4]d::interval ELSE now() END, done = CASE WHEN $%[5]d::bigint < 0 THEN done ELSE $%[5]d END,
		leased_until = '-infinity', changed_at = now()`, n, n+1, n+2, n+3, n+4, n+5)
}

// args are those of a row's fields, and of saved behind them.
func (o *outcome) args(id int64, lease any, asked int64, fields ...any) []any {
	return append(append([]any{id, lease}, fields...), o.State, o.Reason, o.Attempts, o.In, o.Done, asked)
}
