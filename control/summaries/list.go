package summaries

import (
	"context"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/jackc/pgx/v5"
)

// AccountSummary is one account's figures.
type AccountSummary struct {
	ID               string     `json:"id" example:"acc_1"`
	Key              string     `json:"key" example:"acme"`
	Name             string     `json:"name" example:"Acme"`
	State            string     `json:"state" enum:"active,suspended,closed,erased"`
	Users            int64      `json:"users" doc:"that are active"`
	AllocatedCredits string     `json:"allocated_credits" example:"100000.000000" doc:"in the current cycles of all sections that count in credits"`
	AllocatedUSD     string     `json:"allocated_usd" example:"500.000000" doc:"the same of those that count in USD"`
	UsedCredits      string     `json:"used_credits" example:"61804.250000"`
	UsedUSD          string     `json:"used_usd" example:"12.040000"`
	ForecastCredits  string     `json:"forecast_credits" example:"98120.000000" doc:"used at the end of the cycle, if it goes on as so far; up to 5 minutes old"`
	ForecastUSD      string     `json:"forecast_usd" example:"20.000000"`
	OpenAlerts       int64      `json:"open_alerts"`
	LastActivityAt   *time.Time `json:"last_activity_at,omitempty" doc:"when its usage was last seen to grow"`
	AsOf             time.Time  `json:"as_of" doc:"of when the figures are"`
}

func scan(row pgx.CollectableRow) (s AccountSummary, err error) {
	var id int64
	var amounts [6]credit.Amount
	err = row.Scan(&id, &s.Key, &s.Name, &s.State, &s.Users, &amounts[0], &amounts[1], &amounts[2], &amounts[3], &amounts[4], &amounts[5], &s.OpenAlerts, &s.LastActivityAt, &s.AsOf)
	s.ID = api.AccountKind.ID(id)
	for i, text := range []*string{&s.AllocatedCredits, &s.AllocatedUSD, &s.UsedCredits, &s.UsedUSD, &s.ForecastCredits, &s.ForecastUSD} {
		*text = amounts[i].String()
	}
	return s, err
}

// Register adds the operation.
func Register(a *api.API) {
	const path = "/v1/platform/summary"
	api.List(a, api.Operation{Path: path, ID: "listSummaries", Summary: "All accounts with their figures", Tag: "Summary", Permission: access.PlatformRead,
		Examples: []api.Example{{As: "super_admin", Path: path + "?state=active&sort=-used_credits&limit=10"}}}, list)
}

type listInput struct {
	api.Page
	State string `query:"state" enum:"active,suspended,closed,erased" doc:"only those in this state"`
	Q     string `query:"q" maxLength:"200" doc:"only those whose key or name has this in it, in any case"`
	Sort  string `query:"sort" enum:"key,-key,users,-users,allocated_credits,-allocated_credits,allocated_usd,-allocated_usd,used_credits,-used_credits,used_usd,-used_usd,forecast_credits,-forecast_credits,forecast_usd,-forecast_usd,open_alerts,-open_alerts,last_activity_at,-last_activity_at" default:"key" doc:"the order; with - in front, from the end"`
}

// sorts are the orders, each of which is an index.
var sorts = map[string]api.Sort{"key": {By: "a.key", Type: "text"}, "last_activity_at": {By: "s.last_activity_at", Type: "timestamptz"},
	"users": {By: "s.users", Type: "bigint"}, "open_alerts": {By: "s.open_alerts", Type: "bigint"},
	"allocated_credits": {By: "s.allocated_credits", Type: "bigint"}, "allocated_usd": {By: "s.allocated_usd", Type: "bigint"},
	"used_credits": {By: "s.used_credits", Type: "bigint"}, "used_usd": {By: "s.used_usd", Type: "bigint"},
	"forecast_credits": {By: "s.forecast_credits", Type: "bigint"}, "forecast_usd": {By: "s.forecast_usd", Type: "bigint"}}

func list(_ context.Context, _ *api.Call, in *listInput) (*api.Query[AccountSummary], error) {
	q := &api.Query[AccountSummary]{Scan: scan, From: "account_summaries s JOIN accounts a USING (account_id)", ID: "s.account_id",
		Select: `s.account_id, a.key, a.name, a.state, s.users, s.allocated_credits, s.allocated_usd, s.used_credits, s.used_usd, s.forecast_credits, s.forecast_usd,
			s.open_alerts, nullif(s.last_activity_at, '-infinity'), (SELECT as_of FROM account_summaries_state)`}
	var err error
	if q.Sort, err = api.SortBy(in.Sort, sorts); err != nil {
		return nil, err
	}
	if in.State != "" {
		q.Filter("a.state = ?", in.State)
	}
	q.Search(in.Q, "a.key", "a.name")
	return q, nil
}
