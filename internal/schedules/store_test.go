//go:build synctests

package schedules

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/journal"
	"github.com/google/uuid"
)

var errAway = errors.New("the journal is away")

// point is a place in a worker's work where it can be killed.
type point string

// The points.
const (
	beforeTake   point = "before it takes a log"
	afterTake    point = "after it took a log"
	beforeWindow point = "before it loads a window"
	beforeCommit point = "before a commit"
	afterCommit  point = "after a commit"
	afterMoves   point = "after it looked up a move"
)

// outcome is what becomes of a commit.
type outcome string

// The outcomes. Of all but fine the worker hears nothing but an error.
const (
	fine     outcome = "fine"
	refused  outcome = "not written"
	answered outcome = "written, and the answer lost"
	late     outcome = "written later, if it may"
	hung     outcome = "hung until the worker gives up, and not written"
)

// wire is a process's way to the journal.
type wire struct{ p *process }

// call does f over the wire. A process that is dead, or that the journal is away from, gets an error.
func (w *wire) call(ctx context.Context, before, after point, f func() error) error {
	if err := w.there(ctx, before); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return w.back(ctx, after)
}

// there is the way to the journal.
func (w *wire) there(ctx context.Context, before point) error {
	if !w.p.pass() || w.p.dies(before) {
		return errCut
	}
	if err := pause(ctx, w.p.lag(latencyMax)); err != nil {
		return err
	}
	if !w.p.pass() {
		return errCut
	}
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if time.Now().Before(w.p.away) {
		return errAway
	}
	return nil
}

// back is the way from it.
func (w *wire) back(ctx context.Context, after point) error {
	if !w.p.pass() || w.p.dies(after) {
		return errCut
	}
	if err := pause(ctx, w.p.lag(latencyMax)); err != nil {
		return err
	}
	if !w.p.pass() {
		return errCut
	}
	return nil
}

// dies kills the process if that is where it was to be killed.
func (p *process) dies(at point) bool {
	p.mu.Lock()
	deadly := at != "" && p.deadly == at
	p.mu.Unlock()
	if deadly {
		p.w.note("%s is %s", p.name, at)
		p.kill()
	}
	return deadly
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Take implements journal.Store.
func (w *wire) Take(ctx context.Context, p journal.Partition, partitions int32, start int64) (l journal.Lease, err error) {
	err = w.call(ctx, beforeTake, afterTake, func() (err error) {
		l, err = w.p.w.journal.Take(context.Background(), p, partitions, start)
		return err
	})
	return l, err
}

// Commit implements journal.Store.
func (w *wire) Commit(ctx context.Context, l *journal.Lease, row *journal.Row) error {
	w.p.mu.Lock()
	o := fine
	if len(w.p.commits) > 0 {
		o, w.p.commits = w.p.commits[0], w.p.commits[1:]
	}
	w.p.mu.Unlock()
	if err := w.there(ctx, beforeCommit); err != nil {
		return err
	}
	lease := *l // a commit whose answer is lost leaves the worker's as it was
	switch o {
	case refused:
		return errAway
	case hung:
		<-ctx.Done()
		return ctx.Err()
	case late:
		r := *row
		r.Body = slices.Clone(row.Body)
		d := w.p.lag(time.Second)
		w.p.w.going.Go(func() {
			time.Sleep(d)
			err := w.p.w.journal.Commit(context.Background(), &lease, &r)
			w.p.w.note("a late commit of %s [%d, %d): %v", w.p.name, r.From, r.To, err)
		})
		return errAway
	}
	err := w.p.w.journal.Commit(context.Background(), &lease, row)
	if o == answered {
		return errAway
	}
	if err := w.back(ctx, afterCommit); err != nil {
		return err
	}
	if err == nil {
		*l = lease
	}
	return err
}

// Resolve implements journal.Store.
func (w *wire) Resolve(ctx context.Context, l *journal.Lease, id uuid.UUID) (written bool, err error) {
	lease := *l
	err = w.call(ctx, beforeTake, afterTake, func() (err error) {
		written, err = w.p.w.journal.Resolve(context.Background(), &lease, id)
		return err
	})
	if err == nil {
		*l = lease
	}
	return written, err
}

// Pause implements journal.Store.
func (w *wire) Pause(ctx context.Context, l *journal.Lease, reason string) error {
	w.p.w.fail("%s pauses %s/%d: %s", w.p.name, l.Partition.Topic, l.Partition.Partition, reason)
	return w.call(ctx, "", "", func() error { return w.p.w.journal.Pause(context.Background(), l, reason) })
}

// Repartition implements journal.Store.
func (w *wire) Repartition(ctx context.Context, p journal.Partition, partitions int32, starts map[int32]int64) error {
	return w.call(ctx, "", "", func() error { return w.p.w.journal.Repartition(context.Background(), p, partitions, starts) })
}

// Identities implements journal.Store.
func (w *wire) Identities(ctx context.Context, l journal.Lease, since time.Time, f func([16]byte, int64)) error {
	return w.call(ctx, beforeWindow, "", func() error { return w.p.w.journal.Identities(context.Background(), l, since, f) })
}

// Decided implements journal.Store.
func (w *wire) Decided(ctx context.Context, topic string, identities map[[16]byte]bool, from, to time.Time) error {
	return w.call(ctx, "", "", func() error { return w.p.w.journal.Decided(context.Background(), topic, identities, from, to) })
}

// WasMoved implements journal.Store.
func (w *wire) WasMoved(ctx context.Context, p journal.Partition, position int64, identity [16]byte) (moved bool, err error) {
	err = w.call(ctx, "", afterMoves, func() (err error) {
		moved, err = w.p.w.journal.WasMoved(context.Background(), p, position, identity)
		return err
	})
	return moved, err
}

// Newest implements journal.Store.
func (w *wire) Newest(ctx context.Context, l journal.Lease) (t time.Time, ok bool, err error) {
	err = w.call(ctx, "", "", func() (err error) {
		t, ok, err = w.p.w.journal.Newest(context.Background(), l)
		return err
	})
	return t, ok, err
}

// Authorized implements worker.Replays.
func (w *wire) Authorized(ctx context.Context, identities map[[16]byte]bool) error {
	return w.call(ctx, "", "", func() error { return w.p.w.journal.Authorized(context.Background(), identities) })
}
