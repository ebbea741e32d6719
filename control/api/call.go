package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"
)

// Call is one request: who asks, for which account and section, and in which transaction.
type Call struct {
	Principal *access.Principal
	Account   *Account // nil: the route is the platform's or the caller's own
	Section   *Section // nil: the route is of the account, or of none
	RequestID string
	Address   string
	Now       time.Time
	Tx        pgx.Tx // of the account's, or the platform's, role

	api       *API
	operation *Operation
	gin       *gin.Context
	uri       string
	role      access.Role // by which it was allowed
	recorded  bool
	repeated  bool
	changing  bool           // ChangeDirectory was called in this transaction
	later     bool           // outside of a request: entries are kept until Settle
	entries   []*audit.Entry // that Settle writes
}

// Account is the account that a path names.
type Account struct {
	ID     int64
	Key    string
	State  string // active, suspended, closed or erased
	Limits Limits
}

// Limits bound an account. None set is no limit of that kind.
type Limits struct {
	Users             *int `json:"users,omitempty" minimum:"0" maximum:"100000000" doc:"how many users the account may have"`
	Teams             *int `json:"teams,omitempty" minimum:"0" maximum:"1000000" doc:"how many teams, in all sections"`
	Keys              *int `json:"keys,omitempty" minimum:"0" maximum:"10000" doc:"how many service keys that are neither revoked nor expired"`
	RequestsPerSecond *int `json:"requests_per_second,omitempty" minimum:"1" maximum:"100000" doc:"of all callers of the account together"`
	RetentionDays     *int `json:"retention_days,omitempty" minimum:"1" maximum:"36500" doc:"how long what is kept of usage stays"`
}

// Section is the section that a path names.
type Section struct {
	ID   int64
	Key  string
	Unit string
	On   bool // in the account
}

// URL is where browsers reach a path of ours.
func (c *Call) URL(path string) string { return c.api.cfg.PublicURL + path }

func (c *Call) accountID() int64 {
	if c.Account == nil {
		return 0
	}
	return c.Account.ID
}

func (c *Call) sectionID() int64 {
	if c.Section == nil {
		return 0
	}
	return c.Section.ID
}

// caller names the principal among all, with the client that it came through.
func (c *Call) caller() string {
	name := fmt.Sprintf("%s %d", c.Principal.Kind, c.Principal.ID)
	if c.Principal.Client != nil {
		name += fmt.Sprintf(" client %d", c.Principal.Client.ID)
	}
	return name
}

// Actor is the caller as the audit log has it.
func (c *Call) Actor() audit.Actor {
	a := audit.Actor{Kind: string(c.Principal.Kind), ID: PersonKind.ID(c.Principal.ID), Name: c.Principal.Name, Role: string(c.role)}
	if c.Principal.Kind == access.Service {
		a.ID = KeyKind.ID(c.Principal.ID)
	}
	if c.Principal.Client != nil {
		a.Client = c.Principal.Client.Key
	}
	return a
}

// Change is what a write puts on record.
type Change struct {
	Account       int64 // in whose log; 0: the account of the path, or the platform's
	Action        string
	Object        audit.Object
	Before, After any // as the API shows the object; nil: it is not there
	Reason        string
}

// Record puts a change on record, in the transaction. Every write does; one that turns out to change nothing records that
// it was asked for.
func (c *Call) Record(ctx context.Context, change Change) error {
	changes, err := audit.Diff(change.Before, change.After)
	if err != nil {
		return err
	}
	c.recorded = true
	account := change.Account
	if account == 0 {
		account = c.accountID()
	}
	e := &audit.Entry{Account: account, Section: c.sectionID(), At: c.Now, Actor: c.Actor(), Action: change.Action,
		Object: change.Object, Changes: changes, Reason: change.Reason, RequestID: c.RequestID, Address: c.Address}
	if c.later {
		c.entries = append(c.entries, e)
		return nil
	}
	return c.api.cfg.Audit.Append(ctx, c.Tx, e)
}

type callKey struct{}

func callOf(ctx context.Context) *Call {
	c, ok := ctx.Value(callKey{}).(*Call)
	if !ok {
		panic("BUG: an operation without its call")
	}
	return c
}

// admit is the middleware of every operation: it finds out who calls and what for, and answers those who may not.
func (a *API) admit(op *Operation) func(huma.Context, func(huma.Context)) {
	return func(h huma.Context, next func(huma.Context)) {
		g := humagin.Unwrap(h)
		c := &Call{api: a, operation: op, gin: g, RequestID: g.Writer.Header().Get(requestIDHeader), Address: g.ClientIP(), Now: a.cfg.Now(), uri: g.Request.URL.RequestURI()}
		ctx, cancel := context.WithTimeout(context.WithValue(h.Context(), callKey{}, c), op.timeout)
		defer cancel()
		if a.cfg.Observe != nil {
			begin := time.Now()
			defer func() { a.cfg.Observe(op.ID, g.Writer.Status(), time.Since(begin)) }()
		}
		if err := a.allow(ctx, c, g.Request.WithContext(ctx), h.Param("account"), h.Param("section")); err != nil {
			a.refuse(h, err)
			return
		}
		next(huma.WithContext(h, ctx))
	}
}

// refuse answers with the problem of err.
func (a *API) refuse(h huma.Context, err error) {
	p := a.problem(h.Context(), requestID(h), err)
	for name, values := range p.header {
		for _, v := range values {
			h.SetHeader(name, v)
		}
	}
	h.SetHeader("Content-Type", p.ContentType(""))
	h.SetStatus(p.Status)
	_ = json.NewEncoder(h.BodyWriter()).Encode(p) // a caller that has gone reads no answer
}

// allow fills c in, or says why the request is not for this caller.
func (a *API) allow(ctx context.Context, c *Call, r *http.Request, account, section string) (err error) {
	if c.Principal, err = a.cfg.Authenticator.Authenticate(r); err != nil {
		return err
	}
	if err := a.rates.take(c.caller(), a.cfg.RequestsPerSecond, c.Now); err != nil {
		return err
	}
	op := c.operation
	absent := Kind{}
	accountID, sectionID := int64(0), int64(0)
	if op.account {
		if accountID, sectionID, absent, err = a.place(ctx, c, account, section); err != nil {
			return err
		}
	}
	d := c.Principal.May(op.Permission, accountID, sectionID, c.Now)
	switch {
	case d.Verdict == access.Absent && sectionID != 0 && c.Principal.May(access.AccountRead, accountID, 0, c.Now).Verdict == access.Allowed:
		return NotFound(SectionKind)
	case d.Verdict == access.Absent:
		return NotFound(AccountKind)
	case d.Verdict == access.Forbidden:
		return NewProblem(http.StatusForbidden, CodeForbidden, d.Reason)
	case absent != Kind{}:
		return NotFound(absent)
	}
	c.role = d.Role
	if c.Account == nil {
		return nil
	}
	if err := c.standing(); err != nil {
		return err
	}
	if n := c.Account.Limits.RequestsPerSecond; n != nil {
		if err := a.rates.take(fmt.Sprintf("account %d", accountID), *n, c.Now); err != nil {
			return err
		}
	}
	return a.recordView(ctx, c)
}

// standing refuses writes in an account that is suspended or closed, except by super admins, and all in one that is erased.
func (c *Call) standing() error {
	if c.Account.State == "active" || c.operation.Permission.Reads() || c.role == access.SuperAdmin && c.Account.State != "erased" {
		return nil
	}
	return NewProblem(http.StatusForbidden, "account_"+c.Account.State, "The account is "+c.Account.State+": it can be read, and not changed.")
}

// nowhere is the id of an account or section that is not there: nobody's.
const nowhere = -1

// place looks up the account and section of the path, and which of them is not there.
func (a *API) place(ctx context.Context, c *Call, account, section string) (accountID, sectionID int64, absent Kind, err error) {
	ref, s := AccountKind.Ref(account), SectionKind.Ref(section)
	conn, err := acquire(ctx, a.cfg.Stores.Platform)
	if err != nil {
		return 0, 0, absent, err
	}
	defer conn.Release()
	c.Account = &Account{}
	var found Section
	err = conn.QueryRow(ctx, `SELECT a.account_id, a.key, a.state, a.limits, coalesce(s.id, 0), coalesce(s.key, ''), coalesce(s.unit, ''), coalesce(x.state, '') = 'on'
		FROM accounts a LEFT JOIN sections s ON s.id = $3 OR s.key = $4
		LEFT JOIN account_sections x ON x.account_id = a.account_id AND x.section_id = s.id
		WHERE a.account_id = $1 OR a.key = $2`, ref.ID, ref.Key, s.ID, s.Key).
		Scan(&c.Account.ID, &c.Account.Key, &c.Account.State, &c.Account.Limits, &found.ID, &found.Key, &found.Unit, &found.On)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		c.Account = nil
		if c.operation.section {
			sectionID = nowhere
		}
		return nowhere, sectionID, AccountKind, nil
	case err != nil:
		return 0, 0, absent, err
	case !c.operation.section:
		return c.Account.ID, 0, absent, nil
	case found.ID == 0:
		return c.Account.ID, nowhere, SectionKind, nil
	}
	c.Section = &found
	return c.Account.ID, found.ID, absent, nil
}

// recordView puts on record that a super admin views an account: once an hour, person and account.
func (a *API) recordView(ctx context.Context, c *Call) error {
	if c.role != access.SuperAdmin || c.Account == nil {
		return nil
	}
	view := fmt.Sprintf("%s account %d hour %d", c.caller(), c.Account.ID, c.Now.Unix()/3600)
	if !a.views.first(view, c.Now) {
		return nil
	}
	err := a.cfg.Stores.InTx(ctx, c.Account.ID, pgx.ReadWrite, func(tx pgx.Tx) error {
		return a.cfg.Audit.Append(ctx, tx, &audit.Entry{Account: c.Account.ID, At: c.Now, Actor: c.Actor(), Action: "account.viewed",
			Object: audit.Object{Kind: AccountKind.Name, ID: AccountKind.ID(c.Account.ID), Name: c.Account.Key}, RequestID: c.RequestID, Address: c.Address})
	})
	if err != nil {
		a.views.forget(view)
	}
	return err
}

func requestID(h huma.Context) string { return humagin.Unwrap(h).Writer.Header().Get(requestIDHeader) }
