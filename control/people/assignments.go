package people

import (
	"context"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/naming"
	"github.com/jackc/pgx/v5"
)

// Assignment is a role that the cockpit gives to a person in an account.
type Assignment struct {
	ID        string      `json:"id" example:"asg_1"`
	Person    Named       `json:"person"`
	Role      string      `json:"role" enum:"account_admin,account_viewer,section_admin"`
	Section   *SectionRef `json:"section,omitempty" doc:"absent: all of the account"`
	CreatedAt time.Time   `json:"created_at"`

	number, person int64
}

// Named is a person as lists name him.
type Named struct {
	ID    string `json:"id" example:"per_1"`
	Name  string `json:"name" example:"Grace Hopper"`
	Email string `json:"email" example:"grace@acme.example"`
}

// SectionRef is a section as other objects name it.
type SectionRef struct {
	ID  string `json:"id" example:"sec_1"`
	Key string `json:"key" example:"copilot"`
}

const (
	assignmentColumns = `x.id, x.person_id, p.name, p.email, x.role, coalesce(x.section_id, 0), coalesce(s.key, ''), x.created_at`
	assignmentTables  = `assignments x JOIN people p ON p.id = x.person_id LEFT JOIN sections s ON s.id = x.section_id`
)

func scanAssignment(row pgx.CollectableRow) (a Assignment, err error) {
	var section int64
	var key string
	err = row.Scan(&a.number, &a.person, &a.Person.Name, &a.Person.Email, &a.Role, &section, &key, &a.CreatedAt)
	a.ID, a.Person.ID = api.AssignmentKind.ID(a.number), api.PersonKind.ID(a.person)
	if section != 0 {
		a.Section = &SectionRef{api.SectionKind.ID(section), key}
	}
	return a, err
}

func (a *Assignment) object() audit.Object {
	return audit.Object{Kind: api.AssignmentKind.Name, ID: a.ID, Name: a.Person.Name}
}

const (
	asAdmin     = "account_admin:acme"
	asSuper     = "super_admin"
	assignments = "/v1/accounts/{account}/assignments"
	ofAcme      = "/v1/accounts/key:acme/assignments"
)

func registerAssignments(a *api.API) {
	const tag = "Assignments"
	api.List(a, api.Operation{Path: assignments, ID: "listAssignments", Summary: "Who has which role in the account", Tag: tag, Permission: access.AssignmentsRead,
		Description: "Admins by the issuer's word alone are not in it: the issuer knows them.",
		Examples:    []api.Example{{As: asAdmin, Path: ofAcme + "?role=account_viewer"}}}, listAssignments)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: assignments, ID: "createAssignment", Summary: "Give a person a role", Tag: tag, Permission: access.AssignmentsWrite,
		Description: "The person has signed in once. Whom the issuer calls admin of the account has from then on what assignments say, and no more. " +
			"One that is there already is answered as it is.", Status: http.StatusCreated,
		Examples: []api.Example{
			{As: asAdmin, Path: ofAcme, Body: `{"email":"grace@acme.example","role":"section_admin","section":"key:copilot"}`},
			{As: asAdmin, Path: ofAcme, Body: `{"email":"nobody@acme.example","role":"account_viewer"}`, Status: http.StatusUnprocessableEntity},
		}}, createAssignment)
	api.Write(a, api.Operation{Method: http.MethodDelete, Path: assignments + "/{assignment}", ID: "deleteAssignment", Summary: "Take a role from a person", Tag: tag,
		Permission: access.AssignmentsWrite, Description: "Whom the issuer calls admin of the account is that again, when it was his last.",
		Examples: []api.Example{{As: asAdmin, Path: ofAcme + "/{id}", Make: "createAssignment"}}}, deleteAssignment)
}

type listAssignmentsInput struct {
	api.AccountPath
	api.Page
	Role    string `query:"role" enum:"account_admin,account_viewer,section_admin" doc:"only these"`
	Section string `query:"section" maxLength:"200" doc:"only those for this section alone: its id, or key: and its key"`
	Person  string `query:"person" maxLength:"200" doc:"only those of this person"`
}

func listAssignments(_ context.Context, c *api.Call, in *listAssignmentsInput) (*api.Query[Assignment], error) {
	q := &api.Query[Assignment]{Select: assignmentColumns, From: assignmentTables, ID: "x.id", Sort: api.Sort{By: "x.id", Type: "bigint"}, Scan: scanAssignment}
	q.Filter("x.account_id = ?", c.Account.ID)
	if in.Role != "" {
		q.Filter("x.role = ?", in.Role)
	}
	if in.Section != "" {
		ref := api.SectionKind.Ref(in.Section)
		q.Filter("s.id = ? OR s.key = ?", ref.ID, ref.Key)
	}
	if in.Person != "" {
		q.Filter("x.person_id = ?", api.PersonKind.Ref(in.Person).ID)
	}
	return q, nil
}

// keepsAdmin holds the account's assignments until the transaction ends, and refuses a change of the caller's own, or by
// somebody who is no admin any more.
func keepsAdmin(ctx context.Context, c *api.Call, person int64) error {
	if person == c.Principal.ID {
		return api.Conflict("own_assignment", "Nobody changes his own role: another admin can.")
	}
	if _, err := c.Tx.Exec(ctx, `SELECT FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE`, c.Account.ID); err != nil {
		return err
	}
	if c.Principal.Is(access.SuperAdmin) {
		return nil
	}
	var narrowed bool
	err := c.Tx.QueryRow(ctx, `SELECT count(*) > 0 AND NOT bool_or(role = 'account_admin') FROM assignments WHERE account_id = $1 AND person_id = $2`,
		c.Account.ID, c.Principal.ID).Scan(&narrowed)
	if narrowed {
		return api.NewProblem(http.StatusForbidden, "narrowed", "Another admin has just taken that from your role.")
	}
	return err
}

type newAssignment struct {
	naming.Somebody
	Role    string `json:"role" enum:"account_admin,account_viewer,section_admin" doc:"account_admin gives nothing to whom the issuer does not call admin of the account"`
	Section string `json:"section,omitempty" maxLength:"200" doc:"the id, or key: and the key, of the one section that it is for; a section_admin has one, an account_admin none"`
}

type createAssignmentInput struct {
	api.AccountPath
	api.Idempotent
	Body newAssignment
}

func createAssignment(ctx context.Context, c *api.Call, in *createAssignmentInput) (*struct{ Body Assignment }, error) {
	switch has := in.Body.Section != ""; {
	case in.Body.Role == "section_admin" && !has:
		return nil, api.Invalid("body.section", "a section_admin is of a section")
	case in.Body.Role == "account_admin" && has:
		return nil, api.Invalid("body.section", "an account_admin is of all sections; section_admin is the role of one")
	}
	person, err := in.Body.Find(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := keepsAdmin(ctx, c, person); err != nil {
		return nil, err
	}
	section, err := c.FindSection(ctx, "body.section", in.Body.Section)
	if err != nil {
		return nil, err
	}
	made, err := c.Tx.Exec(ctx, `INSERT INTO assignments (account_id, person_id, role, section_id, created_at) VALUES ($1, $2, $3, nullif($4::bigint, 0), $5) ON CONFLICT DO NOTHING`,
		c.Account.ID, person, in.Body.Role, section, c.Now)
	if err != nil {
		return nil, err
	}
	rows, err := c.Tx.Query(ctx, `SELECT `+assignmentColumns+` FROM `+assignmentTables+` WHERE x.account_id = $1 AND x.person_id = $2 AND x.role = $3 AND coalesce(x.section_id, 0) = $4`,
		c.Account.ID, person, in.Body.Role, section)
	a, err := api.One(api.AssignmentKind, rows, err, scanAssignment)
	if err != nil {
		return nil, err
	}
	change := api.Change{Action: "assignment.created", Object: a.object(), After: a}
	if made.RowsAffected() == 0 {
		change.Before = a
	}
	return &struct{ Body Assignment }{a}, c.Record(ctx, change)
}

type deleteAssignmentInput struct {
	api.AccountPath
	api.Idempotent
	Assignment string `path:"assignment" maxLength:"200" doc:"the assignment's id" example:"asg_1"`
}

func deleteAssignment(ctx context.Context, c *api.Call, in *deleteAssignmentInput) (*struct{ Body Assignment }, error) {
	rows, err := c.Tx.Query(ctx, `SELECT `+assignmentColumns+` FROM `+assignmentTables+` WHERE x.account_id = $1 AND x.id = $2`,
		c.Account.ID, api.AssignmentKind.Ref(in.Assignment).ID)
	a, err := api.One(api.AssignmentKind, rows, err, scanAssignment)
	if err != nil {
		return nil, err
	}
	if err := keepsAdmin(ctx, c, a.person); err != nil {
		return nil, err
	}
	gone, err := c.Tx.Exec(ctx, `DELETE FROM assignments WHERE account_id = $1 AND id = $2`, c.Account.ID, a.number)
	if err != nil {
		return nil, err
	}
	if gone.RowsAffected() == 0 {
		return nil, api.NotFound(api.AssignmentKind)
	}
	return &struct{ Body Assignment }{a}, c.Record(ctx, api.Change{Action: "assignment.deleted", Object: a.object(), Before: a})
}
