package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/alchemi/cockpit/metering/dedupe"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// errStartOver ends a worker's round: it begins again from what the journal says.
var errStartOver = errors.New("start over from the journal")

// pausedPoll is how often a paused partition looks whether an operator let it go on.
const pausedPoll = 2 * time.Second

// partition is one worker: from its queue to the journal.
type partition struct {
	s      *Service
	tp     topicPartition
	lease  journal.Lease
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
	queue  *queue
	window *dedupe.Window
	batch  *batch
}

func newPartition(s *Service, tp topicPartition, l journal.Lease, cancel context.CancelFunc) *partition {
	return &partition{s: s, tp: tp, lease: l, cancel: cancel, done: make(chan struct{}), queue: newQueue(),
		log: s.cfg.Log.With("topic", tp.topic, "partition", tp.partition)}
}

// stop ends the worker and waits until its batch is done.
func (p *partition) stop() {
	p.cancel()
	<-p.done
}

func (p *partition) enqueue(records []*kgo.Record, high int64) {
	p.s.cfg.Stats.lag(p.tp, high-records[len(records)-1].Offset-1)
	if p.queue.put(records) > p.s.cfg.QueueEventsMax {
		p.s.client.PauseFetchPartitions(map[string][]int32{p.tp.topic: {p.tp.partition}})
	}
}

// fail passes on what ended fetching. Errors that the client goes on from by itself are only logged.
func (p *partition) fail(err error) {
	var tooLarge *kgo.ErrDecompressTooLarge
	if errors.As(err, &tooLarge) || errors.Is(err, kerr.OffsetOutOfRange) || errors.Is(err, kerr.UnknownTopicID) ||
		errors.Is(err, kerr.InconsistentTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) {
		p.queue.fail(err)
		return
	}
	p.log.Warn("fetching", "error", err)
}

// run works until ctx ends: rounds, each of which begins with what the journal says.
func (p *partition) run(ctx context.Context) {
	defer close(p.done)
	for first := true; ctx.Err() == nil; first = false {
		err := p.round(ctx, first)
		if errors.Is(err, journal.ErrFenced) {
			p.s.cfg.Stats.refused.Add(1)
		}
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("starting over from the journal", "error", err)
		p.s.cfg.Stats.restarts.Add(1)
		_ = sleep(ctx, p.s.cfg.Retry)
	}
}

func (p *partition) round(ctx context.Context, first bool) (err error) {
	if !first {
		if p.lease, err = p.s.retake(ctx, p.tp); err != nil {
			return err
		}
		if err := p.seek(ctx); err != nil {
			return err
		}
	}
	if p.lease.Paused != "" {
		p.log.Error("paused until an operator accepts the loss (cockpit offsets)", "reason", p.lease.Paused)
		p.s.cfg.Stats.paused.Add(1)
		defer p.s.cfg.Stats.paused.Add(-1)
		if err := sleep(ctx, pausedPoll); err != nil {
			return err
		}
		return errStartOver
	}
	if p.window, err = p.loadWindow(ctx); err != nil {
		return err
	}
	defer p.window.Close()
	p.batch = newBatch(p, p.window)
	for {
		if err := p.next(ctx); err != nil {
			return err
		}
	}
}

// seek has the polling goroutine fetch from the lease's position on.
func (p *partition) seek(ctx context.Context) error {
	k := seek{p: p, to: p.lease.Next, done: make(chan struct{})}
	select {
	case p.s.seeks <- k:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-k.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next waits for records and takes them to the journal as one batch.
func (p *partition) next(ctx context.Context) error {
	select {
	case <-p.queue.wake:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		if err := p.awaitRoom(ctx); err != nil {
			return err
		}
		records, left, err := p.queue.take(p.batch.records, min(p.s.cfg.BatchEventsMax, max(1, p.window.Room())))
		p.batch.records = records
		if err != nil {
			return p.broken(ctx, err)
		}
		if left <= p.s.cfg.QueueEventsMax/2 {
			p.s.client.ResumeFetchPartitions(map[string][]int32{p.tp.topic: {p.tp.partition}})
		}
		if len(records) == 0 {
			return nil
		}
		if err := p.batch.do(ctx); err != nil {
			return err
		}
		if err := p.settle(ctx, p.window, 4*len(records)+settleMin); err != nil {
			return err
		}
	}
}

// broken handles the end of fetching.
func (p *partition) broken(ctx context.Context, cause error) error {
	var tooLarge *kgo.ErrDecompressTooLarge
	if errors.As(cause, &tooLarge) {
		return p.batch.passOver(ctx, tooLarge)
	}
	if errors.Is(cause, kerr.UnknownTopicOrPartition) { // may be metadata that lags: starting over tells
		return cause
	}
	err := p.s.retry(ctx, "pause", func(ctx context.Context) error {
		err := p.s.cfg.Journal.Pause(ctx, &p.lease, fmt.Sprintf("Kafka can't give position %d: %v", p.lease.Next, cause))
		if errors.Is(err, journal.ErrFenced) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return errStartOver
}
