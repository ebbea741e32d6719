package users

import (
	"context"
	"slices"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/jackc/pgx/v5"
)

// jobChunk is how many users change their state in one transaction: in a fifth of a second.
const jobChunk = 500

// RegisterJobs adds what is done to many users at once.
func RegisterJobs(j *jobs.Jobs) {
	for i, m := range moves {
		jobs.Register(j, jobs.Operation[jobs.None, Filter]{Key: "users." + m.verb, Summary: m.many, Permission: access.UsersWrite, Kind: api.UserKind, Chunk: jobChunk,
			IDs: func(ctx context.Context, c *api.Call, _ *jobs.None, ids []string) ([]string, error) {
				return Named(ctx, c, ids)
			},
			Filter: func(ctx context.Context, c *api.Call, _ *jobs.None, f *Filter) (jobs.Selection, error) {
				return Selected(ctx, c, f)
			},
			Apply: m.batch, Undo: moves[1-i].batch})
	}
}

// Selected are the users that a filter selects, for jobs of other nouns too.
func Selected(ctx context.Context, c *api.Call, f *Filter) (jobs.Selection, error) {
	return f.query(ctx, c)
}

// Named are the ids of the users that a request names.
func Named(ctx context.Context, c *api.Call, ids []string) ([]string, error) {
	return jobs.Canonical(ctx, c, api.UserKind, ids, `SELECT id, key FROM users WHERE account_id = $3 AND (id = ANY($1) OR key = ANY($2))`, c.Account.ID)
}

// batch brings the users of a job to m's state. One who is in it already is left as he is, and not brought back by an undo.
func (m move) batch(ctx context.Context, c *api.Call, b *jobs.Batch[jobs.None]) ([]jobs.Outcome, error) {
	if err := c.ChangeDirectory(ctx); err != nil {
		return nil, err
	}
	numbers := make([]int64, len(b.Items))
	for i := range b.Items {
		numbers[i] = b.Items[i].Number(api.UserKind)
	}
	rows, err := c.Tx.Query(ctx, `SELECT `+columns+` FROM users u WHERE u.account_id = $1 AND u.id = ANY($2)`, c.Account.ID, numbers)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, err
	}
	users, already := make([]*User, len(numbers)), make([]bool, len(numbers))
	for i := range found {
		at := slices.Index(numbers, found[i].number)
		users[at], already[at] = &found[i], found[i].State == m.to
	}
	refused, err := m.apply(ctx, c, users, b.Reason)
	if err != nil {
		return nil, err
	}
	outcomes := make([]jobs.Outcome, len(users))
	for i := range users {
		switch {
		case already[i]:
			outcomes[i] = jobs.Outcome{State: jobs.Unchanged}
		case refused[i] == nil:
			outcomes[i] = jobs.Outcome{State: jobs.Done, Undo: jobs.None{}}
		default:
			if outcomes[i], err = jobs.Fail(refused[i]); err != nil {
				return nil, err
			}
		}
	}
	return outcomes, nil
}
