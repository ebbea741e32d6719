package worker

import (
	"cmp"
	"context"
	"errors"
	"math"
	"time"

	"github.com/alchemi/cockpit/metering/dedupe"
)

const (
	settleMin    = 1 << 16 // identities of past hours that are settled after each batch, besides what the batch added
	unsettledMax = 1 << 20 // identities of past hours that loading leaves in memory: the first commit need not wait for them
)

// loadWindow makes the window anew from the journal's identities. When they are more than it may hold, it waits until
// Kafka's clock is past its oldest hour, and begins again.
func (p *partition) loadWindow(ctx context.Context) (*dedupe.Window, error) {
	var clock int64
	for {
		w, err := p.readWindow(ctx, clock)
		if err == nil {
			return w, nil
		}
		w.Close()
		if !errors.Is(err, dedupe.ErrFull) {
			return nil, err
		}
		err = p.standStill(ctx, func(kafka int64) (goOn bool) {
			clock = kafka
			return w.FloorAt(kafka) > w.Floor()
		})
		if err != nil {
			return nil, err
		}
	}
}

// readWindow loads the window with Kafka's clock at least at clock. It returns a window also with an error.
func (p *partition) readWindow(ctx context.Context, clock int64) (w *dedupe.Window, failed error) {
	w = p.newWindow()
	err := p.s.retry(ctx, "load the window of "+p.tp.topic, func(ctx context.Context) error {
		w.Close()
		w = p.newWindow()
		newest, ok, err := p.s.cfg.Journal.Newest(ctx, p.lease)
		if err != nil || !ok {
			return err
		}
		w.Advance(max(clock, newest.UnixMicro()))
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		l := loader{p: p, ctx: ctx, w: w}
		err = p.s.cfg.Journal.Identities(ctx, p.lease, time.UnixMicro(w.Floor()), func(identity [16]byte, micros int64) {
			if l.add(identity, micros); l.err != nil {
				cancel()
			}
		})
		l.flush()
		if failed = l.err; failed != nil {
			return nil // it is not the journal that failed
		}
		return err
	})
	return w, cmp.Or(err, failed)
}

func (p *partition) newWindow() *dedupe.Window {
	return dedupe.New(p.s.cfg.WindowSpan, p.s.cfg.WindowEventsMax, dedupe.Scratch(p.s.cfg.Scratch))
}

// loader adds identities many at a time, and keeps what past hours take in memory bounded. After an error it does nothing.
type loader struct {
	p      *partition
	ctx    context.Context
	w      *dedupe.Window
	hashes []dedupe.Hash
	micros []int64
	added  int // since Unsettled was last looked at
	err    error
}

func (l *loader) add(identity dedupe.Hash, micros int64) {
	l.hashes, l.micros = append(l.hashes, identity), append(l.micros, micros)
	if len(l.hashes) >= dedupe.Many {
		l.flush()
	}
}

func (l *loader) flush() {
	if l.err == nil {
		_, l.err = l.w.AddAll(l.hashes, l.micros)
	}
	l.added += len(l.hashes)
	l.hashes, l.micros = l.hashes[:0], l.micros[:0]
	if l.err == nil && l.added >= settleMin {
		l.added = 0
		if l.w.Unsettled() > unsettledMax {
			l.err = l.p.settle(l.ctx, l.w, math.MaxInt)
		}
	}
}

// settle moves identities of past hours to scratch files. While those can't be written the worker does nothing else.
func (p *partition) settle(ctx context.Context, w *dedupe.Window, limit int) error {
	var broken error
	err := p.s.retry(ctx, "write a past hour of the dedupe window", func(context.Context) error {
		err := w.Settle(limit)
		if errors.Is(err, dedupe.ErrBroken) {
			broken = err
			return nil
		}
		return err
	})
	return cmp.Or(err, broken)
}

// awaitRoom stands still while records wait and the window has no room for one.
func (p *partition) awaitRoom(ctx context.Context) error {
	w := p.window
	if w.Room() > 0 || p.queue.newest() == nil {
		return nil
	}
	return p.standStill(ctx, func(kafka int64) (goOn bool) {
		for w.Room() <= 0 && w.Clock() < kafka { // not further than it must: what is below the floor is slow to look up
			w.Advance(min(kafka, w.Clock()+time.Hour.Microseconds()))
		}
		return w.Room() > 0
	})
}

// standStill says that the window is full, and asks for Kafka's clock until goOn. Going on is safe wherever the clock is:
// events that are older than the window's floor then are looked up in the journal.
func (p *partition) standStill(ctx context.Context, goOn func(kafka int64) bool) error {
	p.log.Error("the dedupe window is full: standing still until its oldest hour is past, or the limit is raised (COCKPIT_WINDOW_EVENTS)",
		"limit", p.s.cfg.WindowEventsMax)
	p.s.cfg.Stats.full.Add(1)
	defer p.s.cfg.Stats.full.Add(-1)
	for !goOn(p.kafkaClock(ctx)) {
		if err := sleep(ctx, pausedPoll); err != nil {
			return err
		}
	}
	p.log.Info("the dedupe window has room again")
	return nil
}

// kafkaClock is the newest timestamp (Unix µs) of the partition: of what was polled, and, since polling stops when the queue
// is long, of what the broker has. A broker that can't say (before Kafka 3.0) leaves the first.
func (p *partition) kafkaClock(ctx context.Context) (micros int64) {
	if r := p.queue.newest(); r != nil {
		micros = r.Timestamp.UnixMicro()
	}
	listed, err := p.s.admin.ListMaxTimestampOffsets(ctx, p.tp.topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		p.log.Warn("asking for the newest timestamp", "error", err)
		return micros
	}
	if o, ok := listed.Lookup(p.tp.topic, p.tp.partition); ok && o.Timestamp > 0 {
		micros = max(micros, time.UnixMilli(o.Timestamp).UnixMicro())
	}
	return micros
}
