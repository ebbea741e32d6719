package unattributed

import (
	"context"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Attribution is what an admin said of a key: that it is a user's.
type Attribution struct {
	ID         string     `json:"id" example:"atr_1"`
	Key        string     `json:"key" example:"u-77" doc:"empty once the user is erased"`
	User       Owner      `json:"user"`
	Section    string     `json:"section,omitempty" example:"sec_1" doc:"whose charges are corrected; absent: those of all sections"`
	Correct    bool       `json:"correct" doc:"whether what was charged in the open cycles is corrected, too"`
	State      string     `json:"state" enum:"waiting,running,done,failed" doc:"waiting: until all workers and ClickHouse have what there is"`
	Looked     int64      `json:"looked_at" doc:"charges that name the key, in the pass at hand"`
	Corrected  int64      `json:"corrected" doc:"charges that were taken back and made anew"`
	Unknown    int64      `json:"unknown" doc:"flagged charges whose events are not kept any more, whatever key they named"`
	Error      string     `json:"error,omitempty" doc:"what holds it up, or why it failed"`
	Reason     string     `json:"reason"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`

	number int64
}

const (
	columns = `t.id, t.key, u.id, u.key, coalesce(t.section_id, 0), t.correct, t.state, t.looked, t.corrected, t.unknown, t.error, t.reason, t.created_at, t.finished_at`
	tables  = `attributions t JOIN users u ON u.account_id = t.account_id AND u.id = t.user_id`
)

func scanAttribution(row pgx.CollectableRow) (a Attribution, err error) {
	var user, section int64
	err = row.Scan(&a.number, &a.Key, &user, &a.User.Key, &section, &a.Correct, &a.State, &a.Looked, &a.Corrected, &a.Unknown, &a.Error, &a.Reason, &a.CreatedAt, &a.FinishedAt)
	a.ID, a.User.ID = api.AttributionKind.ID(a.number), api.UserKind.ID(user)
	if section != 0 {
		a.Section = api.SectionKind.ID(section)
	}
	return a, err
}

func load(ctx context.Context, c *api.Call, id int64) (*Attribution, error) {
	rows, err := c.Tx.Query(ctx, `SELECT `+columns+` FROM `+tables+` WHERE t.account_id = $1 AND t.id = $2`, c.Account.ID, id)
	a, err := api.One(api.AttributionKind, rows, err, scanAttribution)
	return &a, err
}

// recorded is what the audit log has of it: not the key, which may say who the user is.
type recorded struct {
	User    string `json:"user,omitempty"`
	Section string `json:"section,omitempty"`
	Correct bool   `json:"correct"`
	State   string `json:"state"`

	Corrected int64 `json:"corrected"`
	Unknown   int64 `json:"unknown"`
}

func (a *Attribution) recorded() any {
	if a == nil {
		return nil
	}
	return recorded{a.User.ID, a.Section, a.Correct, a.State, a.Corrected, a.Unknown}
}

func (a *Attribution) object() audit.Object {
	return audit.Object{Kind: api.AttributionKind.Name, ID: a.ID}
}

func (a *Attribution) record(ctx context.Context, c *api.Call, what string, before *Attribution) error {
	return c.Record(ctx, api.Change{Action: "attribution." + what, Object: a.object(), Before: before.recorded(), After: a.recorded(), Reason: a.Reason})
}
