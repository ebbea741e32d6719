package scopes

import (
	"context"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/naming"
)

func (n noun) loadForChange(ctx context.Context, c *api.Call, named string) (*Scope, error) {
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	return load(ctx, c, n.kind, n.kind.Ref(named))
}

// saved puts the change of s from before on record, when it is made.
func (n noun) saved(ctx context.Context, c *api.Call, s *Scope, before Scope, what string) (*api.Answer[Scope], error) {
	if err := s.touch(ctx, c, n.kind); err != nil {
		return nil, err
	}
	return s.answer(), c.Record(ctx, api.Change{Action: n.kind.Name + "." + what, Object: s.object(n.kind), Before: before, After: s})
}

type scopeChange struct {
	Name *string `json:"name,omitempty" minLength:"1" maxLength:"200"`
}

type updateInput struct {
	ScopePath
	api.Idempotent
	api.IfMatch
	Body scopeChange
}

func (n noun) update(ctx context.Context, c *api.Call, in *updateInput) (*api.Answer[Scope], error) {
	s, err := n.loadForChange(ctx, c, in.Scope)
	if err != nil {
		return nil, err
	}
	if err := in.Check(s.revision, s, in.Body); err != nil {
		return nil, err
	}
	before := *s
	if in.Body.Name != nil {
		s.Name = *in.Body.Name
	}
	return n.saved(ctx, c, s, before, "updated")
}

type renameInput struct {
	ScopePath
	api.Idempotent
	Body struct {
		Key string `json:"key" maxLength:"256" doc:"in Unicode form NFC; case-sensitive"`
	}
}

func (n noun) rename(ctx context.Context, c *api.Call, in *renameInput) (*api.Answer[Scope], error) {
	key, err := api.GivenKey(in.Body.Key)
	if err != nil {
		return nil, err
	}
	s, err := n.loadForChange(ctx, c, in.Scope)
	if err != nil {
		return nil, err
	}
	if err := (naming.Keyed{Account: c.Account.ID, Kind: n.kind.Name, ID: s.number}).Rename(ctx, c.Tx, key, c.Now); err != nil {
		return nil, err
	}
	return n.saved(ctx, c, s, *s, "renamed")
}

type scopeMove struct {
	Organization string `json:"organization,omitempty" maxLength:"300" doc:"that it shall stand below: its id, or key: and its key; without: the account"`
}

type moveInput struct {
	ScopePath
	api.Idempotent
	Body scopeMove
}

func (n noun) move(ctx context.Context, c *api.Call, in *moveInput) (*api.Answer[Scope], error) {
	s, err := n.loadForChange(ctx, c, in.Scope)
	if err != nil {
		return nil, err
	}
	below, err := parent(ctx, c, api.OrganizationKind, in.Body.Organization)
	if err != nil {
		return nil, err
	}
	if err := noCircle(ctx, c, s.number, below); err != nil {
		return nil, err
	}
	at, err := link(ctx, c, s.number, below)
	if err != nil {
		return nil, err
	}
	if s.State == "inactive" {
		if err := n.holdLimit(ctx, c); err != nil {
			return nil, err
		}
	}
	if err := enough(ctx, c, at); err != nil {
		return nil, err
	}
	return n.saved(ctx, c, s, *s, "moved")
}

type deactivateInput struct {
	ScopePath
	api.Idempotent
}

func (n noun) deactivate(ctx context.Context, c *api.Call, in *deactivateInput) (*api.Answer[Scope], error) {
	s, err := n.loadForChange(ctx, c, in.Scope)
	if err != nil {
		return nil, err
	}
	if s.State == "inactive" {
		return nil, api.Conflict(n.kind.Name+"_inactive", "It is inactive already.")
	}
	var below int
	if err := c.Tx.QueryRow(ctx, `SELECT count(*) FROM scope_parents WHERE account_id = $1 AND parent_id = $2 AND valid_to = 'infinity'`, c.Account.ID, s.number).Scan(&below); err != nil {
		return nil, err
	}
	if below > 0 {
		return nil, api.Conflict("not_empty", "Organizations, teams or members stand below it still; move or end them first.")
	}
	if _, err := link(ctx, c, s.number, 0); err != nil {
		return nil, err
	}
	return n.saved(ctx, c, s, *s, "deactivated")
}
