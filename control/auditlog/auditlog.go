// Package auditlog is the audit log as a noun of the API: an account's entries for its admins, and the platform's own for
// super admins. What writes, seals and verifies the log is control/audit.
//
// Nothing here changes an entry. Whoever holds a role in some sections only, or comes through a client that is registered
// for some, sees the entries of these, and none of the account's own. Files are without limit, and that one was taken is
// itself in the log.
//
// Failures: those of every operation. An entry that the caller may not see is not there.
package auditlog

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

const (
	tag      = "Audit"
	account  = "/v1/accounts/{account}/audit"
	platform = "/v1/platform/audit"
	asAdmin  = "account_admin:acme"
	asSuper  = "super_admin"
	nobodys  = "aud_zzzzzz"
	about    = "Newest first. A section admin sees what was done in the own sections, and nothing else."
	files    = "All entries that fit, newest first; that they were exported is itself put on record. In CSV, cells that a spreadsheet would take for a formula begin with '."
)

var types = map[string]string{"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}

// Register adds the operations.
func Register(a *api.API) {
	names := []string{"text/csv", types["ndjson"]}
	api.Read(a, api.Operation{Method: http.MethodGet, Path: account, ID: "listAudit", Summary: "Who changed what in an account", Description: about, Tag: tag, Permission: access.AuditRead,
		Examples: []api.Example{{As: asAdmin, Path: "/v1/accounts/key:acme/audit?action=account.*&limit=20"}}}, func(ctx context.Context, c *api.Call, in *accountList) (*api.ListAnswer[audit.Record], error) {
		return list(ctx, c, &in.List)
	})
	api.Download(a, api.Operation{Path: account + "/export", ID: "exportAudit", Summary: "An account's audit log, as a file", Description: files, Tag: tag, Permission: access.AuditExport,
		Examples: []api.Example{{As: asAdmin, Path: "/v1/accounts/key:acme/audit/export?format=ndjson&from=2026-01-01T00:00:00Z"}}}, names, func(ctx context.Context, c *api.Call, in *accountFile) (*api.File, error) {
		return export(ctx, c, &in.Whole)
	})
	api.Read(a, api.Operation{Method: http.MethodGet, Path: account + "/{entry}", ID: "getAuditEntry", Summary: "One entry", Tag: tag, Permission: access.AuditRead,
		Examples: []api.Example{{As: asAdmin, Path: "/v1/accounts/key:acme/audit/" + nobodys, Status: http.StatusNotFound}}}, get)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: platform, ID: "listPlatformAudit", Summary: "Who changed what for the platform itself",
		Description: "What was done in an account is in that account's log.", Tag: tag, Permission: access.PlatformAudit,
		Examples: []api.Example{{As: asSuper, Path: platform + "?object_kind=account"}}}, func(ctx context.Context, c *api.Call, in *struct{ List }) (*api.ListAnswer[audit.Record], error) {
		return list(ctx, c, &in.List)
	})
	api.Download(a, api.Operation{Path: platform + "/export", ID: "exportPlatformAudit", Summary: "The platform's own audit log, as a file", Description: files, Tag: tag,
		Permission: access.PlatformAudit, Examples: []api.Example{{As: asSuper, Path: platform + "/export?format=csv"}}}, names, func(ctx context.Context, c *api.Call, in *struct{ Whole }) (*api.File, error) {
		return export(ctx, c, &in.Whole)
	})
}

// Search are the filters of a list or a file.
type Search struct {
	Actor      string    `query:"actor" maxLength:"100" doc:"only what this person or program did, by its id" example:"per_1c"`
	Action     string    `query:"action" maxLength:"100" doc:"only this action; a noun and .* for all of the noun's" example:"account.*"`
	ObjectKind string    `query:"object_kind" maxLength:"100" doc:"only what was done to objects of this kind" example:"account"`
	ObjectID   string    `query:"object_id" maxLength:"200" doc:"only what was done to this object"`
	Section    string    `query:"section" maxLength:"200" doc:"only what was done in this section, by its id, or key: and its key"`
	RequestID  string    `query:"request_id" maxLength:"200" doc:"only what this request did"`
	From       time.Time `query:"from" doc:"only from this time on"`
	To         time.Time `query:"to" doc:"only before this time"`
}

// filter is what the caller asks for, within what the caller may see.
func (s *Search) filter(ctx context.Context, c *api.Call) (audit.Filter, error) {
	f := visible(c)
	f.Actor, f.Action, f.ObjectKind, f.ObjectID, f.RequestID, f.From, f.To = s.Actor, s.Action, s.ObjectKind, s.ObjectID, s.RequestID, s.From, s.To
	if s.Section == "" {
		return f, nil
	}
	ref := api.SectionKind.Ref(s.Section)
	rows, err := c.Tx.Query(ctx, `SELECT id FROM sections WHERE id = $1 OR key = $2`, ref.ID, ref.Key)
	if err != nil {
		return f, err
	}
	asked, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if f.Sections != nil {
		asked = slices.DeleteFunc(asked, func(id int64) bool { return !slices.Contains(f.Sections, id) })
	}
	f.Sections = append([]int64{}, asked...) // none is not all
	return f, err
}

// visible is everything that the caller may see.
func visible(c *api.Call) audit.Filter {
	if c.Account == nil {
		return audit.Filter{}
	}
	f := audit.Filter{Account: c.Account.ID}
	if sections, all := c.Principal.Sections(access.AuditRead, c.Account.ID); !all {
		f.Sections = append([]int64{}, sections...)
	}
	return f
}

type accountList struct {
	api.AccountPath
	List
}

// List is the input of a list, besides its place.
type List struct {
	Search
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"how many at most"`
	Cursor string `query:"cursor" maxLength:"200" doc:"next_cursor of the page before; with the same filters"`
}

func list(ctx context.Context, c *api.Call, in *List) (*api.ListAnswer[audit.Record], error) {
	f, err := in.filter(ctx, c)
	if err != nil {
		return nil, err
	}
	after, err := place(in.Cursor)
	if err != nil {
		return nil, err
	}
	out := &api.ListAnswer[audit.Record]{}
	found, err := inCall(c).Page(ctx, f, after, in.Limit+1)
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.NextCursor = cursor(found[in.Limit-1].Place())
	}
	out.Body.Items = append([]audit.Record{}, found...)
	return out, err
}

// inCall reads in the call's own transaction.
func inCall(c *api.Call) *audit.Store {
	return audit.NewStore(func(_ context.Context, _ int64, f func(pgx.Tx) error) error { return f(c.Tx) })
}

func cursor(p audit.Place) string {
	text, err := json.Marshal(p)
	if err != nil {
		panic("BUG: a cursor that is no JSON: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func place(text string) (p audit.Place, err error) {
	if text == "" {
		return p, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil || p.ID <= 0 {
		return p, api.Invalid("query.cursor", "this is no cursor of this list")
	}
	return p, nil
}

type getInput struct {
	api.AccountPath
	Entry string `path:"entry" maxLength:"100" doc:"the entry's id" example:"aud_1c"`
}

func get(ctx context.Context, c *api.Call, in *getInput) (*struct{ Body audit.Record }, error) {
	r, err := inCall(c).Entry(ctx, visible(c), in.Entry)
	if errors.Is(err, audit.ErrAbsent) {
		return nil, api.NotFound(api.EntryKind)
	}
	if err != nil {
		return nil, err
	}
	return &struct{ Body audit.Record }{*r}, nil
}

type accountFile struct {
	api.AccountPath
	Whole
}

// Whole is the input of an export, besides its place.
type Whole struct {
	Search
	Format string `query:"format" enum:"csv,ndjson" default:"csv"`
}

func export(ctx context.Context, c *api.Call, in *Whole) (*api.File, error) {
	f, err := in.filter(ctx, c)
	if err != nil {
		return nil, err
	}
	object := audit.Object{Kind: "audit_log", ID: "platform"}
	if c.Account != nil {
		object.ID, object.Name = api.AccountKind.ID(c.Account.ID), c.Account.Key
	}
	if err := c.Record(ctx, api.Change{Action: "audit.exported", Object: object, After: in.asked()}); err != nil {
		return nil, err
	}
	store := audit.NewStore(func(ctx context.Context, _ int64, f func(pgx.Tx) error) error { return c.Within(ctx, f) })
	return &api.File{Name: "audit." + in.Format, Type: types[in.Format], Write: func(ctx context.Context, w io.Writer) error {
		if in.Format == "csv" {
			return audit.WriteCSV(w, store.All(ctx, f))
		}
		return audit.WriteNDJSON(w, store.All(ctx, f))
	}}, nil
}

// asked is what is put on record of an export: what it was of.
func (in *Whole) asked() map[string]any {
	asked := map[string]any{"format": in.Format}
	for name, value := range map[string]string{"actor": in.Actor, "action": in.Action, "object_kind": in.ObjectKind, "object_id": in.ObjectID, "section": in.Section, "request_id": in.RequestID} {
		if value != "" {
			asked[name] = value
		}
	}
	for name, value := range map[string]time.Time{"from": in.From, "to": in.To} {
		if !value.IsZero() {
			asked[name] = value
		}
	}
	return asked
}
