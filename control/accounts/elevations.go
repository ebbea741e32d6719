package accounts

import (
	"context"
	"net/http"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Elevation is a super admin's leave to write in an account.
type Elevation struct {
	ID        string    `json:"id" example:"elv_1"`
	Person    string    `json:"person" example:"per_1"`
	Name      string    `json:"name" doc:"of the person"`
	Reason    string    `json:"reason"`
	CreatedAt time.Time `json:"created_at"`
	Until     time.Time `json:"until"`
}

func registerElevations(a *api.API) {
	const path = wholePath + "/elevations"
	api.List(a, api.Operation{Path: path, ID: "listElevations", Summary: "When super admins wrote in this account, and why", Tag: tag, Permission: access.AccountRead,
		Examples: []api.Example{{As: asAdmin, Path: "/v1/accounts/key:acme/elevations"}}}, listElevations)
	api.Write(a, api.Operation{Method: http.MethodPost, Path: path, ID: "elevate", Summary: "Write in an account for a while, as a super admin", Tag: tag,
		Description: "A super admin only views an account, until this. It is on record under the real person, in the account's own audit log.",
		Permission:  access.AccountsElevate, Status: http.StatusCreated,
		Examples: []api.Example{{As: asSuper, Path: "/v1/accounts/key:acme/elevations", Body: `{"reason":"ticket 4711: wrong time zone","minutes":30}`}}}, elevate)
	api.Write(a, api.Operation{Method: http.MethodDelete, Path: path + "/current", ID: "endElevation", Summary: "End one's own elevation", Tag: tag,
		Permission: access.AccountsElevate, Examples: []api.Example{{As: asSuper, Path: "/v1/accounts/key:acme/elevations/current"}}}, endElevation)
}

const elevationColumns = `e.id, e.person_id, p.name, e.reason, e.created_at, e.until`

func scanElevation(row pgx.CollectableRow) (e Elevation, err error) {
	var id, person int64
	err = row.Scan(&id, &person, &e.Name, &e.Reason, &e.CreatedAt, &e.Until)
	e.ID, e.Person = api.ElevationKind.ID(id), api.PersonKind.ID(person)
	return e, err
}

type listElevationsInput struct {
	api.AccountPath
	api.Page
}

func listElevations(_ context.Context, _ *api.Call, _ *listElevationsInput) (*api.Query[Elevation], error) {
	return &api.Query[Elevation]{Select: elevationColumns, From: "elevations e JOIN people p ON p.id = e.person_id",
		Sort: api.Sort{By: "e.created_at", Type: "timestamptz", Desc: true}, ID: "e.id", Scan: scanElevation}, nil
}

type elevateInput struct {
	api.AccountPath
	api.Idempotent
	Body struct {
		Reason  string `json:"reason" minLength:"1" maxLength:"1000"`
		Minutes int    `json:"minutes" minimum:"1" maximum:"240" doc:"how long"`
	}
}

func elevate(ctx context.Context, c *api.Call, in *elevateInput) (*struct{ Body Elevation }, error) {
	until := c.Now.Add(time.Duration(in.Body.Minutes) * time.Minute)
	rows, err := c.Tx.Query(ctx, `WITH e AS (INSERT INTO elevations (account_id, person_id, reason, created_at, until) VALUES ($1, $2, $3, $4, $5) RETURNING *)
		SELECT `+elevationColumns+` FROM e JOIN people p ON p.id = e.person_id`, c.Account.ID, c.Principal.ID, in.Body.Reason, c.Now, until)
	e, err := api.One(api.PersonKind, rows, err, scanElevation)
	if err != nil {
		return nil, err
	}
	return &struct{ Body Elevation }{e}, c.Record(ctx, api.Change{Action: "elevation.started", Object: audit.Object{Kind: api.ElevationKind.Name, ID: e.ID, Name: e.Name},
		After: e, Reason: in.Body.Reason})
}

func endElevation(ctx context.Context, c *api.Call, _ *struct {
	api.AccountPath
	api.Idempotent
}) (*struct {
	Body struct {
		Ended int64 `json:"ended" doc:"how many were running"`
	}
}, error) {
	tag, err := c.Tx.Exec(ctx, `UPDATE elevations SET until = $3 WHERE account_id = $1 AND person_id = $2 AND until > $3`, c.Account.ID, c.Principal.ID, c.Now)
	if err != nil {
		return nil, err
	}
	out := &struct {
		Body struct {
			Ended int64 `json:"ended" doc:"how many were running"`
		}
	}{}
	out.Body.Ended = tag.RowsAffected()
	return out, c.Record(ctx, api.Change{Action: "elevation.ended", Object: audit.Object{Kind: api.PersonKind.Name, ID: api.PersonKind.ID(c.Principal.ID), Name: c.Principal.Name}})
}
