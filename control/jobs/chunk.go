package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

// errSuperseded says that the job is not this worker's any more: it ended, was cancelled, or another one took it.
var errSuperseded = errors.New("the job was taken by another worker, or ended")

// errUnknown says that a job is for a process of another release, and is left to it.
var errUnknown = errors.New("this process has no operation")

// held is a job that a worker took.
type held struct {
	task
	epoch   int64
	section int64
	op      *operation
	apply   func(context.Context, *api.Call, *Batch[json.RawMessage]) ([]Outcome, error)
	batch   Batch[json.RawMessage] // without items
	author  api.Author
}

// take makes the job this worker's: whoever had it before commits nothing more. nil: it has ended, or is not there.
func (w *workers) take(ctx context.Context, t task) (*held, error) {
	h := &held{task: t}
	var operation string
	var undoing bool
	err := w.cfg.Stores.InTx(ctx, t.Account, pgx.ReadWrite, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT operation FROM jobs WHERE id = $1 AND ended_at IS NULL`, t.Job).Scan(&operation); err != nil {
			return err
		}
		if h.op = w.operations[operation]; h.op == nil {
			return fmt.Errorf("%w %s", errUnknown, operation)
		}
		return tx.QueryRow(ctx, `UPDATE jobs SET epoch = epoch + 1, state = 'running', started_at = coalesce(started_at, $2), touched_at = clock_timestamp()
			WHERE id = $1 AND ended_at IS NULL
			RETURNING epoch, coalesce(section_id, 0), params, reason, dry_run, author, undoes IS NOT NULL`, t.Job, w.cfg.Now()).
			Scan(&h.epoch, &h.section, &h.batch.Params, &h.batch.Reason, &h.batch.DryRun, &h.author, &undoing)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if h.apply = h.op.apply; undoing {
		h.apply = h.op.undo
	}
	return h, nil
}

// chunk does the next items of a job in one transaction, and says whether there are more.
func (w *workers) chunk(ctx context.Context, h *held) (more bool, err error) {
	err = w.cfg.Stores.InTx(ctx, h.Account, pgx.ReadWrite, func(tx pgx.Tx) error {
		position, items, err := w.next(ctx, tx, h)
		if err != nil {
			return err
		}
		more = len(items) == h.op.chunk
		c, err := w.api.Later(ctx, tx, api.Work{Author: h.author, Permission: h.op.permission, Account: h.Account, Section: h.section, ID: api.JobKind.ID(h.Job)})
		if err != nil {
			return err
		}
		outcomes, err := h.do(ctx, c, items)
		if err != nil {
			return err
		}
		if err := c.Settle(ctx); err != nil {
			return err
		}
		if err := write(ctx, tx, h.Job, items, outcomes); err != nil {
			return err
		}
		return w.advance(ctx, tx, h, position, items, outcomes, !more)
	})
	return more, err
}

// next are the items behind the job's position.
func (w *workers) next(ctx context.Context, tx pgx.Tx, h *held) (position int64, items []Item, err error) {
	err = tx.QueryRow(ctx, `SELECT position FROM jobs WHERE id = $1 AND epoch = $2 AND ended_at IS NULL`, h.Job, h.epoch).Scan(&position)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, errSuperseded
	}
	if err != nil {
		return 0, nil, err
	}
	// Seqs have no gaps. With both ends given, no plan reads more: the planner knows nothing of a table that was just filled.
	rows, err := tx.Query(ctx, `SELECT seq, ref, data FROM job_items WHERE job_id = $1 AND seq > $2 AND seq <= $2 + $3 ORDER BY seq`, h.Job, position, h.op.chunk)
	if err != nil {
		return 0, nil, err
	}
	items, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Item])
	return position, items, err
}

var errDry = errors.New("nothing of it is to stay")

// do applies the operation. A dry run leaves what came of items, and nothing else.
func (h *held) do(ctx context.Context, c *api.Call, items []Item) (outcomes []Outcome, err error) {
	if len(items) == 0 {
		return nil, nil
	}
	b := h.batch
	b.Items = items
	if !b.DryRun {
		outcomes, err = h.apply(ctx, c, &b)
	} else if err = c.Try(ctx, func() error {
		if outcomes, err = h.apply(ctx, c, &b); err != nil {
			return err
		}
		return errDry
	}); errors.Is(err, errDry) {
		err = nil
	}
	if err == nil && len(outcomes) != len(items) {
		err = fmt.Errorf("BUG: %s says what came of %d items, of %d", h.op.key, len(outcomes), len(items))
	}
	return outcomes, err
}

// write keeps what came of items. Their data goes with that: it may say who somebody is.
func write(ctx context.Context, tx pgx.Tx, job int64, items []Item, outcomes []Outcome) error {
	seqs, states, codes, reasons := make([]int64, len(items)), make([]string, len(items)), make([]string, len(items)), make([]string, len(items))
	details, undos := make([]*string, len(items)), make([]*string, len(items))
	for i, o := range outcomes {
		seqs[i], states[i], codes[i], reasons[i] = items[i].Seq, string(o.State), o.Code, o.Reason
		var err error
		if details[i], err = text(o.Detail); err != nil {
			return err
		}
		if undos[i], err = text(o.Undo); err != nil {
			return err
		}
	}
	if len(items) == 0 {
		return nil
	}
	// Of a table that has just grown Postgres expects a row, and would compare each with each. Nothing is joined after this.
	if _, err := tx.Exec(ctx, `SET LOCAL enable_nestloop = off`); err != nil {
		return err
	}
	// Both ends are given as in next.
	_, err := tx.Exec(ctx, `UPDATE job_items i SET state = o.state, code = o.code, reason = o.reason, detail = o.detail::jsonb, undo = o.undo::jsonb,
			data = NULL
		FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS o (seq, state, code, reason, detail, undo)
		WHERE i.job_id = $1 AND i.seq = o.seq AND i.seq BETWEEN $8 AND $9`, job, seqs, states, codes, reasons, details, undos, items[0].Seq, items[len(items)-1].Seq)
	if err != nil {
		return fmt.Errorf("write what came of items: %w", err)
	}
	return nil
}

func text(v any) (*string, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	s := string(b)
	return &s, err
}

// advance moves the job's position from where it was read. It is what lets a chunk be done once.
func (w *workers) advance(ctx context.Context, tx pgx.Tx, h *held, position int64, items []Item, outcomes []Outcome, last bool) error {
	n := map[State]int{}
	for _, o := range outcomes {
		n[o.State]++
	}
	to := position
	if len(items) > 0 {
		to = items[len(items)-1].Seq
	}
	tag, err := tx.Exec(ctx, `UPDATE jobs SET position = $4, items_done = items_done + $5, items_unchanged = items_unchanged + $6, items_failed = items_failed + $7,
			tries = 0, touched_at = clock_timestamp(), state = CASE WHEN $8 THEN 'done' ELSE state END, ended_at = CASE WHEN $8 THEN $9::timestamptz END
		WHERE id = $1 AND epoch = $2 AND position = $3 AND ended_at IS NULL`,
		h.Job, h.epoch, position, to, n[Done], n[Unchanged], n[Failed], last, w.cfg.Now())
	if err == nil && tag.RowsAffected() == 0 {
		err = errSuperseded
	}
	return err
}

// fail ends a job that can't go on.
func (w *workers) fail(ctx context.Context, h *held, f Failure) error {
	return w.cfg.Stores.InTx(ctx, h.Account, pgx.ReadWrite, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE jobs SET state = 'failed', failure_code = $3, failure_reason = $4, ended_at = $5 WHERE id = $1 AND epoch = $2 AND ended_at IS NULL`,
			h.Job, h.epoch, f.Code, f.Reason, w.cfg.Now())
		if err == nil && tag.RowsAffected() == 0 {
			err = errSuperseded
		}
		return err
	})
}

// tried counts that a chunk failed, and returns how often it did since the one before it was done.
func (w *workers) tried(ctx context.Context, h *held) (tries int, err error) {
	err = w.cfg.Stores.InTx(ctx, h.Account, pgx.ReadWrite, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `UPDATE jobs SET tries = tries + 1 WHERE id = $1 AND epoch = $2 AND ended_at IS NULL RETURNING tries`, h.Job, h.epoch).Scan(&tries)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = errSuperseded
	}
	return tries, err
}
