package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/jackc/pgx/v5"
)

// Author is who a request was of, kept as JSON for work that goes on when it has been answered.
type Author struct {
	Kind    access.Kind `json:"kind"`
	ID      int64       `json:"id"`
	Name    string      `json:"name"`
	Role    access.Role `json:"role"` // by which he was allowed
	Client  string      `json:"client,omitempty"`
	Address string      `json:"address,omitempty"`
}

// Author is the caller, by the role that allows him permission in the call's place; or why it is not for him: no role of his
// has it, or the account does not stand as such a request needs. An operation asks that whose input says what it will do.
func (c *Call) Author(permission access.Permission) (Author, error) {
	d := c.Principal.May(permission, c.accountID(), c.sectionID(), c.Now)
	if d.Verdict != access.Allowed {
		return Author{}, NewProblem(http.StatusForbidden, CodeForbidden, d.Reason)
	}
	if c.Account != nil {
		asked := Call{Account: c.Account, operation: &Operation{Permission: permission}, role: d.Role}
		if err := asked.standing(); err != nil {
			return Author{}, err
		}
	}
	a := Author{Kind: c.Principal.Kind, ID: c.Principal.ID, Name: c.Principal.Name, Role: d.Role, Address: c.Address}
	if c.Principal.Client != nil {
		a.Client = c.Principal.Client.Key
	}
	return a, nil
}

// Work is what goes on after a request: whose it is, what it needed, and where.
type Work struct {
	Author           Author
	Permission       access.Permission
	Account, Section int64  // 0: the platform, or the account itself
	ID               string // what the audit log has for a request's id
}

// Later is a call outside of a request, in tx, which has the account's role, or the platform's. It can do what the request
// could that left the work behind: Record, ChangeDirectory, HoldLimit, Try. The account must stand as it would for a request,
// and a person must not have been shut out since (author_shut_out). What it records is written by Settle.
func (a *API) Later(ctx context.Context, tx pgx.Tx, w Work) (*Call, error) {
	c := &Call{Principal: &access.Principal{Kind: w.Author.Kind, ID: w.Author.ID, Name: w.Author.Name}, RequestID: w.ID, Address: w.Author.Address, Now: a.cfg.Now(), Tx: tx,
		api: a, operation: &Operation{Permission: w.Permission}, role: w.Author.Role, later: true}
	if w.Author.Client != "" {
		c.Principal.Client = &access.Client{Key: w.Author.Client}
	}
	if c.Principal.Kind == access.Person {
		var active bool
		err := tx.QueryRow(ctx, `SELECT state = 'active' FROM people WHERE id = $1`, c.Principal.ID).Scan(&active)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("look up an author: %w", err)
		}
		if !active {
			return nil, NewProblem(http.StatusForbidden, "author_shut_out", "Who asked for it was shut out since.")
		}
	}
	if w.Account == 0 {
		return c, nil
	}
	c.Account = &Account{}
	err := tx.QueryRow(ctx, `SELECT account_id, key, state, limits FROM accounts WHERE account_id = $1`, w.Account).
		Scan(&c.Account.ID, &c.Account.Key, &c.Account.State, &c.Account.Limits)
	if err != nil {
		return nil, fmt.Errorf("look up an account: %w", err)
	}
	if w.Section != 0 {
		c.Section = &Section{}
		err := tx.QueryRow(ctx, `SELECT s.id, s.key, s.unit, coalesce(x.state, '') = 'on' FROM sections s LEFT JOIN account_sections x ON x.account_id = $1 AND x.section_id = s.id
			WHERE s.id = $2`, w.Account, w.Section).Scan(&c.Section.ID, &c.Section.Key, &c.Section.Unit, &c.Section.On)
		if err != nil {
			return nil, fmt.Errorf("look up a section: %w", err)
		}
	}
	return c, c.standing()
}

// Settle writes what a call of Later put on record.
func (c *Call) Settle(ctx context.Context) error {
	entries := c.entries
	c.entries = nil
	if len(entries) == 0 {
		return nil
	}
	return c.api.cfg.Audit.Append(ctx, c.Tx, entries...)
}

// Try calls f in a savepoint. When f returns an error, what it changed and put on record is undone, and the transaction goes on.
func (c *Call) Try(ctx context.Context, f func() error) error {
	outer, before := c.Tx, *c
	tx, err := outer.Begin(ctx)
	if err != nil {
		return err
	}
	c.Tx = tx
	err = f()
	c.Tx = outer
	if err == nil {
		return tx.Commit(ctx)
	}
	c.entries, c.recorded, c.changing = before.entries, before.recorded, before.changing
	if undone := tx.Rollback(ctx); undone != nil {
		return errors.Join(undone, err)
	}
	return err
}
