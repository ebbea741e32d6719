package verify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Topics (contracts.md).
const (
	guardrailTopic   = "guardrail.v1"
	quarantineTopic  = "usage.dlq.v1"
	alertsTopic      = "alerts.v1"
	correctionsTopic = "corrections" // of the log that corrections are appended to; Kafka has no such topic
)

// reader reads one partition of Kafka in order. Its memory is that of one fetch.
type reader struct {
	cl         *kgo.Client
	l          *logState
	start, end int64 // what Kafka has: start moves as records expire, end is as it was found
	next       int64 // everything below was read
	rest       []*kgo.Record
	gone       bool // the topic is another one by now
}

func (v *verification) client(more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(append(v.Kafka[:len(v.Kafka):len(v.Kafka)], kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.MaxDecompressBatchBytes(64<<20), kgo.FetchMaxBytes(2<<20), kgo.FetchMaxPartitionBytes(1<<20), kgo.MaxConcurrentFetches(1)), more...)...)
}

// read opens a log at a position, or where Kafka's begins if that is later.
func (v *verification) read(ctx context.Context, l *logState, from int64) (*reader, error) {
	r := &reader{l: l}
	plain, err := v.client()
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	admin := kadm.NewClient(plain)
	details, err := admin.ListTopics(ctx, l.topic)
	if err != nil {
		return nil, err
	}
	detail := details[l.topic]
	if _, there := detail.Partitions[l.partition]; !there || detail.ID.String() != l.topicID {
		r.gone, v.gone[l.topicID] = true, true
		return r, nil
	}
	if r.start, err = position(admin.ListStartOffsets(ctx, l.topic))(l); err != nil {
		return nil, err
	}
	if r.end, err = position(admin.ListCommittedOffsets(ctx, l.topic))(l); err != nil {
		return nil, err
	}
	r.next = max(from, r.start)
	r.cl, err = v.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: {l.partition: kgo.NewOffset().At(r.next)}}))
	return r, err
}

// position looks up a log's partition among listed offsets.
func position(listed kadm.ListedOffsets, err error) func(*logState) (int64, error) {
	return func(l *logState) (int64, error) {
		if err != nil {
			return 0, err
		}
		o, ok := listed.Lookup(l.topic, l.partition)
		if !ok {
			return 0, fmt.Errorf("Kafka has no %s/%d", l.topic, l.partition)
		}
		return o.Offset, o.Err
	}
}

// peek returns the next record below a position, control records included; nil when there is none.
func (r *reader) peek(ctx context.Context, to int64) (*kgo.Record, error) {
	for {
		if len(r.rest) > 0 {
			if r.rest[0].Offset < to {
				return r.rest[0], nil
			}
			return nil, nil
		}
		if r.gone || r.next >= min(to, r.end) {
			return nil, nil
		}
		fetches := r.cl.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			var tooLarge *kgo.ErrDecompressTooLarge
			if !errors.As(e.Err, &tooLarge) {
				return nil, e.Err
			}
			r.next = tooLarge.NextOffset
			r.cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{e.Topic: {e.Partition: {Epoch: -1, Offset: r.next}}})
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			r.rest = append(r.rest, rec)
			r.next = rec.Offset + 1
		})
	}
}

// take goes on behind the record that peek returned.
func (r *reader) take() { r.rest = r.rest[1:] }

// at returns the record at a position, and passes over those before it; nil if Kafka has it not.
func (r *reader) at(ctx context.Context, position int64) (*kgo.Record, error) {
	for {
		rec, err := r.peek(ctx, position+1)
		if rec == nil || err != nil {
			return nil, err
		}
		r.take()
		if rec.Offset == position {
			return rec, nil
		}
	}
}

// had says whether Kafka should still have a position: it looks again where its log begins by now.
func (r *reader) had(ctx context.Context, at int64) (bool, error) {
	if r.gone || at < r.start {
		return false, nil
	}
	var err error
	r.start, err = position(kadm.NewClient(r.cl).ListStartOffsets(ctx, r.l.topic))(r.l)
	return at >= r.start, err
}

func (r *reader) close() {
	if r.cl != nil {
		r.cl.Close()
	}
}

// whole calls f for every record that a topic has now.
func (v *verification) whole(ctx context.Context, topic string, f func(*kgo.Record) error) error {
	cl, err := v.client(kgo.ConsumeTopics(topic))
	if err != nil {
		return err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if s, ok := starts.Lookup(topic, o.Partition); ok && s.Offset < o.Offset {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			if end, ok := left[rec.Partition]; ok && rec.Offset+1 >= end {
				delete(left, rec.Partition)
			}
			if err == nil && !rec.Attrs.IsControl() {
				err = f(rec)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expired is the time before which a topic's records may have gone by its retention; zero where they never do.
func (v *verification) expired(ctx context.Context, topic string) (time.Time, error) {
	cl, err := v.client()
	if err != nil {
		return time.Time{}, err
	}
	defer cl.Close()
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return time.Time{}, err
	}
	config, err := configs.On(topic, nil)
	if err != nil {
		return time.Time{}, err
	}
	for _, c := range config.Configs {
		if ms, err := strconv.ParseInt(c.MaybeValue(), 10, 64); c.Key == "retention.ms" && err == nil && ms >= 0 {
			// What Postgres says of a record is a little younger than the record.
			return time.Now().Add(time.Minute - time.Duration(ms)*time.Millisecond), nil
		}
	}
	return time.Time{}, nil
}
