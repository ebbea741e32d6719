package worker

import (
	"context"
	"strconv"
	"time"

	"github.com/alchemi/cockpit/metering/decide"
	"github.com/alchemi/cockpit/metering/journal"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/twmb/franz-go/pkg/kgo"
)

// doubt is an event that memory cannot decide: it is older than the window's floor, or late by Kafka's clock.
type doubt struct {
	rec   *kgo.Record
	index int // of its entry in the body
	entry body.Entry
}

// resolveDoubts asks the stores about all doubtful events of the batch at once, and decides them.
func (b *batch) resolveDoubts(ctx context.Context) error {
	if len(b.doubts) == 0 {
		return nil
	}
	decided, authorized := map[[16]byte]bool{}, map[[16]byte]bool{}
	low, high := b.doubts[0].entry.TimeMicros, b.doubts[0].entry.TimeMicros
	for i := range b.doubts {
		e := &b.doubts[i].entry
		decided[e.Identity], authorized[e.Identity] = false, false
		low, high = min(low, e.TimeMicros), max(high, e.TimeMicros)
	}
	err := b.p.s.retry(ctx, "look up old identities", func(ctx context.Context) error {
		if err := b.p.s.cfg.Replays.Authorized(ctx, authorized); err != nil {
			return err
		}
		return b.p.s.cfg.Journal.Decided(ctx, b.p.tp.topic, decided, time.UnixMicro(low), time.UnixMicro(high))
	})
	if err != nil {
		return err
	}
	for i := range b.doubts {
		d := &b.doubts[i]
		answer := decide.Answer{Decided: decided[d.entry.Identity], Authorized: authorized[d.entry.Identity]}
		if !answer.Authorized {
			if answer.Authorized, err = b.cameInTime(ctx, d); err != nil {
				return err
			}
		}
		v, account, _ := b.verdict(d.rec, &answer)
		b.accept(d.rec, &v, account)
		b.body.Entries[d.index] = v.Entry
	}
	return nil
}

// cameInTime looks for the journal's proof that the record was moved here: whoever moved it had seen that it was in time.
func (b *batch) cameInTime(ctx context.Context, d *doubt) (moved bool, err error) {
	from, position, ok := b.source(d.rec)
	if !ok {
		return false, nil
	}
	err = b.p.s.retry(ctx, "look up a move", func(ctx context.Context) error {
		moved, err = b.p.s.cfg.Journal.WasMoved(ctx, from, position, d.entry.Identity)
		return err
	})
	return moved, err
}

// source reads where a moved record says that it comes from.
func (b *batch) source(rec *kgo.Record) (p journal.Partition, position int64, ok bool) {
	p = b.p.lease.Partition
	var partition int64
	found := 0
	for _, h := range rec.Headers {
		var err error
		switch h.Key {
		case headerSrcTopicID:
			p.TopicID = string(h.Value)
		case headerSrcPartition:
			partition, err = strconv.ParseInt(string(h.Value), 10, 32)
		case headerSrcOffset:
			position, err = strconv.ParseInt(string(h.Value), 10, 64)
		default:
			continue
		}
		if err != nil {
			return p, 0, false
		}
		found++
	}
	p.Partition = int32(partition)
	return p, position, found == 3
}
