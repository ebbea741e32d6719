package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

const (
	itemsMax    = 1_000_000
	itemsAtOnce = 5000 // that are inserted in one statement: COPY is not for tables under row-level security
)

// Jobs are the operations that were registered, and what makes jobs of them.
type Jobs struct {
	api        *api.API
	operations map[string]*operation
	queue      *river.Client[pgx.Tx] // that only inserts
}

// New returns the jobs of a, without operations. Register them, and then Serve.
func New(a *api.API) *Jobs {
	queue, err := river.NewClient(riverpgxv5.New(nil), &river.Config{Schema: riverSchema, Logger: riverLog(a)})
	if err != nil {
		panic("BUG: River refuses a client that only inserts: " + err.Error())
	}
	return &Jobs{api: a, operations: map[string]*operation{}, queue: queue}
}

// Draft is what a job is made of besides its items.
type Draft[P any] struct {
	Params P
	Reason string
	DryRun bool
}

// Create makes a job with items of the noun's own, in the call's transaction, and puts that on record. The caller must have the
// operation's permission, in its place; Check was not called. Items are read one by one and kept in the database, in the order
// in which they come; their Seq is given here. An error that items yield is returned.
func (k *Kind[P]) Create(ctx context.Context, c *api.Call, d Draft[P], items iter.Seq2[Item, error]) (*Job, error) {
	params, err := json.Marshal(d.Params)
	if err != nil {
		return nil, err
	}
	return k.jobs.create(ctx, c, k.op, draft{params: params, reason: d.Reason, dryRun: d.DryRun}, items)
}

type draft struct {
	params json.RawMessage
	reason string
	dryRun bool
	undoes int64
}

func (j *Jobs) create(ctx context.Context, c *api.Call, op *operation, d draft, items iter.Seq2[Item, error]) (*Job, error) {
	author, err := c.Author(op.permission)
	if err != nil {
		return nil, err
	}
	account, section := place(c)
	var id int64
	if err := c.Tx.QueryRow(ctx, `INSERT INTO jobs (account_id, section_id, operation, params, reason, dry_run, author, undoes, created_at)
		VALUES (nullif($1, 0), nullif($2, 0), $3, $4, $5, $6, $7, nullif($8, 0), $9) RETURNING id`,
		account, section, op.key, d.params, d.reason, d.dryRun, author, d.undoes, c.Now).Scan(&id); err != nil {
		return nil, fmt.Errorf("make a job: %w", err)
	}
	if err := insertItems(ctx, c.Tx, account, id, items); err != nil {
		return nil, err
	}
	if _, err := j.queue.InsertTx(ctx, c.Tx, task{account, id}, nil); err != nil {
		return nil, fmt.Errorf("queue a job: %w", err)
	}
	v, err := j.load(ctx, c, api.JobKind.ID(id), "")
	if err != nil {
		return nil, err
	}
	return v, c.Record(ctx, api.Change{Action: "job.created", Object: v.object(), Reason: d.reason, After: map[string]any{"operation": v.Operation, "items": v.Items.Total,
		"dry_run": v.DryRun, "params": v.Params, "undoes": v.Undoes}})
}

// insertItems writes items, and how many there are.
func insertItems(ctx context.Context, tx pgx.Tx, account, job int64, items iter.Seq2[Item, error]) error {
	var total int64
	var refs []string
	var data []*string
	flush := func() error {
		_, err := tx.Exec(ctx, `INSERT INTO job_items (account_id, job_id, seq, ref, data) SELECT nullif($1::bigint, 0), $2, $3 + i.n, i.ref, i.data::jsonb
			FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS i (ref, data, n)`, account, job, total-int64(len(refs)), refs, data)
		refs, data = refs[:0], data[:0]
		return err
	}
	for item, err := range items {
		if err != nil {
			return err
		}
		if total++; total > itemsMax {
			return tooMany()
		}
		refs = append(refs, item.Ref)
		var text *string
		if len(item.Data) > 0 {
			text = new(string)
			*text = string(item.Data)
		}
		data = append(data, text)
		if len(refs) == itemsAtOnce {
			if err := flush(); err != nil {
				return fmt.Errorf("write items: %w", err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("write items: %w", err)
	}
	_, err := tx.Exec(ctx, `UPDATE jobs SET total = $2 WHERE id = $1`, job, total)
	return err
}

func tooMany() error {
	return api.NewProblem(http.StatusUnprocessableEntity, "too_many_items", fmt.Sprintf("A job has at most %d items; select fewer.", itemsMax))
}

type newJob struct {
	Operation string          `json:"operation" minLength:"1" maxLength:"100" example:"users.deactivate"`
	IDs       []string        `json:"ids,omitempty" maxItems:"10000" doc:"what it is done to: ids, or key: and keys. Either these or a filter"`
	Filter    json.RawMessage `json:"filter,omitempty" doc:"it is done to all that the list shows with these filters; {} is all"`
	Params    json.RawMessage `json:"params,omitempty" doc:"the operation's parameters"`
	Reason    string          `json:"reason,omitempty" maxLength:"1000" doc:"for the audit log"`
	DryRun    bool            `json:"dry_run,omitempty" doc:"change nothing, and say of each item what would come of it"`
}

// operation is the one of that name that jobs in the call's place can do.
func (j *Jobs) operation(c *api.Call, key string) (*operation, error) {
	level := access.Platform
	if c.Section != nil {
		level = access.Section
	} else if c.Account != nil {
		level = access.Account
	}
	op := j.operations[key]
	if op == nil || op.level != level || op.ids == nil && op.selects == nil {
		p := api.Invalid("body.operation", "there is no such operation here")
		p.Code = "operation_unknown"
		return nil, p
	}
	return op, nil
}

func (j *Jobs) post(ctx context.Context, c *api.Call, in *CreateInput) (*answer, error) {
	op, err := j.operation(c, in.Body.Operation)
	if err != nil {
		return nil, err
	}
	if _, err := c.Author(op.permission); err != nil { // before anything is looked up for him
		return nil, err
	}
	if op.reasoned && strings.TrimSpace(in.Body.Reason) == "" {
		return nil, api.Invalid("body.reason", "say why")
	}
	params, err := op.params.check(in.Body.Params)
	if err == nil {
		params, err = op.check(ctx, c, params)
	}
	if err != nil {
		return nil, err
	}
	refs, err := op.refs(ctx, c, params, &in.Body)
	if err != nil {
		return nil, err
	}
	v, err := j.create(ctx, c, op, draft{params: params, reason: in.Body.Reason, dryRun: in.Body.DryRun}, func(yield func(Item, error) bool) {
		for ref := range refs {
			if !yield(Item{Ref: ref}, nil) {
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return &answer{*v}, nil
}

// refs are what a request selects.
func (op *operation) refs(ctx context.Context, c *api.Call, params json.RawMessage, body *newJob) (iter.Seq[string], error) {
	if (body.IDs == nil) == (len(body.Filter) == 0) {
		return nil, api.Invalid("body.ids", "say which: ids, or a filter")
	}
	if body.IDs != nil {
		if op.ids == nil {
			return nil, api.Invalid("body.ids", "this operation takes a filter")
		}
		refs, err := op.ids(ctx, c, params, body.IDs)
		return func(yield func(string) bool) {
			seen := map[string]bool{}
			for _, ref := range refs {
				again := seen[ref]
				if seen[ref] = true; !again && !yield(ref) {
					return
				}
			}
		}, err
	}
	if op.selects == nil {
		return nil, api.Invalid("body.filter", "this operation takes ids")
	}
	filter, err := op.filter.check(body.Filter)
	if err != nil {
		return nil, err
	}
	selected, err := op.selects(ctx, c, params, filter)
	if err != nil {
		return nil, err
	}
	numbers, err := selected.Numbers(ctx, c.Tx, itemsMax)
	if err == nil && len(numbers) > itemsMax {
		err = tooMany()
	}
	return func(yield func(string) bool) {
		for _, n := range numbers {
			if !yield(op.kind.ID(n)) {
				return
			}
		}
	}, err
}
