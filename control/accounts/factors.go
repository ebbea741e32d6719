package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/price"
	"github.com/jackc/pgx/v5"
)

// CreditsFactor is how many credits one USD of cost is, from a time on.
type CreditsFactor struct {
	ID      string    `json:"id" example:"fac_1"`
	Value   string    `json:"value" example:"100" doc:"credits for one USD"`
	From    time.Time `json:"from" doc:"events of this time and later"`
	Of      string    `json:"of" enum:"account,platform" doc:"the platform's counts where the account has none by then"`
	Current bool      `json:"current" doc:"what usage of this moment is charged with"`
}

func scanFactor(row pgx.CollectableRow) (f CreditsFactor, err error) {
	var id int64
	err = row.Scan(&id, &f.Value, &f.From, &f.Of, &f.Current)
	f.ID = api.FactorKind.ID(id)
	return f, err
}

// factorColumns of the table f, as they are at now.
func factorColumns(now time.Time) string {
	return fmt.Sprintf(`f.id, trim_scale(f.value)::text, f.valid_from, CASE WHEN f.account_id IS NULL THEN 'platform' ELSE 'account' END,
		f.id = (SELECT g.id FROM credits_factors g WHERE g.section_id = f.section_id AND (g.account_id = x.account_id OR g.account_id IS NULL)
			AND g.valid_from <= '%s' ORDER BY g.account_id NULLS LAST, g.valid_from DESC LIMIT 1)`, now.UTC().Format(time.RFC3339Nano))
}

const factorTables = `account_sections x JOIN credits_factors f ON f.section_id = x.section_id AND (f.account_id = x.account_id OR f.account_id IS NULL)`

func registerFactors(a *api.API) {
	api.List(a, api.Operation{Path: sectionPath + "/factors", ID: "listFactors", Summary: "CREDITS_FACTOR of a section, by date", Tag: "Sections", Permission: access.SectionRead,
		Examples: []api.Example{{As: "account_viewer:acme", Path: "/v1/accounts/key:acme/sections/key:copilot/factors"}}}, listFactors)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: platform + "/{id}/sections/{section}/factors", ID: "addFactor", Summary: "Give an account's section another CREDITS_FACTOR from a time on",
		Description: "A factor is never edited. One begins at least 5 seconds ahead, or in the past where nothing has been charged since; anything else is a correction.",
		Tag:         "Sections", Permission: access.AccountsManage, Status: http.StatusCreated,
		Examples: []api.Example{
			{As: asSuper, Path: platform + "/key:acme/sections/key:copilot/factors", Body: `{"value":"120.5","from":"2099-01-01T00:00:00Z"}`},
			{As: asSuper, Path: platform + "/key:acme/sections/key:console/factors", Body: `{"value":"2","from":"2099-01-01T00:00:00Z"}`, Status: http.StatusUnprocessableEntity},
		}}, addFactor)
}

type listFactorsInput struct {
	api.SectionPath
	api.Page
}

func listFactors(_ context.Context, c *api.Call, _ *listFactorsInput) (*api.Query[CreditsFactor], error) {
	q := &api.Query[CreditsFactor]{Select: factorColumns(c.Now), From: factorTables, ID: "f.id",
		Sort: api.Sort{By: "f.valid_from", Type: "timestamptz", Desc: true}, Scan: scanFactor}
	q.Filter("x.account_id = ? AND x.section_id = ?", c.Account.ID, c.Section.ID)
	return q, nil
}

type addFactorInput struct {
	IDPath
	api.Idempotent
	Section string `path:"section" maxLength:"200" doc:"the section's id, or key: and its key" example:"key:copilot"`
	Body    struct {
		Value string    `json:"value" maxLength:"32" pattern:"^[0-9]{1,6}([.][0-9]{1,12})?$" example:"120.5" doc:"credits for one USD: a positive decimal with at most 12 places"`
		From  time.Time `json:"from"`
	}
}

func addFactor(ctx context.Context, c *api.Call, in *addFactorInput) (*struct{ Body CreditsFactor }, error) {
	if _, err := price.ParseFactor(in.Body.Value); err != nil {
		return nil, api.Invalid("body.value", "a positive decimal below 1000000 with at most 12 places")
	}
	if year := in.Body.From.Year(); year < 2000 || year > 9999 {
		return nil, api.Invalid("body.from", "a time from 2000 on")
	}
	a, err := loadForChange(ctx, c.Tx, api.AccountKind.Ref(in.ID))
	if err != nil {
		return nil, err
	}
	s, err := loadSection(ctx, c.Tx, a.number, api.SectionKind.Ref(in.Section))
	switch {
	case err != nil:
		return nil, err
	case s.State == "absent":
		return nil, api.Conflict("section_absent", "The account never had this section.")
	case s.Unit == "usd":
		return nil, api.Invalid("body.value", "a section that counts in USD has factor 1")
	}
	f := directory.Factor{Account: a.number, Section: s.number, Value: in.Body.Value, From: in.Body.From.Truncate(time.Microsecond)}
	added, err := f.Add(ctx, c.Tx, c.Now, false)
	switch {
	case errors.Is(err, directory.ErrEdited):
		return nil, api.Conflict("factor_exists", "There is another factor from this time on, and it "+err.Error()+".")
	case errors.Is(err, directory.ErrCharged):
		return nil, api.Conflict("already_charged", "A factor "+err.Error()+".")
	case err != nil:
		return nil, err
	}
	if _, err := c.Tx.Exec(ctx, `UPDATE accounts SET version = $2 WHERE account_id = $1`, a.number, a.version); err != nil {
		return nil, err
	}
	rows, err := c.Tx.Query(ctx, `SELECT `+factorColumns(c.Now)+` FROM `+factorTables+` WHERE x.account_id = $1 AND x.section_id = $2 AND f.account_id = $1 AND f.valid_from = $3`,
		f.Account, f.Section, f.From)
	made, err := api.One(api.FactorKind, rows, err, scanFactor)
	if err != nil {
		return nil, err
	}
	change := api.Change{Account: a.number, Action: "factor.added", Object: audit.Object{Kind: api.FactorKind.Name, ID: made.ID, Name: s.Key}, After: made}
	if !added {
		change.Before = made
	}
	return &struct{ Body CreditsFactor }{made}, c.Record(ctx, change)
}
