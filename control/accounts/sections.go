package accounts

import (
	"context"
	"errors"
	"net/http"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/jackc/pgx/v5"
)

// Section is a section as an account has it.
type Section struct {
	ID     string `json:"id" example:"sec_1"`
	Key    string `json:"key" example:"copilot"`
	Unit   string `json:"unit" enum:"credits,usd" doc:"what it counts in"`
	Models string `json:"models" enum:"platform,account" doc:"who owns its models"`
	State  string `json:"state" enum:"on,off,absent" doc:"absent: the account never had it"`

	number int64
}

const sectionColumns = `s.id, s.key, s.unit, s.models_owner, coalesce(x.state, 'absent')`

func scanSection(row pgx.CollectableRow) (s Section, err error) {
	err = row.Scan(&s.number, &s.Key, &s.Unit, &s.Models, &s.State)
	s.ID = api.SectionKind.ID(s.number)
	return s, err
}

const sectionPath = wholePath + "/sections/{section}"

func registerSections(a *api.API) {
	api.List(a, api.Operation{Path: wholePath + "/sections", ID: "listSections", Summary: "The sections, and which of them the account has", Tag: "Sections",
		Permission: access.AccountRead, Examples: []api.Example{{As: asAdmin, Path: "/v1/accounts/key:acme/sections"}}}, listSections)
	api.Read(a, api.Operation{Method: http.MethodGet, Path: sectionPath, ID: "getSection", Summary: "A section of the account", Tag: "Sections", Permission: access.SectionRead,
		Examples: []api.Example{{As: "section_admin:acme/copilot", Path: "/v1/accounts/key:acme/sections/key:copilot"}}}, getSection)
	for verb, state := range map[string]string{"on": "on", "off": "off"} {
		api.Write(a, api.Operation{Method: http.MethodPost, Path: platform + "/{id}/sections/{section}/" + verb, ID: "turnSection" + map[string]string{"on": "On", "off": "Off"}[verb],
			Summary: "Turn a section " + verb + " for an account", Description: "Off: authorize denies there, and what is still used is charged and flagged.", Tag: "Sections",
			Permission: access.AccountsManage, Examples: []api.Example{{As: asSuper, Path: platform + "/key:acme/sections/key:console/" + verb}}}, turn(state))
	}
}

type listSectionsInput struct {
	api.AccountPath
	api.Page
}

func listSections(_ context.Context, c *api.Call, _ *listSectionsInput) (*api.Query[Section], error) {
	q := &api.Query[Section]{Select: sectionColumns, From: "sections s LEFT JOIN account_sections x ON x.section_id = s.id", ID: "s.id",
		Sort: api.Sort{By: "s.key", Type: "text"}, Scan: scanSection}
	if !c.Principal.Is(access.SuperAdmin) {
		q.Filter("x.account_id IS NOT NULL")
	}
	return q, nil
}

type getSectionInput struct {
	api.SectionPath
}

func getSection(ctx context.Context, c *api.Call, _ *getSectionInput) (*struct{ Body Section }, error) {
	s, err := loadSection(ctx, c.Tx, c.Account.ID, api.Ref{ID: c.Section.ID})
	return &struct{ Body Section }{s}, err
}

func loadSection(ctx context.Context, tx pgx.Tx, account int64, ref api.Ref) (Section, error) {
	rows, err := tx.Query(ctx, `SELECT `+sectionColumns+` FROM sections s LEFT JOIN account_sections x ON x.section_id = s.id AND x.account_id = $1
		WHERE s.id = $2 OR s.key = $3`, account, ref.ID, ref.Key)
	return api.One(api.SectionKind, rows, err, scanSection)
}

type turnInput struct {
	IDPath
	api.Idempotent
	Section string `path:"section" maxLength:"200" doc:"the section's id, or key: and its key" example:"key:console"`
}

func turn(state string) func(context.Context, *api.Call, *turnInput) (*struct{ Body Section }, error) {
	return func(ctx context.Context, c *api.Call, in *turnInput) (*struct{ Body Section }, error) {
		a, err := loadForChange(ctx, c.Tx, api.AccountKind.Ref(in.ID))
		if err != nil {
			return nil, err
		}
		before, err := loadSection(ctx, c.Tx, a.number, api.SectionKind.Ref(in.Section))
		if err != nil {
			return nil, err
		}
		after, err := a.turn(ctx, c, before, state, "")
		return &struct{ Body Section }{after}, err
	}
}

// turn makes a section of an account that was loaded for change on or off, and puts it on record. One that the account never
// had gets its root, and the platform's first plan for cycles.
func (a *Account) turn(ctx context.Context, c *api.Call, before Section, state, reason string) (after Section, err error) {
	if before.State == "absent" && state == "off" {
		return after, api.Conflict("section_absent", "The account never had this section.")
	}
	if before.State == "absent" {
		err = addSection(ctx, c, a.number, before.number)
	} else {
		_, err = c.Tx.Exec(ctx, `UPDATE account_sections SET state = $3 WHERE account_id = $1 AND section_id = $2`, a.number, before.number, state)
	}
	if err != nil {
		return after, err
	}
	if err := a.save(ctx, c.Tx); err != nil {
		return after, err
	}
	if after, err = loadSection(ctx, c.Tx, a.number, api.Ref{ID: before.number}); err != nil {
		return after, err
	}
	return after, c.Record(ctx, api.Change{Account: a.number, Action: "section.turned_" + state,
		Object: audit.Object{Kind: api.SectionKind.Name, ID: after.ID, Name: after.Key}, Before: before, After: after, Reason: reason})
}

// addSection gives the account a root in the section, and rows for its users.
func addSection(ctx context.Context, c *api.Call, account, section int64) error {
	var plan int64
	err := c.Tx.QueryRow(ctx, `SELECT id FROM budget_plans WHERE account_id IS NULL ORDER BY id LIMIT 1`).Scan(&plan)
	if errors.Is(err, pgx.ErrNoRows) {
		return api.Conflict("no_plan", "The platform has no budget plan yet, and a section needs one for its cycles.")
	}
	if err != nil {
		return err
	}
	var root int64
	if err := c.Tx.QueryRow(ctx, `INSERT INTO scopes (account_id, section_id, kind) VALUES ($1, $2, 'account') RETURNING id`, account, section).Scan(&root); err != nil {
		return err
	}
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{`INSERT INTO account_sections (account_id, section_id, root_scope_id, state) VALUES ($1, $2, $3, 'on')`, []any{account, section, root}},
		{`INSERT INTO scope_plans (account_id, scope_id, plan_id, valid_from) VALUES ($1, $2, $3, $4)`, []any{account, root, plan, c.Now}},
		{`INSERT INTO scopes (account_id, section_id, kind, user_id) SELECT account_id, $2, 'user', id FROM users WHERE account_id = $1`, []any{account, section}},
	} {
		if _, err := c.Tx.Exec(ctx, s.sql, s.args...); err != nil {
			return err
		}
	}
	_, err = directory.EnsureCyclesTx(ctx, c.Tx, c.Now)
	return err
}
