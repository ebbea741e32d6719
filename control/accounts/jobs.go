package accounts

import (
	"context"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/jobs"
)

// jobChunk is how many accounts change in one transaction.
const jobChunk = 50

// RegisterJobs adds what is done to many accounts at once.
func RegisterJobs(j *jobs.Jobs) {
	suspend, reactivate := moves[0], moves[1]
	jobs.Register(j, jobs.Operation[jobs.None, Filter]{Key: "accounts.suspend", Summary: "Suspend accounts", Permission: access.AccountsManage, Kind: api.AccountKind, Chunk: jobChunk,
		Reasoned: true, IDs: named[jobs.None], Filter: filtered[jobs.None], Apply: jobs.Each(suspend.item), Undo: jobs.Each(reactivate.item)})
	jobs.Register(j, jobs.Operation[jobs.None, Filter]{Key: "accounts.reactivate", Summary: "Make suspended and closed accounts active again; undoing it suspends those that were suspended",
		Permission: access.AccountsManage, Kind: api.AccountKind, Chunk: jobChunk, Reasoned: true, IDs: named[jobs.None], Filter: filtered[jobs.None],
		Apply: jobs.Each(reactivate.item), Undo: jobs.Each(suspend.item)})
	for state, other := range map[string]string{"on": "off", "off": "on"} {
		jobs.Register(j, jobs.Operation[sectionParams, Filter]{Key: "sections." + state, Summary: "Turn a section " + state + " for accounts", Permission: access.AccountsManage,
			Kind: api.AccountKind, Chunk: jobChunk, Check: sectionExists, IDs: named[sectionParams], Filter: filtered[sectionParams],
			Apply: jobs.Each(turned(state)), Undo: jobs.Each(turned(other))})
	}
}

// named are the ids of the accounts that a request names.
func named[P any](ctx context.Context, c *api.Call, _ *P, ids []string) ([]string, error) {
	return jobs.Canonical(ctx, c, api.AccountKind, ids, `SELECT account_id, key FROM accounts WHERE account_id = ANY($1) OR key = ANY($2)`)
}

func filtered[P any](_ context.Context, _ *api.Call, _ *P, f *Filter) (jobs.Selection, error) {
	return f.query(), nil
}

// suspended is what is kept of an account that was suspended before.
type suspended struct {
	Reason string `json:"reason"`
}

// item changes the state of one account. One that was suspended gets its reason back when that is undone.
func (m move) item(ctx context.Context, c *api.Call, b *jobs.Batch[jobs.None], item *jobs.Item) (o jobs.Outcome, err error) {
	a, err := loadForChange(ctx, c.Tx, api.AccountKind.Ref(item.Ref))
	if err != nil {
		return o, err
	}
	if a.State == m.to {
		return jobs.Outcome{State: jobs.Unchanged}, nil
	}
	before, reason := *a, b.Reason
	if len(item.Data) > 0 {
		var was suspended
		if err := item.Into(&was); err != nil {
			return o, err
		}
		if was.Reason != "" {
			reason = was.Reason
		}
	}
	if err := m.move(ctx, c, a, reason); err != nil {
		return o, err
	}
	o.State = jobs.Done
	if before.State != "closed" {
		o.Undo = suspended{before.SuspendedReason}
	}
	return o, nil
}

type sectionParams struct {
	Section string `json:"section" maxLength:"200" doc:"the section's id, or key: and its key"`
}

func sectionExists(ctx context.Context, c *api.Call, p *sectionParams) error {
	s, err := loadSection(ctx, c.Tx, 0, api.SectionKind.Ref(p.Section))
	if err != nil {
		return api.Invalid("body.section", "there is no such section")
	}
	p.Section = s.ID
	return nil
}

// turned turns the section on or off for one account.
func turned(state string) func(context.Context, *api.Call, *jobs.Batch[sectionParams], *jobs.Item) (jobs.Outcome, error) {
	return func(ctx context.Context, c *api.Call, b *jobs.Batch[sectionParams], item *jobs.Item) (o jobs.Outcome, err error) {
		a, err := loadForChange(ctx, c.Tx, api.AccountKind.Ref(item.Ref))
		if err != nil {
			return o, err
		}
		before, err := loadSection(ctx, c.Tx, a.number, api.SectionKind.Ref(b.Params.Section))
		if err != nil {
			return o, err
		}
		if before.State == state {
			return jobs.Outcome{State: jobs.Unchanged}, nil
		}
		if _, err := a.turn(ctx, c, before, state, b.Reason); err != nil {
			return o, err
		}
		return jobs.Outcome{State: jobs.Done, Undo: jobs.None{}}, nil
	}
}
