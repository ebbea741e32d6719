package scopes

import (
	"context"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/jackc/pgx/v5"
)

// applyTree makes of the section's tree what the plans say, each kind of change at once, and puts it on record.
func applyTree(ctx context.Context, c *api.Call, _ []*imports.Line, plans []*treePlan) error {
	if err := insertScopes(ctx, c, plans); err != nil {
		return err
	}
	var ids, moved, parents []int64
	var names []string
	for _, p := range plans {
		if p.moved {
			moved, parents = append(moved, p.id), append(parents, p.place())
		}
		if !p.made {
			ids, names = append(ids, p.id), append(names, p.name)
		}
	}
	if _, err := linkAll(ctx, c, moved, parents); err != nil {
		return err
	}
	if _, err := c.Tx.Exec(ctx, `UPDATE scopes s SET name = n.name, revision = revision + 1 FROM unnest($2::bigint[], $3::text[]) AS n(id, name)
		WHERE s.account_id = $1 AND s.id = n.id AND s.id = ANY($2)`, c.Account.ID, ids, names); err != nil {
		return err
	}
	for _, p := range plans {
		if err := p.record(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// insertScopes makes what is new, below nothing yet, and numbers it.
func insertScopes(ctx context.Context, c *api.Call, plans []*treePlan) error {
	var made []*treePlan
	var kinds, keys, names []string
	for _, p := range plans {
		if p.made {
			made, kinds, keys, names = append(made, p), append(kinds, p.kind), append(keys, p.key), append(names, p.name)
		}
	}
	ids, err := scopeIDs(ctx, c, len(made))
	if err != nil {
		return err
	}
	for i, p := range made {
		p.id = ids[i]
	}
	_, err = c.Tx.Exec(ctx, `INSERT INTO scopes (account_id, section_id, id, kind, key, name, created_at) OVERRIDING SYSTEM VALUE
		SELECT $1, $2, n.id, n.kind, n.key, n.name, $7 FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[]) AS n(id, kind, key, name)`,
		c.Account.ID, c.Section.ID, ids, kinds, keys, names, c.Now)
	return err
}

// scopeIDs takes the ids of n new scopes.
func scopeIDs(ctx context.Context, c *api.Call, n int) ([]int64, error) {
	rows, err := c.Tx.Query(ctx, `SELECT nextval(pg_get_serial_sequence('scopes', 'id')) FROM generate_series(1, $1)`, n)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func (p *treePlan) record(ctx context.Context, c *api.Call) error {
	kind, what := api.OrganizationKind, "updated"
	if p.kind == api.TeamKind.Name {
		kind = api.TeamKind
	}
	after := p.scope(c)
	change := api.Change{Object: after.object(kind), After: after}
	switch {
	case p.made:
		what, after.CreatedAt = "created", c.Now
	case p.moved && p.active():
		what = "moved"
	case p.moved:
		what = "deactivated"
	}
	if !p.made {
		change.Before = p.was.scope(c)
	}
	change.Action = kind.Name + "." + what
	return c.Record(ctx, change)
}

// scope is the node as the API shows it, but for when it was made.
func (n *node) scope(c *api.Call) *Scope {
	s := &Scope{ID: newParent(n.kind, c.Account.ID, n.id, "", "").ID, Key: n.key, Name: n.name, State: "inactive"}
	if n.parent != nil {
		s.State, s.Parent = "active", n.parent.asParent(c)
	}
	return s
}

func (n *node) asParent(c *api.Call) *Parent {
	if n.kind == "account" {
		return newParent("", c.Account.ID, n.id, c.Account.Key, n.name)
	}
	return newParent(n.kind, c.Account.ID, n.id, n.key, n.name)
}
