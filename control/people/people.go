package people

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/jackc/pgx/v5"
)

// Person is who signed in once, or was invited.
type Person struct {
	ID         string     `json:"id" example:"per_1"`
	Issuer     string     `json:"issuer" example:"https://id.example.com"`
	Subject    string     `json:"subject" example:"281744" doc:"the issuer's name for the person"`
	Name       string     `json:"name" example:"Grace Hopper"`
	Email      string     `json:"email" example:"grace@acme.example"`
	State      string     `json:"state" enum:"active,inactive"`
	CreatedAt  time.Time  `json:"created_at" doc:"when the person first signed in, or was invited"`
	LastSeenAt *time.Time `json:"last_seen_at,omitempty" doc:"absent: was invited, and has not signed in"`

	number int64
}

const personColumns = `p.id, p.issuer, p.subject, p.name, p.email, p.state, p.created_at, CASE WHEN p.seen THEN p.last_seen_at END`

func scanPerson(row pgx.CollectableRow) (p Person, err error) {
	err = row.Scan(&p.number, &p.Issuer, &p.Subject, &p.Name, &p.Email, &p.State, &p.CreatedAt, &p.LastSeenAt)
	p.ID = api.PersonKind.ID(p.number)
	return p, err
}

func loadPerson(ctx context.Context, tx pgx.Tx, text string) (Person, error) {
	rows, err := tx.Query(ctx, `SELECT `+personColumns+` FROM people p WHERE p.id = $1`, api.PersonKind.Ref(text).ID)
	return api.One(api.PersonKind, rows, err, scanPerson)
}

const platform = "/v1/platform/people"

// Register adds the operations.
func Register(a *api.API) {
	registerAssignments(a)
	const tag = "People"
	api.List(a, api.Operation{Path: platform, ID: "listPeople", Summary: "Everybody who has signed in, or was invited", Tag: tag, Permission: access.PlatformRead,
		Examples: []api.Example{{As: asSuper, Path: platform + "?q=grace&sort=name"}}}, listPeople)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: platform + "/{person}", ID: "getPerson", Summary: "A person", Tag: tag, Permission: access.PlatformRead,
		Examples: []api.Example{{As: asSuper, Path: platform + "/per_1"}}}, getPerson)
	for _, m := range []move{
		{"deactivate", "Shut a person out", "inactive", "person.deactivated", "Ends the person's access at once, in all accounts: sessions and tokens are refused with the next request."},
		{"reactivate", "Let a person in again", "active", "person.reactivated", "With the roles that he has by then."},
	} {
		api.Write(a, api.Operation{Method: http.MethodPost, Path: platform + "/{person}/" + m.verb, ID: m.verb + "Person", Summary: m.summary, Description: m.description, Tag: tag,
			Permission: access.PeopleManage, Examples: []api.Example{{As: asSuper, Path: platform + "/per_1/" + m.verb, Body: `{"reason":"ticket 4712"}`}}}, m.do)
	}
}

type listPeopleInput struct {
	api.Page
	State   string `query:"state" enum:"active,inactive" doc:"only those in this state"`
	Account string `query:"account" maxLength:"200" doc:"only those with an assignment in this account: its id, or key: and its key"`
	Q       string `query:"q" maxLength:"200" doc:"only those whose name, e-mail or subject has this in it, in any case"`
	Sort    string `query:"sort" enum:"name,-name,last_seen_at,-last_seen_at,created_at,-created_at" default:"-last_seen_at" doc:"the order; with - in front, from the end"`
}

func listPeople(_ context.Context, _ *api.Call, in *listPeopleInput) (*api.Query[Person], error) {
	q := &api.Query[Person]{Select: personColumns, From: "people p", ID: "p.id", Scan: scanPerson}
	var err error
	if q.Sort, err = api.SortBy(in.Sort, map[string]api.Sort{"name": {By: "p.name", Type: "text"}, "last_seen_at": {By: "p.last_seen_at", Type: "timestamptz"},
		"created_at": {By: "p.created_at", Type: "timestamptz"}}); err != nil {
		return nil, err
	}
	if in.State != "" {
		q.Filter("p.state = ?", in.State)
	}
	if in.Account != "" {
		ref := api.AccountKind.Ref(in.Account)
		q.Filter("EXISTS (SELECT FROM assignments x JOIN accounts a USING (account_id) WHERE x.person_id = p.id AND (a.account_id = ? OR a.key = ?))", ref.ID, ref.Key)
	}
	q.Search(in.Q, "p.name", "p.email", "p.subject")
	return q, nil
}

// PersonPath is the person of a route.
type PersonPath struct {
	Person string `path:"person" maxLength:"200" doc:"the person's id" example:"per_1"`
}

func getPerson(ctx context.Context, c *api.Call, in *PersonPath) (*struct{ Body Person }, error) {
	p, err := loadPerson(ctx, c.Tx, in.Person)
	return &struct{ Body Person }{p}, err
}

// move is a change of state.
type move struct{ verb, summary, state, action, description string }

type personMoveInput struct {
	PersonPath
	api.Idempotent
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"for the audit log"`
	}
}

func (m move) do(ctx context.Context, c *api.Call, in *personMoveInput) (*struct{ Body Person }, error) {
	id := api.PersonKind.Ref(in.Person).ID
	if id == c.Principal.ID {
		return nil, api.Conflict("own_person", "Nobody shuts himself out: another super admin can.")
	}
	// Both rows, in one order: of two who shut each other out at once, one does.
	rows, err := c.Tx.Query(ctx, `SELECT p.id FROM people p WHERE id = ANY($1) AND state = 'active' ORDER BY id FOR UPDATE`, []int64{id, c.Principal.ID})
	if err != nil {
		return nil, err
	}
	active, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	if !slices.Contains(active, c.Principal.ID) {
		return nil, api.NewProblem(http.StatusForbidden, api.CodeForbidden, "You have just been shut out.")
	}
	before, err := loadPerson(ctx, c.Tx, in.Person)
	if err != nil {
		return nil, err
	}
	if _, err := c.Tx.Exec(ctx, `UPDATE people SET state = $2 WHERE id = $1`, before.number, m.state); err != nil {
		return nil, err
	}
	switch err := provisioning.SetPerson(ctx, c.Tx, before.number, m.state == "active"); {
	case errors.Is(err, provisioning.ErrShutThere):
		return nil, api.Conflict("shut_at_issuer", "The person was deactivated or locked at the issuer: let him in there first.")
	case err != nil:
		return nil, err
	}
	after := before
	after.State = m.state
	return &struct{ Body Person }{after}, c.Record(ctx, api.Change{Action: m.action, Object: audit.Object{Kind: api.PersonKind.Name, ID: after.ID, Name: after.Name},
		Before: before, After: after, Reason: in.Body.Reason})
}
