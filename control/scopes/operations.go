package scopes

import (
	"context"
	"net/http"
	"strings"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/metering/balances"
)

const (
	asAdmin     = "account_admin:acme"
	sectionPath = "/v1/accounts/{account}/sections/{section}"
	ofAcme      = "/v1/accounts/key:acme/sections/key:copilot"
)

// noun is one of the two kinds: all is the same for both, but for what may stand below what.
type noun struct {
	kind                  api.Kind
	article, plural, name string // an, organizations, Organization
}

var (
	organizations = noun{api.OrganizationKind, "an", "organizations", "Organization"}
	teams         = noun{api.TeamKind, "a", "teams", "Team"}
)

// Register adds the operations.
func Register(a *api.API) {
	organizations.register(a)
	teams.register(a)
	registerMemberships(a)
}

func (n noun) register(a *api.API) {
	tag, path, made := n.name+"s", sectionPath+"/"+n.plural, ofAcme+"/"+n.plural+"/{id}"
	one, sectionAdmin := path+"/{scope}", "section_admin:acme/copilot"
	article := n.article + " " + n.kind.Name
	makes := "create" + n.name
	api.List(a, api.Operation{Path: path, ID: "list" + n.name + "s", Summary: "The section's " + n.plural, Tag: tag, Permission: access.DirectoryRead,
		Examples: []api.Example{{As: sectionAdmin, Path: ofAcme + "/" + n.plural + "?organization=key:eng&q=r"}, {As: "account_viewer:acme", Path: ofAcme + "/" + n.plural + "?top=true"}}}, n.list)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: path, ID: makes, Summary: "Add " + article, Tag: tag, Permission: access.DirectoryWrite, Status: http.StatusCreated,
		Description: "Below the organization that is named, or below the account. Without a key it gets one that nobody has.",
		Examples: []api.Example{{As: asAdmin, Path: ofAcme + "/" + n.plural, Body: `{"name":"Quality"}`},
			{As: sectionAdmin, Path: ofAcme + "/" + n.plural, Body: `{"key":"quality","name":"Quality","organization":"key:eng"}`}}}, n.create)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: one, ID: "get" + n.name, Summary: strings.ToUpper(article[:1]) + article[1:], Tag: tag, Permission: access.DirectoryRead,
		Examples: []api.Example{{As: asAdmin, Path: made, Make: makes}}}, n.get)
	api.Write(a, api.Operation{Method: http.MethodPatch, Path: one, ID: "update" + n.name, Summary: "Change the name of " + article, Tag: tag, Permission: access.DirectoryWrite,
		Errors:   []int{http.StatusPreconditionRequired},
		Examples: []api.Example{{As: asAdmin, Path: made, Make: makes, Header: map[string]string{"If-Match": "*"}, Body: `{"name":"Quality and safety"}`}}}, n.update)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: one + "/move", ID: "move" + n.name, Summary: "Move " + article + ", with all that is below it", Tag: tag, Permission: access.DirectoryWrite,
		Description: "Usage of from now on is charged along the new path; what was charged stays. One that is inactive is active again.",
		Examples: []api.Example{{As: asAdmin, Path: made + "/move", Make: makes, Body: `{"organization":"key:eng"}`},
			{As: asAdmin, Path: made + "/move", Make: makes, Body: `{"organization":"key:nowhere"}`, Status: http.StatusUnprocessableEntity}}}, n.move)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: one + "/rename", ID: "rename" + n.name, Summary: "Give " + article + " another key", Tag: tag, Permission: access.DirectoryWrite,
		Description: "The one that it had goes on naming it, as an alias: usage of either is charged to it, whatever its time. It is never another's.",
		Examples: []api.Example{{As: asAdmin, Path: made + "/rename", Make: makes, Body: `{"key":"quality-and-safety"}`},
			{As: sectionAdmin, Path: made + "/rename", Make: makes, Body: `{"key":""}`, Status: http.StatusUnprocessableEntity}}}, n.rename)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: one + "/deactivate", ID: "deactivate" + n.name, Summary: "Deactivate " + article, Tag: tag, Permission: access.DirectoryWrite,
		Description: "Nothing may stand below it, neither organizations and teams nor members. It is not deleted: what was charged to it stays, and its key is not used again.",
		Examples:    []api.Example{{As: asAdmin, Path: made + "/deactivate", Make: makes}}}, n.deactivate)
}

type listInput struct {
	api.SectionPath
	api.Page
	Q            string `query:"q" maxLength:"200" doc:"only those whose key, name or alias has this in it, in any case"`
	State        string `query:"state" enum:"active,inactive" doc:"only those in this state"`
	Organization string `query:"organization" maxLength:"300" doc:"only those right below this organization: its id, or key: and its key"`
	Key          string `query:"key" maxLength:"256" doc:"only the one with this key or alias"`
	api.Created
	Top        bool   `query:"top" doc:"only those right below the account"`
	Sort       string `query:"sort" enum:"key,-key,name,-name" default:"key"`
	WithoutUse bool   `query:"without_use" doc:"only those to which nothing was charged in the open cycle"`
	Over       bool   `query:"over_allocation" doc:"only those that used all of an allocation, share or cap of their own in the open cycle"`
}

func (n noun) list(ctx context.Context, c *api.Call, in *listInput) (*api.Query[Scope], error) {
	q := &api.Query[Scope]{Select: columns, From: tables, ID: "s.id", Scan: scan}
	var err error
	if q.Sort, err = api.SortBy(in.Sort, map[string]api.Sort{"key": {By: "s.key", Type: "text"}, "name": {By: "coalesce(s.name, s.key)", Type: "text"}}); err != nil {
		return nil, err
	}
	q.Filter("s.account_id = ? AND s.section_id = ? AND s.kind = ?", c.Account.ID, c.Section.ID, n.kind.Name)
	if in.State != "" {
		q.Filter("(p.scope_id IS NOT NULL) = ?", in.State == "active")
	}
	if in.Q != "" {
		q.Filter(`lower((s.key || E'\n' || coalesce(s.name, '')) COLLATE pg_c_utf8) LIKE ?
			OR s.id IN (SELECT x.scope_id FROM key_aliases x WHERE x.account_id = ? AND x.section_id = ? AND lower(x.key COLLATE pg_c_utf8) LIKE ?)`,
			api.Like(in.Q), c.Account.ID, c.Section.ID, api.Like(in.Q))
	}
	if in.Key != "" {
		q.Filter(`s.key = ? OR s.id = (SELECT x.scope_id FROM key_aliases x WHERE x.account_id = ? AND x.section_id = ? AND x.kind = ? AND x.key = ?)`,
			in.Key, c.Account.ID, c.Section.ID, n.kind.Name, in.Key)
	}
	api.FilterCreated(q, "s.created_at", in.Created)
	if in.Top {
		q.Filter("o.kind = 'account'")
	}
	if in.Organization != "" {
		ref := api.OrganizationKind.Ref(in.Organization)
		q.Filter("o.kind = 'organization' AND (o.id = ? OR o.key = ?)", ref.ID, ref.Key)
	}
	for use, wanted := range map[balances.Use]bool{balances.Charged: in.WithoutUse, balances.Over: in.Over} {
		if !wanted {
			continue
		}
		scopes, err := balances.ScopesOf(ctx, c.Tx, c.Account.ID, c.Section.ID, c.Now, use)
		if err != nil {
			return nil, err
		}
		q.In("s.id", scopes, use == balances.Over)
	}
	return q, nil
}

type newScope struct {
	Key          *string `json:"key,omitempty" maxLength:"256" doc:"what products name it by, in Unicode form NFC; case-sensitive"`
	Name         string  `json:"name" minLength:"1" maxLength:"200"`
	Organization string  `json:"organization,omitempty" maxLength:"300" doc:"that it stands below: its id, or key: and its key; without: the account"`
}

type createInput struct {
	api.SectionPath
	api.Idempotent
	Body newScope
}

func (n noun) create(ctx context.Context, c *api.Call, in *createInput) (*api.Answer[Scope], error) {
	key, err := api.Key(in.Body.Key)
	if err != nil {
		return nil, err
	}
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	below, err := parent(ctx, c, api.OrganizationKind, in.Body.Organization)
	if err != nil {
		return nil, err
	}
	var id int64
	err = c.Tx.QueryRow(ctx, `INSERT INTO scopes (account_id, section_id, kind, key, name, created_at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`,
		c.Account.ID, c.Section.ID, n.kind.Name, key, in.Body.Name, c.Now).Scan(&id)
	if api.Violates(err, "scopes_key") {
		return nil, api.Conflict("key_taken", "The section has or had one with this key.")
	}
	if err != nil {
		return nil, err
	}
	if _, err := link(ctx, c, id, below); err != nil {
		return nil, err
	}
	if err := n.holdLimit(ctx, c); err != nil {
		return nil, err
	}
	s, err := load(ctx, c, n.kind, api.Ref{ID: id})
	if err != nil {
		return nil, err
	}
	return s.answer(), c.Record(ctx, api.Change{Action: n.kind.Name + ".created", Object: s.object(n.kind), After: s})
}

// holdLimit refuses one team too many.
func (n noun) holdLimit(ctx context.Context, c *api.Call) error {
	if n.kind != api.TeamKind {
		return nil
	}
	return c.HoldLimit(ctx, c.Account.Limits.Teams, "active teams", activeTeams)
}

// activeTeams counts those of an account, in all sections.
const activeTeams = `SELECT count(*) FROM scopes s
	JOIN scope_parents p ON p.account_id = s.account_id AND p.scope_id = s.id AND p.valid_to = 'infinity' WHERE s.account_id = $1 AND s.kind = 'team'`

// ScopePath is the organization or team of a path.
type ScopePath struct {
	api.SectionPath
	Scope string `path:"scope" maxLength:"300" doc:"its id, or key: and its key" example:"key:support"`
}

type getInput struct {
	ScopePath
	api.IfNoneMatch
}

func (n noun) get(ctx context.Context, c *api.Call, in *getInput) (*api.Answer[Scope], error) {
	s, err := load(ctx, c, n.kind, n.kind.Ref(in.Scope))
	if err != nil {
		return nil, err
	}
	return s.answer(), nil
}
