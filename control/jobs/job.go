package jobs

import (
	"context"
	"encoding/json"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Job is a job as the API shows it.
type Job struct {
	ID        string          `json:"id" example:"job_1"`
	Operation string          `json:"operation" example:"users.deactivate"`
	State     string          `json:"state" enum:"queued,running,done,cancelled,failed" doc:"done: each item was tried; failed: the job could not go on"`
	Items     Counts          `json:"items"`
	Params    json.RawMessage `json:"params" doc:"the operation's parameters"`
	Reason    string          `json:"reason,omitempty"`
	DryRun    bool            `json:"dry_run" doc:"nothing is changed; items say what would come of them"`
	Author    Author          `json:"author"`
	Failure   *Failure        `json:"failure,omitempty"`
	Undoable  bool            `json:"undoable" doc:"what it did can be undone, when it has ended"`
	Undoes    string          `json:"undoes,omitempty" doc:"the job whose items this one takes back"`
	CreatedAt time.Time       `json:"created_at"`
	StartedAt *time.Time      `json:"started_at,omitempty"`
	EndedAt   *time.Time      `json:"ended_at,omitempty"`

	number, undoes int64
}

// Counts are how many items a job has, and what came of them.
type Counts struct {
	Total     int64 `json:"total"`
	Done      int64 `json:"done"`
	Unchanged int64 `json:"unchanged" doc:"were as they should be already"`
	Failed    int64 `json:"failed" doc:"say why"`
	Pending   int64 `json:"pending" doc:"were not tried yet"`
}

// Author is who made a job.
type Author struct {
	ID   string `json:"id" example:"per_1"`
	Name string `json:"name" example:"Ada Lovelace"`
}

// Failure is why a job could not go on.
type Failure struct {
	Code   string `json:"code" example:"account_suspended"`
	Reason string `json:"reason"`
}

const columns = `j.id, j.operation, j.state, j.total, j.items_done, j.items_unchanged, j.items_failed, j.params, j.reason, j.dry_run, j.author, j.failure_code, j.failure_reason,
	coalesce(j.undoes, 0), j.created_at, j.started_at, j.ended_at`

func (j *Jobs) scan(row pgx.CollectableRow) (v Job, err error) {
	var author api.Author
	var failure Failure
	n := &v.Items
	err = row.Scan(&v.number, &v.Operation, &v.State, &n.Total, &n.Done, &n.Unchanged, &n.Failed, &v.Params, &v.Reason, &v.DryRun, &author, &failure.Code, &failure.Reason,
		&v.undoes, &v.CreatedAt, &v.StartedAt, &v.EndedAt)
	if err != nil {
		return v, err
	}
	v.ID, n.Pending = api.JobKind.ID(v.number), n.Total-n.Done-n.Unchanged-n.Failed
	v.Author = Author{api.PersonKind.ID(author.ID), author.Name}
	if failure.Code != "" {
		v.Failure = &failure
	}
	if v.undoes != 0 {
		v.Undoes = api.JobKind.ID(v.undoes)
	}
	op := j.operations[v.Operation]
	v.Undoable = op != nil && op.undo != nil && v.undoes == 0 && !v.DryRun
	return v, nil
}

func (v *Job) object() audit.Object {
	return audit.Object{Kind: api.JobKind.Name, ID: v.ID, Name: v.Operation}
}

func (v *Job) ended() bool { return v.EndedAt != nil }

// here are the jobs of the call's place: conditions on j, with arguments $1 and $2.
const here = `coalesce(j.account_id, 0) = $1 AND coalesce(j.section_id, 0) = $2`

func place(c *api.Call) (account, section int64) {
	if c.Account != nil {
		account = c.Account.ID
	}
	if c.Section != nil {
		section = c.Section.ID
	}
	return account, section
}

// load reads a job of the call's place; lock is what follows the statement.
func (j *Jobs) load(ctx context.Context, c *api.Call, id, lock string) (*Job, error) {
	account, section := place(c)
	rows, err := c.Tx.Query(ctx, `SELECT `+columns+` FROM jobs j WHERE `+here+` AND j.id = $3 `+lock, account, section, api.JobKind.Ref(id).ID)
	v, err := api.One(api.JobKind, rows, err, j.scan)
	return &v, err
}

// JobItem is an item as the API shows it.
type JobItem struct {
	Seq    int64           `json:"seq" doc:"its place in the job, from 1" example:"1"`
	Ref    string          `json:"ref" example:"usr_1" doc:"what it is: an id, or a line of a file"`
	State  State           `json:"state" enum:"pending,done,unchanged,failed"`
	Code   string          `json:"code,omitempty" example:"not_found" doc:"of one that failed: the code of a problem"`
	Reason string          `json:"reason,omitempty" example:"There is no such user."`
	Detail json.RawMessage `json:"detail,omitempty" doc:"what the operation says of it besides"`
}

const itemColumns = `i.seq, i.ref, i.state, i.code, i.reason, i.detail`

func scanItem(row pgx.CollectableRow) (i JobItem, err error) {
	err = row.Scan(&i.Seq, &i.Ref, &i.State, &i.Code, &i.Reason, &i.Detail)
	return i, err
}
