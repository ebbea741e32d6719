// Package sessions answers who the caller is, and lists and ends sessions of browsers: one's own, and for super admins those
// of anybody.
//
// What a session is, control/signin knows. Ending one holds from its next request on, and is on the platform's record.
package sessions

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/signin"
	"github.com/jackc/pgx/v5"
)

const (
	tag     = "Sessions"
	asSuper = "super_admin"
	own     = "/v1/me/sessions"
	theirs  = "/v1/platform/people/{person}/sessions"
)

// Register adds the operations.
func Register(a *api.API) {
	api.Read(a, api.Operation{Method: http.MethodGet, Path: "/v1/me", ID: "getMe", Summary: "Who am I, and what may I do where", Tag: tag, Permission: access.SelfRead,
		Examples: []api.Example{{As: "account_admin:acme", Path: "/v1/me"}}}, me)
	api.List(a, api.Operation{Path: own, ID: "listMySessions", Summary: "My open sessions", Tag: tag, Permission: access.SelfRead,
		Examples: []api.Example{{As: asSuper, Path: own}}}, listOwn)
	api.Write(a, api.Operation{Method: http.MethodDelete, Path: own + "/{session}", ID: "endMySession", Summary: "End one of my sessions", Tag: tag, Permission: access.SelfWrite,
		Status: http.StatusNoContent, Examples: []api.Example{{As: asSuper, Path: own + "/ses_1", Status: http.StatusNotFound}}}, endOwn)
	api.List(a, api.Operation{Path: theirs, ID: "listSessions", Summary: "A person's open sessions", Tag: tag, Permission: access.SessionsManage,
		Examples: []api.Example{{As: asSuper, Path: "/v1/platform/people/per_1/sessions"}}}, listTheirs)
	api.Write(a, api.Operation{Method: http.MethodDelete, Path: theirs + "/{session}", ID: "endSession", Summary: "End a person's session", Tag: tag, Permission: access.SessionsManage,
		Status: http.StatusNoContent, Examples: []api.Example{{As: asSuper, Path: "/v1/platform/people/per_1/sessions/ses_1", Status: http.StatusNotFound}}}, endTheirs)
}

// Session is a session of a browser.
type Session struct {
	ID        string    `json:"id" example:"ses_1"`
	Current   bool      `json:"current" doc:"this request came by it"`
	UserAgent string    `json:"user_agent" doc:"what the browser said it was when it signed in"`
	Address   string    `json:"address" doc:"where it signed in from" example:"203.0.113.7"`
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at" doc:"of the last request, to the minute"`
	ExpiresAt time.Time `json:"expires_at" doc:"if it is not used until then"`
}

func sessionsOf(c *api.Call, person int64) *api.Query[Session] {
	q := &api.Query[Session]{Select: `id, user_agent, address, created_at, seen_at, least(expires_at, seen_at + idle)`, From: `sessions s`, ID: `s.id`,
		Sort: api.Sort{By: `s.created_at`, Type: "timestamptz", Desc: true},
		Scan: func(row pgx.CollectableRow) (s Session, err error) {
			var id int64
			err = row.Scan(&id, &s.UserAgent, &s.Address, &s.CreatedAt, &s.SeenAt, &s.ExpiresAt)
			s.ID, s.Current = api.SessionKind.ID(id), id == c.Principal.Session
			return s, err
		}}
	q.Filter(`person_id = ?`, person)
	q.Filter(signin.Open)
	return q
}

// self is the person who calls; a service has no sessions.
func self(c *api.Call) int64 {
	if c.Principal.Kind != access.Person {
		return 0
	}
	return c.Principal.ID
}

func listOwn(_ context.Context, c *api.Call, _ *struct{ api.Page }) (*api.Query[Session], error) {
	return sessionsOf(c, self(c)), nil
}

// SessionPath names a session.
type SessionPath struct {
	Session string `path:"session" maxLength:"200" doc:"the session's id" example:"ses_1"`
}

type endOwnInput struct {
	SessionPath
	api.Idempotent
}

func endOwn(ctx context.Context, c *api.Call, in *endOwnInput) (*struct{}, error) {
	return end(ctx, c, self(c), in.Session)
}

// PersonPath names a person.
type PersonPath struct {
	Person string `path:"person" maxLength:"200" doc:"the person's id" example:"per_1"`
}

type listTheirsInput struct {
	PersonPath
	api.Page
}

func listTheirs(ctx context.Context, c *api.Call, in *listTheirsInput) (*api.Query[Session], error) {
	person := api.PersonKind.Ref(in.Person).ID
	var there bool
	if err := c.Tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM people WHERE id = $1)`, person).Scan(&there); err != nil {
		return nil, err
	}
	if !there {
		return nil, api.NotFound(api.PersonKind)
	}
	return sessionsOf(c, person), nil
}

type endTheirsInput struct {
	PersonPath
	SessionPath
	api.Idempotent
}

func endTheirs(ctx context.Context, c *api.Call, in *endTheirsInput) (*struct{}, error) {
	return end(ctx, c, api.PersonKind.Ref(in.Person).ID, in.Session)
}

func end(ctx context.Context, c *api.Call, person int64, session string) (*struct{}, error) {
	id := api.SessionKind.Ref(session).ID
	var name string
	err := c.Tx.QueryRow(ctx, `UPDATE sessions s SET ended_at = now(), tokens = '' FROM people p WHERE s.id = $1 AND s.person_id = $2 AND p.id = s.person_id AND `+signin.Open+`
		RETURNING p.name`, id, person).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, api.NotFound(api.SessionKind)
	}
	if err != nil {
		return nil, err
	}
	return &struct{}{}, c.Record(ctx, api.Change{Action: "session.ended", Object: audit.Object{Kind: api.SessionKind.Name, ID: api.SessionKind.ID(id), Name: name}})
}
