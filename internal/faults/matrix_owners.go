//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

func owners() []Case {
	return []Case{
		{Name: "owners/stopped-after-poll", Row: rowOwners, Short: true, run: twoOwners("worker.after-poll")},
		{Name: "owners/stopped-after-publish", Row: rowOwners, run: twoOwners("worker.after-publish")},
		{Name: "rebalances/join-and-leave", Row: rowRebalances, run: rebalances},
	}
}

// A process that goes on may hear from the group that its partition is another's before it has tried to commit: it drops the
// batch then, and nothing is refused. That is in order, and no proof, so it is stopped again.
const (
	ownersAttempts = 5
	refusedMax     = 20 * time.Second // after going on; a batch takes much less
)

// twoOwners stops a process with a batch in its hands, lets another take its partitions and commit, and lets it go on, until
// its commit was refused.
func twoOwners(point string) func(context.Context, *World, Scale) error {
	return func(ctx context.Context, w *World, s Scale) error {
		if _, err := w.send(ctx); err != nil {
			return err
		}
		stops := 0
		for range s.times(1, 2) {
			for refused, before := false, stops; !refused; {
				if stops == before+ownersAttempts {
					return fmt.Errorf("stopped %d times and taken over, and no batch was refused", ownersAttempts)
				}
				stops++
				var err error
				if refused, err = w.stopsAndGoesOn(ctx, point, stops); err != nil {
					return err
				}
			}
		}
		return w.settles(ctx, 0)
	}
}

// stopsAndGoesOn does it once, and says whether a batch was refused. nth is how many stops there are with this one.
func (w *World) stopsAndGoesOn(ctx context.Context, point string, nth int) (refused bool, err error) {
	first := w.metering[w.rand.IntN(len(w.metering))]
	if err := first.plant(fmt.Sprintf("%s:%d:stop", point, 1+w.rand.IntN(5))); err != nil {
		return false, err
	}
	if err := w.planted(ctx, point, nth); err != nil {
		return false, err
	}
	if err := w.eventually(ctx, first.name+" is stopped", func() (bool, error) { return first.stopped(), nil }); err != nil {
		return false, err
	}
	if err := w.recovers(ctx, "the stop of "+first.name, metered); err != nil {
		return false, err
	}
	if err := first.signal(syscall.SIGCONT); err != nil {
		return false, err
	}
	for end := time.Now().Add(refusedMax); !refused && time.Now().Before(end) && ctx.Err() == nil; sleep(ctx, 20*time.Millisecond) {
		n, err := first.metric(ctx, "cockpit_commits_refused_total")
		refused = err == nil && n > 0 // it may not answer yet
	}
	if refused {
		w.Fired("%s was stopped at %s, taken over, and refused when it went on", first.name, point)
	} else {
		w.logf("%s was stopped at %s and taken over, and heard of it before it tried to commit", first.name, point)
	}
	return refused, ctx.Err()
}

// rebalances has a process join and leave, in order or not, every moment.
func rebalances(ctx context.Context, w *World, s Scale) error {
	if _, err := w.send(ctx); err != nil {
		return err
	}
	epochs := func() (n, rows int64, err error) {
		err = w.db.QueryRow(ctx, `SELECT sum(epoch), (SELECT count(*) FROM journal) FROM offsets`).Scan(&n, &rows)
		return n, rows, err
	}
	before, rows, err := epochs()
	if err != nil {
		return err
	}
	joined := 0
	for end := time.Now().Add(s.duration(10*time.Second, 40*time.Second)); time.Now().Before(end) || joined < 3; joined++ {
		p, err := w.serve(fmt.Sprint("guest-", joined), "metering", "")
		if err != nil {
			return err
		}
		pause := func() { sleep(ctx, 500*time.Millisecond+time.Duration(w.rand.IntN(1500))*time.Millisecond) }
		pause()
		if err := p.close(); err != nil {
			return err
		}
		pause()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	after, more, err := epochs()
	if err != nil {
		return err
	}
	if more == rows {
		return errors.New("nothing was committed while processes joined and left")
	}
	if taken := after - before; taken >= int64(joined) {
		w.Fired("%d processes joined and left, and partitions were taken %d times", joined, taken)
	}
	if err := w.recovers(ctx, "the last rebalance", metered); err != nil {
		return err
	}
	return w.settles(ctx, 0)
}
