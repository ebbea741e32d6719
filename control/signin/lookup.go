package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/alchemi/cockpit/control/access"
	"github.com/jackc/pgx/v5"
)

// gathered is what holds now of a person p whom the issuer vouches for with roles (jsonb, role to organizations).
func gathered(roles string) string {
	return `coalesce(p.id, 0), coalesce(p.name, ''), coalesce(p.email, ''), coalesce(p.state, 'active'), coalesce(NOT p.seen OR p.last_seen_at < now() - interval '1 minute', true),
		(SELECT coalesce(jsonb_agg(jsonb_build_object('Role', a.role, 'Account', a.account_id, 'Section', coalesce(a.section_id, 0)) ORDER BY a.account_id, a.id), '[]')
			FROM assignments a WHERE a.person_id = p.id),
		(SELECT coalesce(jsonb_agg(jsonb_build_object('Account', e.account_id, 'Until', e.until, 'Reason', e.reason) ORDER BY e.id), '[]')
			FROM elevations e WHERE e.person_id = p.id AND e.until > now()),
		(SELECT coalesce(jsonb_object_agg(a.issuer_organization, a.account_id), '{}') FROM accounts a
			WHERE a.issuer_organization IN (SELECT o.value FROM jsonb_each(` + roles + `) r, jsonb_array_elements_text(r.value) o))`
}

// person is a row of gathered.
type person struct {
	id              int64 // 0: never seen
	name, email     string
	state           string
	unseen          bool // long enough to write it down again
	assignments     []access.Assignment
	elevations      []access.Elevation
	accounts        map[string]int64
	issuer, subject string
}

// registration is a row of clients.
type registration struct {
	ID          int64
	Key         string
	Permissions []access.Permission
	Sections    []int64
	State       string
}

func (p *person) fields() []any {
	return []any{&p.id, &p.name, &p.email, &p.state, &p.unseen, &p.assignments, &p.elevations, &p.accounts}
}

// principal is what p may be here, by what the issuer says.
func (s *Service) principal(p *person, roles access.Claims) *access.Principal {
	name := p.name
	for _, other := range []string{p.email, p.subject} {
		if name == "" {
			name = other
		}
	}
	return &access.Principal{Kind: access.Person, ID: p.id, Name: name, Issuer: p.issuer, Subject: p.subject, Elevations: p.elevations,
		Grants: access.Effective(roles, p.assignments, p.accounts, s.cfg.Organization)}
}

// recognize looks up whom a token stands for, and the client that it came through.
func (s *Service) recognize(ctx context.Context, c *claims) (*access.Principal, error) {
	roles, err := json.Marshal(nonNil(c.roles))
	if err != nil {
		return nil, fmt.Errorf("roles of a token: %w", err)
	}
	p := person{issuer: s.cfg.Issuer, subject: c.subject}
	var registered *registration
	err = s.pool.QueryRow(ctx, `SELECT `+gathered(`$3::jsonb`)+`,
			(SELECT jsonb_build_object('ID', c.id, 'Key', c.key, 'Permissions', c.permissions, 'Sections', c.sections, 'State', c.state)
				FROM clients c WHERE c.issuer = $1 AND c.client_id = $4)
		FROM (SELECT) one LEFT JOIN people p ON p.issuer = $1 AND p.subject = $2`, s.cfg.Issuer, c.subject, roles, c.client).
		Scan(append(p.fields(), &registered)...)
	if err != nil {
		return nil, databaseAway(fmt.Errorf("look up the caller: %w", err))
	}
	if c.client != s.cfg.ClientID {
		if registered == nil {
			return nil, refused(reasonClientNone)
		}
		if registered.State != "active" {
			return nil, refused(reasonClientOff)
		}
	}
	if p.state != "active" {
		return nil, refused(reasonPersonOff)
	}
	if p.unseen {
		if err := s.seen(ctx, &p, c.name, c.email); err != nil {
			return nil, err
		}
	}
	who := s.principal(&p, c.roles)
	if c.client != s.cfg.ClientID {
		who.Client = &access.Client{ID: registered.ID, Key: registered.Key, Permissions: registered.Permissions, Sections: registered.Sections}
	}
	return who, nil
}

// seen writes down that a person is there, and what the issuer calls it now, if it says so.
func (s *Service) seen(ctx context.Context, p *person, name, email string) error {
	err := s.pool.QueryRow(ctx, `INSERT INTO people (issuer, subject, name, email) VALUES ($1, $2, $3, $4)
		ON CONFLICT (issuer, subject) DO UPDATE SET last_seen_at = now(), seen = true, name = coalesce(nullif(excluded.name, ''), people.name),
			email = coalesce(nullif(excluded.email, ''), people.email)
		RETURNING id, name, email, state`, p.issuer, p.subject, clean(name), clean(email)).Scan(&p.id, &p.name, &p.email, &p.state)
	if err != nil {
		return databaseAway(fmt.Errorf("write down the caller: %w", err))
	}
	if p.state != "active" {
		return refused(reasonPersonOff)
	}
	return nil
}

// serviceKey makes a principal of a key: a product in the places that its sources reach.
func (s *Service) serviceKey(ctx context.Context, text string) (*access.Principal, error) {
	key, err := s.service.Authenticate(ctx, text)
	if err != nil {
		return nil, s.keyRefused(err)
	}
	p := &access.Principal{Kind: access.Service, ID: key.KeyID}
	rows, err := s.pool.Query(ctx, `SELECT DISTINCT k.name, coalesce(k.account_id, a.account_id, 0), c.section_id
		FROM service_keys k JOIN sources s ON k.all_sources OR s.id IN (SELECT source_id FROM service_key_sources WHERE key_id = k.id)
			JOIN source_sections c ON c.source_id = s.id
			LEFT JOIN source_accounts a ON a.source_id = s.id AND NOT s.all_accounts
		WHERE k.id = $1 AND (s.all_accounts OR a.account_id = coalesce(k.account_id, a.account_id)) ORDER BY 2, 3`, key.KeyID)
	if err != nil {
		return nil, databaseAway(fmt.Errorf("look up a service key: %w", err))
	}
	p.Grants, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (g access.Grant, err error) {
		g.Role = access.Product
		return g, row.Scan(&p.Name, &g.Account, &g.Section)
	})
	if err != nil {
		return nil, databaseAway(fmt.Errorf("look up a service key: %w", err))
	}
	return p, nil
}

func nonNil(roles access.Claims) access.Claims {
	if roles == nil {
		return access.Claims{}
	}
	return roles
}

func isNone(err error) bool { return errors.Is(err, pgx.ErrNoRows) }
