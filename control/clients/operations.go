package clients

import (
	"context"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
)

const (
	tag     = "Clients"
	asSuper = "super_admin"
	path    = "/v1/platform/clients"
	onePath = path + "/{client}"
	example = path + "/key:reports"
)

// Register adds the operations.
func Register(a *api.API) {
	api.List(a, api.Operation{Path: path, ID: "listClients", Summary: "Programs that may call with a person's token", Tag: tag, Permission: access.ClientsManage,
		Examples: []api.Example{{As: asSuper, Path: path + "?state=active"}}}, list)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: path, ID: "createClient", Summary: "Register a program", Tag: tag, Permission: access.ClientsManage, Status: http.StatusCreated,
		Examples: []api.Example{
			{As: asSuper, Path: path, Body: `{"key":"reports","name":"Reports","issuer":"https://id.example.com","client_id":"281745@reports","permissions":["account.read","section.read"],"sections":["key:copilot"],"origins":["https://reports.example.com"]}`},
			{As: asSuper, Path: path, Body: `{"key":"greedy","name":"Greedy","issuer":"https://id.example.com","client_id":"1","permissions":["accounts.manage"]}`, Status: http.StatusUnprocessableEntity},
		}}, create)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: onePath, ID: "getClient", Summary: "A registered program", Tag: tag, Permission: access.ClientsManage,
		Examples: []api.Example{{As: asSuper, Path: example}}}, get)
	api.Write(a, api.Operation{Method: http.MethodPatch, Path: onePath, ID: "updateClient", Summary: "Change what a program may", Tag: tag, Permission: access.ClientsManage,
		Errors: []int{http.StatusPreconditionRequired}, Description: "A list that is given replaces the one that is there.",
		Examples: []api.Example{{As: asSuper, Path: example, Header: map[string]string{"If-Match": "*"}, Body: `{"permissions":["account.read"],"origins":["http://localhost:3000"]}`}}}, update)
	for _, m := range []move{{"deactivate", "Shut a program out", "inactive", "client.deactivated"}, {"reactivate", "Let a program in again", "active", "client.reactivated"}} {
		api.Write(a, api.Operation{Method: http.MethodPost, Path: onePath + "/" + m.verb, ID: m.verb + "Client", Summary: m.summary, Tag: tag, Permission: access.ClientsManage,
			Examples: []api.Example{{As: asSuper, Path: example + "/" + m.verb}}}, m.do)
	}
}

type listClientsInput struct {
	api.Page
	State string `query:"state" enum:"active,inactive" doc:"only those in this state"`
	Q     string `query:"q" maxLength:"200" doc:"only those whose key or name has this in it, in any case"`
}

func list(_ context.Context, _ *api.Call, in *listClientsInput) (*api.Query[Client], error) {
	q := &api.Query[Client]{Select: columns, From: "clients c", ID: "c.id", Sort: api.Sort{By: "c.key", Type: "text"}, Scan: scan}
	if in.State != "" {
		q.Filter("c.state = ?", in.State)
	}
	q.Search(in.Q, "c.key", "c.name")
	return q, nil
}

// ClientPath is the client of a route.
type ClientPath struct {
	Client string `path:"client" maxLength:"200" doc:"the client's id, or key: and its key" example:"key:reports"`
}

type createClientInput struct {
	api.Idempotent
	Body struct {
		Key         string   `json:"key" minLength:"1" maxLength:"64" pattern:"^[a-z0-9][a-z0-9._-]*$" patternDescription:"small letters, digits, dots, dashes and underscores"`
		Name        string   `json:"name" minLength:"1" maxLength:"200"`
		Issuer      string   `json:"issuer" minLength:"1" maxLength:"2000"`
		ClientID    string   `json:"client_id" minLength:"1" maxLength:"200"`
		Permissions []string `json:"permissions" minItems:"1" maxItems:"100" doc:"none of the platform's"`
		Sections    []string `json:"sections,omitempty" maxItems:"100" doc:"ids or key:s; none: all"`
		Origins     []string `json:"origins,omitempty" maxItems:"20"`
	}
}

func create(ctx context.Context, call *api.Call, in *createClientInput) (*api.Answer[Client], error) {
	b := in.Body
	c := Client{Name: b.Name, Issuer: b.Issuer, ClientID: b.ClientID, Permissions: b.Permissions, Sections: b.Sections, Origins: b.Origins}
	if err := c.check(ctx, call.Tx); err != nil {
		return nil, err
	}
	rows, err := call.Tx.Query(ctx, `INSERT INTO clients AS c (key, name, issuer, client_id, permissions, origins, sections, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, ARRAY(SELECT s.id FROM sections s WHERE s.key = ANY($7) ORDER BY 1), $8) RETURNING `+columns,
		b.Key, c.Name, c.Issuer, c.ClientID, c.Permissions, c.Origins, c.Sections, call.Now)
	if c, err = api.One(api.ClientKind, rows, err, scan); err != nil {
		return nil, conflict(err)
	}
	return c.answer(), call.Record(ctx, api.Change{Action: "client.created", Object: c.object(), After: c})
}

type getClientInput struct {
	ClientPath
	api.IfNoneMatch
}

func get(ctx context.Context, call *api.Call, in *getClientInput) (*api.Answer[Client], error) {
	c, err := load(ctx, call.Tx, in.Client, false)
	if err != nil {
		return nil, err
	}
	return c.answer(), nil
}

type updateClientInput struct {
	ClientPath
	api.Idempotent
	api.IfMatch
	Body struct {
		Name        *string   `json:"name,omitempty" minLength:"1" maxLength:"200"`
		Issuer      *string   `json:"issuer,omitempty" minLength:"1" maxLength:"2000"`
		ClientID    *string   `json:"client_id,omitempty" minLength:"1" maxLength:"200"`
		Permissions *[]string `json:"permissions,omitempty" minItems:"1" maxItems:"100"`
		Sections    *[]string `json:"sections,omitempty" maxItems:"100" doc:"ids or key:s; an empty list: all"`
		Origins     *[]string `json:"origins,omitempty" maxItems:"20"`
	}
}

// set takes a value where one is given.
func set[T any](field *T, given *T) {
	if given != nil {
		*field = *given
	}
}

func update(ctx context.Context, call *api.Call, in *updateClientInput) (*api.Answer[Client], error) {
	c, err := load(ctx, call.Tx, in.Client, true)
	if err != nil {
		return nil, err
	}
	if err := in.Check(c.revision, c, in.Body); err != nil {
		return nil, err
	}
	before := *c
	set(&c.Name, in.Body.Name)
	set(&c.Issuer, in.Body.Issuer)
	set(&c.ClientID, in.Body.ClientID)
	set(&c.Permissions, in.Body.Permissions)
	set(&c.Origins, in.Body.Origins)
	c.Sections = nil
	for _, key := range before.Sections {
		c.Sections = append(c.Sections, "key:"+key) // as bodies name them
	}
	set(&c.Sections, in.Body.Sections)
	if err := c.check(ctx, call.Tx); err != nil {
		return nil, err
	}
	if err := c.save(ctx, call.Tx); err != nil {
		return nil, err
	}
	return c.answer(), call.Record(ctx, api.Change{Action: "client.updated", Object: c.object(), Before: before, After: c})
}

// move is a change of state.
type move struct{ verb, summary, state, action string }

type moveClientInput struct {
	ClientPath
	api.Idempotent
}

func (m move) do(ctx context.Context, call *api.Call, in *moveClientInput) (*api.Answer[Client], error) {
	c, err := load(ctx, call.Tx, in.Client, true)
	if err != nil {
		return nil, err
	}
	before := *c
	c.State = m.state
	if err := c.save(ctx, call.Tx); err != nil {
		return nil, err
	}
	return c.answer(), call.Record(ctx, api.Change{Action: m.action, Object: c.object(), Before: before, After: c})
}
