// Package sections is the sections of the platform: lines of products that accounts can have. A section is a row and no
// code: whatever works below …/sections/{section} works for one that is made here.
//
// Key, unit and who owns the models never change, since money was counted by them. A section has a default CREDITS_FACTOR
// from the beginning of time, so that no usage of it is without one; one that counts in USD has factor 1. A new section
// raises the directory's version: metering knows it within a second.
//
// Failures: key_taken, and those of every operation.
package sections

import (
	"context"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/price"
	"github.com/jackc/pgx/v5"
)

// PlatformSection is a section as the platform has it.
type PlatformSection struct {
	ID            string    `json:"id" example:"sec_1"`
	Key           string    `json:"key" example:"copilot" doc:"what products name it by; never changes"`
	Unit          string    `json:"unit" enum:"credits,usd" doc:"what it counts in; never changes"`
	Models        string    `json:"models" enum:"platform,account" doc:"who owns its models; never changes"`
	DefaultFactor string    `json:"default_factor" example:"100" doc:"CREDITS_FACTOR of accounts that have none of their own, as of now"`
	CreatedAt     time.Time `json:"created_at"`
}

const columns = `s.id, s.key, s.unit, s.models_owner, s.created_at, coalesce((SELECT trim_scale(f.value)::text FROM credits_factors f
	WHERE f.section_id = s.id AND f.account_id IS NULL AND f.valid_from <= now() ORDER BY f.valid_from DESC LIMIT 1), '')`

func scan(row pgx.CollectableRow) (s PlatformSection, err error) {
	var id int64
	err = row.Scan(&id, &s.Key, &s.Unit, &s.Models, &s.CreatedAt, &s.DefaultFactor)
	s.ID = api.SectionKind.ID(id)
	return s, err
}

const (
	tag     = "Sections"
	asSuper = "super_admin"
	path    = "/v1/platform/sections"
)

// Register adds the operations.
func Register(a *api.API) {
	api.List(a, api.Operation{Path: path, ID: "listPlatformSections", Summary: "The platform's sections", Tag: tag, Permission: access.PlatformRead,
		Examples: []api.Example{{As: asSuper, Path: path}}}, list)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: path, ID: "createSection", Summary: "Add a section to the platform", Tag: tag, Permission: access.SectionsManage,
		Description: "Accounts have it when it is turned on for them, and sources may send to it when they are registered for it.", Status: http.StatusCreated,
		Examples: []api.Example{
			{As: asSuper, Path: path, Body: `{"key":"voice","unit":"credits","models":"platform","default_factor":"100"}`},
			{As: asSuper, Path: path, Body: `{"key":"copilot","unit":"credits","models":"platform","default_factor":"100"}`, Status: http.StatusConflict},
		}}, create)
}

type listSectionsInput struct{ api.Page }

func list(context.Context, *api.Call, *listSectionsInput) (*api.Query[PlatformSection], error) {
	return &api.Query[PlatformSection]{Select: columns, From: "sections s", ID: "s.id", Sort: api.Sort{By: "s.key", Type: "text"}, Scan: scan}, nil
}

type createSectionInput struct {
	api.Idempotent
	Body struct {
		Key           string `json:"key" minLength:"1" maxLength:"64" pattern:"^[a-z0-9][a-z0-9._-]*$" patternDescription:"small letters, digits, dots, dashes and underscores"`
		Unit          string `json:"unit" enum:"credits,usd"`
		Models        string `json:"models" enum:"platform,account"`
		DefaultFactor string `json:"default_factor,omitempty" maxLength:"32" pattern:"^[0-9]{1,6}([.][0-9]{1,12})?$" example:"100" doc:"credits for one USD: a positive decimal with at most 12 places; 1, or absent, where the unit is usd"`
	}
}

// alwaysFrom is when the default factor begins: before any usage.
var alwaysFrom = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func create(ctx context.Context, c *api.Call, in *createSectionInput) (*struct{ Body PlatformSection }, error) {
	b := in.Body
	if b.Unit == "usd" && b.DefaultFactor == "" {
		b.DefaultFactor = "1"
	}
	f, err := price.ParseFactor(b.DefaultFactor)
	if err != nil {
		return nil, api.Invalid("body.default_factor", "a positive decimal below 1000000 with at most 12 places")
	}
	if one, _ := price.ParseFactor("1"); b.Unit == "usd" && f != one {
		return nil, api.Invalid("body.default_factor", "a section that counts in USD has factor 1")
	}
	if _, err := directory.Raise(ctx, c.Tx); err != nil {
		return nil, err
	}
	var id int64
	err = c.Tx.QueryRow(ctx, `INSERT INTO sections (key, unit, models_owner, created_at) VALUES ($1, $2, $3, $4) RETURNING id`, b.Key, b.Unit, b.Models, c.Now).Scan(&id)
	if api.Violates(err, "sections_key_key") {
		return nil, api.Conflict("key_taken", "There is a section with this key.")
	}
	if err != nil {
		return nil, err
	}
	if _, err := c.Tx.Exec(ctx, `INSERT INTO credits_factors (section_id, value, valid_from) VALUES ($1, $2::numeric, $3)`, id, b.DefaultFactor, alwaysFrom); err != nil {
		return nil, err
	}
	rows, err := c.Tx.Query(ctx, `SELECT `+columns+` FROM sections s WHERE s.id = $1`, id)
	s, err := api.One(api.SectionKind, rows, err, scan)
	if err != nil {
		return nil, err
	}
	return &struct{ Body PlatformSection }{s}, c.Record(ctx, api.Change{Action: "section.created", Object: audit.Object{Kind: api.SectionKind.Name, ID: s.ID, Name: s.Key}, After: s})
}
