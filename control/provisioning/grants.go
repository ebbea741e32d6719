package provisioning

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// grant is a row of issuer_grants: an authorization there.
type grant struct {
	row
	number       int64 // the row's own id
	user         int64
	subject      string
	organization string
	roles        []string // wanted
	active       bool     // wanted
	id           string
	there        []string // as written last
	activeThere  bool
	shutThere    bool
	never        bool          // one was never asked for
	since        time.Duration // since one was
}

// dueGrants claims those whose organization and user are there. That one may be asked for is written down before it is.
func (s *Service) dueGrants(ctx context.Context, limit int) ([]task, error) {
	ids, lease, err := s.claim(ctx, `UPDATE issuer_grants SET leased_until = now() + $2::interval
		WHERE id IN (SELECT g.id FROM issuer_grants g JOIN issuer_users u ON u.id = g.user_id JOIN issuer_organizations o ON o.account_id = g.account_id
			WHERE g.asked <> g.done AND g.next_at <= now() AND g.leased_until <= now() AND (g.roles = '{}' OR u.there IN ('active', 'inactive', 'locked', 'moving') AND o.made AND o.granted)
			ORDER BY g.next_at LIMIT $1 FOR UPDATE OF g SKIP LOCKED)
		RETURNING id, leased_until`, limit)
	if err != nil {
		return nil, err
	}
	rows, err := s.cfg.Pool.Query(ctx, `WITH tried AS (UPDATE issuer_grants SET tried_at = now() WHERE id = ANY($1) AND grant_id = '' AND roles <> '{}' RETURNING id)
		SELECT g.id, g.account_id, g.asked, g.attempts, g.leased_until, g.user_id, u.subject, o.organization, g.roles, g.active, g.grant_id, g.roles_there, g.active_there, g.shut_there,
			g.tried_at = '-infinity', (extract(epoch FROM now() - greatest(g.tried_at, '2000-01-01')) * 1000000)::bigint
		FROM issuer_grants g JOIN issuer_users u ON u.id = g.user_id JOIN issuer_organizations o ON o.account_id = g.account_id
		WHERE g.id = ANY($1) AND (g.roles = '{}' OR g.grant_id <> '' OR g.id IN (SELECT id FROM tried)) AND g.leased_until = $2`, ids, lease)
	if err != nil {
		return nil, fmt.Errorf("what roles are to be: %w", err)
	}
	tasks, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (task, error) {
		g := &grant{row: row{kind: "membership"}}
		var micros int64
		err := r.Scan(&g.number, &g.row.id, &g.asked, &g.attempts, &g.lease, &g.user, &g.subject, &g.organization, &g.roles, &g.active, &g.id, &g.there, &g.activeThere, &g.shutThere, &g.never, &micros)
		g.since = time.Duration(micros) * time.Microsecond
		return g, err
	})
	if err != nil || len(tasks) == len(ids) {
		return tasks, err
	}
	// What changed under this statement is taken another time, and not kept until its lease ends.
	for _, t := range tasks {
		ids = slices.DeleteFunc(ids, func(id int64) bool { return id == t.(*grant).number })
	}
	_, err = s.cfg.Pool.Exec(ctx, `UPDATE issuer_grants SET leased_until = '-infinity' WHERE id = ANY($1) AND leased_until = $2`, ids, lease)
	return tasks, err
}

func (g *grant) bring(ctx context.Context, s *Service) error {
	if len(g.roles) == 0 {
		return g.end(ctx, s)
	}
	if g.id == "" {
		if err := g.make(ctx, s); err != nil {
			return err
		}
	}
	if !slices.Equal(g.there, g.roles) {
		err := s.api.updateAuthorization(ctx, g.id, g.roles)
		if absent(err) { // taken away there; the cockpit says who belongs where
			g.id, g.there = "", nil
			return errLater{in: 0, reason: "the authorization was removed at the issuer, and is made again"}
		}
		if err != nil && !unchanged(err) {
			return err
		}
		g.there = g.roles
	}
	if g.active && g.shutThere || g.active == g.activeThere {
		return nil
	}
	verb := "Deactivate"
	if g.active {
		verb = "Activate"
	}
	if err := s.api.moveAuthorization(ctx, g.id, verb); err != nil && !unchanged(err) {
		return err
	}
	g.activeThere = g.active
	return nil
}

// make creates it. One that somebody gave by hand before is taken with its roles, so that an account does not lose its admin;
// one of a call that was not answered gets those that are wanted now.
func (g *grant) make(ctx context.Context, s *Service) error {
	if g.never {
		found, err := g.find(ctx, s)
		if err != nil {
			return err
		}
		if found != nil {
			g.take(found)
			g.roles = slices.Compact(slices.Sorted(slices.Values(slices.Concat(g.roles, ours(g.there)))))
			return nil
		}
	}
	id, err := s.api.createAuthorization(ctx, g.subject, s.cfg.Project, g.organization, g.roles)
	if err == nil {
		g.id, g.there, g.activeThere = id, g.roles, true
		return nil
	}
	if !exists(err) {
		return err
	}
	found, err := g.find(ctx, s)
	if err != nil {
		return err
	}
	if found == nil {
		return errLater{in: s.cfg.Pace.Backoff, reason: "the authorization exists, and is not listed yet"}
	}
	g.take(found)
	return nil
}

func (g *grant) take(found *authorization) {
	g.id, g.there, g.activeThere = found.ID, slices.Sorted(slices.Values(found.keys())), found.active()
}

// ours are those of roles that accounts have.
func ours(roles []string) []string {
	return slices.DeleteFunc(slices.Clone(roles), func(r string) bool { return !slices.Contains(Roles, r) })
}

// find lists what he has in the organization.
func (g *grant) find(ctx context.Context, s *Service) (*authorization, error) {
	list, err := s.api.listAuthorizations(ctx, 0, filter("userId", g.subject), filter("organizationId", g.organization), filter("projectId", s.cfg.Project))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	if a := &list[0]; a.User.ID == g.subject && a.Organization.ID == g.organization && a.ID != "" {
		return a, nil
	}
	return nil, notSaid("it listed another authorization than was asked for")
}

// end deletes it. One that was asked for and not answered may be there, and not listed yet.
func (g *grant) end(ctx context.Context, s *Service) error {
	if g.id == "" {
		found, err := g.find(ctx, s)
		if err != nil {
			return err
		}
		if found == nil {
			if g.since < s.cfg.Pace.Settle {
				return errLater{in: s.cfg.Pace.Settle - g.since, reason: "whether it was made is not known yet"}
			}
			return nil
		}
		g.id = found.ID
	}
	if err := s.api.moveAuthorization(ctx, g.id, "Delete"); err != nil && !absent(err) {
		return err
	}
	g.id, g.there, g.activeThere = "", nil, true
	return nil
}

func (g *grant) save(ctx context.Context, s *Service, out outcome) error {
	if g.there == nil {
		g.there = []string{}
	}
	_, err := s.cfg.Pool.Exec(ctx, `UPDATE issuer_grants SET grant_id = $3, roles_there = $4, active_there = $5, roles = CASE WHEN asked = $12 THEN $6 ELSE roles END, `+saved(7)+`
		WHERE account_id = $1 AND leased_until = $2 AND user_id = $13`, append(out.args(g.row.id, g.lease, g.asked, g.id, g.there, g.activeThere, g.roles), g.user)...)
	return err
}
