package jobs

import (
	"context"
	"iter"

	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

// loadForChange locks a job for somebody who has its operation's permission.
func (j *Jobs) loadForChange(ctx context.Context, c *api.Call, id string) (*Job, *operation, error) {
	v, err := j.load(ctx, c, id, "FOR UPDATE")
	if err != nil {
		return nil, nil, err
	}
	op := j.operations[v.Operation]
	if op == nil {
		return nil, nil, api.Conflict("operation_unknown", "This release does not have the operation "+v.Operation+".")
	}
	_, err = c.Author(op.permission)
	return v, op, err
}

func (j *Jobs) cancel(ctx context.Context, c *api.Call, in *ChangeInput) (*answer, error) {
	before, _, err := j.loadForChange(ctx, c, in.Job)
	if err != nil {
		return nil, err
	}
	if before.ended() {
		return nil, api.Conflict("job_ended", "The job is "+before.State+" already.")
	}
	if _, err := c.Tx.Exec(ctx, `UPDATE jobs SET state = 'cancelled', ended_at = $2 WHERE id = $1`, before.number, c.Now); err != nil {
		return nil, err
	}
	after, err := j.load(ctx, c, in.Job, "")
	if err != nil {
		return nil, err
	}
	return &answer{*after}, c.Record(ctx, api.Change{Action: "job.cancelled", Object: after.object(), Before: map[string]string{"state": before.State},
		After: map[string]any{"state": after.State, "items": after.Items}})
}

// undo makes a job of what another one did. The lock on that one lets two undos come one after the other.
func (j *Jobs) undo(ctx context.Context, c *api.Call, in *UndoInput) (*answer, error) {
	v, op, err := j.loadForChange(ctx, c, in.Job)
	switch {
	case err != nil:
		return nil, err
	case !v.ended():
		return nil, api.Conflict("job_running", "The job has not ended; cancel it first.")
	case !v.Undoable:
		return nil, api.Conflict("not_undoable", "What this job did can't be undone as a job.")
	}
	var undone bool
	err = c.Tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM jobs WHERE undoes = $1 AND state NOT IN ('cancelled', 'failed'))`, v.number).Scan(&undone)
	if err != nil {
		return nil, err
	}
	if undone {
		return nil, api.Conflict("already_undone", "There is a job that undoes this one.")
	}
	undo, err := j.create(ctx, c, op, draft{params: v.Params, reason: in.Body.Reason, undoes: v.number}, undoable(ctx, c.Tx, v.number))
	if err != nil {
		return nil, err
	}
	return &answer{*undo}, nil
}

// undoable are the items that a job did, the last first, with what undoing them needs.
func undoable(ctx context.Context, tx pgx.Tx, job int64) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for before := int64(itemsMax + 1); ; {
			rows, err := tx.Query(ctx, `SELECT seq, ref, undo FROM job_items WHERE job_id = $1 AND seq < $2 AND state = 'done' AND undo IS NOT NULL ORDER BY seq DESC LIMIT $3`,
				job, before, itemsAtOnce)
			if err != nil {
				yield(Item{}, err)
				return
			}
			items, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Item])
			if err != nil {
				yield(Item{}, err)
				return
			}
			for _, i := range items {
				if !yield(i, nil) {
					return
				}
				before = i.Seq
			}
			if len(items) < itemsAtOnce {
				return
			}
		}
	}
}
