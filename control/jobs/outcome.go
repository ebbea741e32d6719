package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/alchemi/cockpit/control/api"
)

// Item is one thing that a job does something to.
type Item struct {
	Seq  int64           // from 1, in the order in which items are done
	Ref  string          // what people see of it: an id, or the line of a file
	Data json.RawMessage // what doing it needs besides; when undoing: what its outcome kept. Empty: nothing
}

// Into reads the item's data into v.
func (i *Item) Into(v any) error {
	if err := json.Unmarshal(i.Data, v); err != nil {
		return fmt.Errorf("data of item %d: %w", i.Seq, err)
	}
	return nil
}

// Number is the number of the object that Ref is the id of; 0 if it is none of the kind.
func (i *Item) Number(k api.Kind) int64 { return k.Ref(i.Ref).ID }

// State is what came of an item.
type State string

// States of items.
const (
	Pending   State = "pending"
	Done      State = "done"
	Unchanged State = "unchanged"
	Failed    State = "failed"
)

// Outcome is what came of an item. Detail, for people, and Undo, for undoing, are kept as JSON; nil is nothing. An item that
// was done and has no Undo is not undone.
type Outcome struct {
	State        State
	Code, Reason string // of one that failed
	Detail, Undo any
}

// Fail is the outcome of an item that err, a Problem below 500, says can't be. Any other error is no outcome: it is returned,
// and the chunk is tried again.
func Fail(err error) (Outcome, error) {
	var p *api.Problem
	if errors.As(err, &p) && p.Status < http.StatusInternalServerError {
		return Outcome{State: Failed, Code: p.Code, Reason: p.Detail}, nil
	}
	return Outcome{}, err
}

// Batch is what an operation is given at once.
type Batch[P any] struct {
	Params P
	Items  []Item
	Reason string // as the job's author gave it
	DryRun bool
}

// Apply does something to a batch of items, and says of each, in their order, what came of it.
type Apply[P any] func(ctx context.Context, c *api.Call, b *Batch[P]) ([]Outcome, error)

// Each makes an Apply of what is done to one item: each in a savepoint, so that one that fails (Fail) leaves nothing behind.
// Where a batch can be done in a few statements, that is many times as fast.
func Each[P any](f func(ctx context.Context, c *api.Call, b *Batch[P], item *Item) (Outcome, error)) Apply[P] {
	return func(ctx context.Context, c *api.Call, b *Batch[P]) ([]Outcome, error) {
		outcomes := make([]Outcome, len(b.Items))
		for i := range b.Items {
			err := c.Try(ctx, func() (err error) {
				outcomes[i], err = f(ctx, c, b, &b.Items[i])
				return err
			})
			if err != nil {
				if outcomes[i], err = Fail(err); err != nil {
					return nil, err
				}
			}
		}
		return outcomes, nil
	}
}
