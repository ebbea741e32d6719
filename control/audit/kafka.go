package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// KafkaSink is the name under which the position of the topic audit.v1 is kept.
const KafkaSink = "kafka"

type kafka struct{ producer *kgo.Client }

// Kafka is the topic audit.v1 as a sink: records keyed by the chain. The producer must wait for all replicas.
func Kafka(producer *kgo.Client) Sink { return kafka{producer} }

// Deliver implements Sink.
func (k kafka) Deliver(ctx context.Context, events []Event) (int, error) {
	records := make([]*kgo.Record, len(events))
	for i, e := range events {
		records[i] = &kgo.Record{Topic: topics.Audit, Key: strconv.AppendInt(nil, e.Chain, 10), Value: e.Body,
			Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}}}
	}
	if err := k.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return 0, fmt.Errorf("publish to %s: %w", topics.Audit, err)
	}
	return len(events), nil
}

// KafkaHeads reads the topic audit.v1, up to where it ends now, and gives the heads that a chain must still agree with: the
// newest one, and whatever was the newest where the stream of a chain does not go on from itself. That is a repetition, or
// a log that was brought back to an older state and then went on. A topic that is not there has none.
func KafkaHeads(ctx context.Context, opts []kgo.Opt, keys Keys, progress func(done, total int64)) (map[int64][]Head, error) {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.ConsumeTopics(topics.Audit), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords()}, opts...)...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ends, total, err := spans(ctx, kadm.NewClient(cl))
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", topics.Audit, err)
	}
	s := streams{keys: keys, heads: map[int64][]Head{}, at: map[int64]*stream{}}
	for done := int64(0); len(ends) > 0; {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return nil, fmt.Errorf("read %s: %w", topics.Audit, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, asked := ends[r.Partition]; !asked || r.Offset >= end {
				return
			}
			s.read(r.Value)
			if done++; r.Offset == ends[r.Partition]-1 {
				delete(ends, r.Partition)
			}
		})
		if progress != nil {
			progress(done, total)
		}
	}
	for _, at := range s.at {
		s.keep(at)
	}
	return s.heads, nil
}

// streams are the chains as the topic tells them.
type streams struct {
	keys  Keys
	heads map[int64][]Head
	at    map[int64]*stream
}

// stream is where a chain's stream stands.
type stream struct {
	seq  int64
	hash []byte
	head *Head // the newest that is genuine; nil: none yet
}

func (s *streams) read(value []byte) {
	var event struct{ Data sealed }
	d := &event.Data
	if json.Unmarshal(value, &event) != nil || d.Head == nil || d.Head.Chain != d.Chain {
		return // no event of ours: it has no head, and hides none
	}
	at := s.at[d.Chain]
	if at == nil {
		at = &stream{}
		s.at[d.Chain] = at
	}
	if d.Seq != at.seq+1 || !bytes.Equal(d.Previous, at.hash) {
		s.keep(at)
		at.head = nil
	}
	at.seq, at.hash = d.Seq, d.Hash
	switch {
	case at.head != nil && (d.Head.Seq <= at.head.Seq || bytes.Equal(d.Head.Signature, at.head.Signature)):
	case s.keys.Genuine(d.Head):
		at.head = d.Head
	default: // somebody else wrote to the topic: verify says so
		s.keep(&stream{head: d.Head})
	}
}

// keep notes the head, unless it was just noted.
func (s *streams) keep(at *stream) {
	if at.head == nil {
		return
	}
	list := s.heads[at.head.Chain]
	if n := len(list); n == 0 || !bytes.Equal(list[n-1].Signature, at.head.Signature) {
		s.heads[at.head.Chain] = append(list, *at.head)
	}
}

// spans are the ends of the partitions that have records, and how many those are.
func spans(ctx context.Context, admin *kadm.Client) (ends map[int32]int64, total int64, err error) {
	starts, err := admin.ListStartOffsets(ctx, topics.Audit)
	if err != nil {
		return nil, 0, err
	}
	listed, err := admin.ListEndOffsets(ctx, topics.Audit)
	if err != nil {
		return nil, 0, err
	}
	ends = map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		start, ok := starts.Lookup(o.Topic, o.Partition)
		if o.Err == nil && ok && o.Offset > start.Offset {
			ends[o.Partition] = o.Offset
			total += o.Offset - start.Offset
		}
	})
	return ends, total, listed.Error()
}
