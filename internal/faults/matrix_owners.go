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

// twoOwners stops a process with a batch in its hands, lets another take its partitions and commit, and lets it go on.
func twoOwners(point string) func(context.Context, *World, Scale) error {
	return func(ctx context.Context, w *World, s Scale) error {
		if _, err := w.send(ctx); err != nil {
			return err
		}
		for round := range s.times(1, 2) {
			first := w.metering[w.rand.IntN(len(w.metering))]
			if err := first.plant(fmt.Sprintf("%s:%d:stop", point, 1+w.rand.IntN(5))); err != nil {
				return err
			}
			if err := w.planted(ctx, point, round+1); err != nil {
				return err
			}
			if err := w.eventually(ctx, first.name+" is stopped", func() (bool, error) { return first.stopped(), nil }); err != nil {
				return err
			}
			if err := w.recovers(ctx, "the stop of "+first.name, metered); err != nil {
				return err
			}
			if err := first.signal(syscall.SIGCONT); err != nil {
				return err
			}
			if err := w.eventually(ctx, "its batch is refused", func() (bool, error) {
				refused, err := first.metric(ctx, "cockpit_commits_refused_total")
				return refused > 0, err
			}); err != nil {
				return err
			}
			w.Fired("%s was stopped at %s, taken over, and refused when it went on", first.name, point)
		}
		return w.settles(ctx, 0)
	}
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
