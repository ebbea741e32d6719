package rollups

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// fetchBytes bounds one fetch. Compressed events unpack to several times that, each log holds one fetch and the client the
// next, and there may be many logs: it is what bounds the memory of a writer that is behind.
const fetchBytes = 512 << 10

// source reads the events of one log again. It is not safe for concurrent use.
type source struct {
	opts   []kgo.Opt
	log    logRow
	client *kgo.Client
	next   int64 // everything below was read
	ahead  []*kgo.Record
	gone   bool // the topic is another one by now
}

// records returns the events of [from, to), by position. What Kafka no longer has is missing.
func (s *source) records(ctx context.Context, from, to int64) (map[int64]*kgo.Record, error) {
	found := make(map[int64]*kgo.Record, to-from)
	if s.client == nil || len(s.ahead) == 0 && s.next != from || len(s.ahead) > 0 && s.ahead[0].Offset < from {
		if err := s.open(ctx, from); err != nil {
			return nil, err
		}
	}
	if s.gone {
		return found, nil
	}
	for {
		for len(s.ahead) > 0 && s.ahead[0].Offset < to {
			found[s.ahead[0].Offset] = s.ahead[0]
			s.ahead = s.ahead[1:]
		}
		if s.next >= to {
			return found, nil
		}
		if err := s.poll(ctx); err != nil {
			return nil, err
		}
	}
}

func (s *source) poll(ctx context.Context) error {
	fetches := s.client.PollFetches(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	fetches.EachRecord(func(r *kgo.Record) {
		s.ahead = append(s.ahead, r)
		s.next = r.Offset + 1
	})
	for _, e := range fetches.Errors() {
		var tooLarge *kgo.ErrDecompressTooLarge
		switch {
		case errors.As(e.Err, &tooLarge):
			s.skip(tooLarge.NextOffset)
		case errors.Is(e.Err, kerr.OffsetOutOfRange):
			start, err := s.start(ctx)
			if err != nil {
				return err
			}
			s.skip(start)
		default:
			return fmt.Errorf("read %s/%d: %w", s.log.topic, s.log.partition, e.Err)
		}
	}
	return nil
}

// skip goes on from a position.
func (s *source) skip(to int64) {
	s.next = max(s.next, to)
	s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{s.log.topic: {s.log.partition: {Epoch: -1, Offset: s.next}}})
}

func (s *source) open(ctx context.Context, from int64) error {
	s.close()
	cl, err := kgo.NewClient(append(s.opts[:len(s.opts):len(s.opts)], kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.MaxDecompressBatchBytes(64<<20), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchBytes), kgo.MaxBufferedRecords(1000),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.log.topic: {s.log.partition: kgo.NewOffset().At(from)}}))...)
	if err != nil {
		return err
	}
	details, err := kadm.NewClient(cl).ListTopics(ctx, s.log.topic)
	if err != nil {
		cl.Close()
		return fmt.Errorf("look at %s: %w", s.log.topic, err)
	}
	s.client, s.next, s.ahead = cl, from, nil
	s.gone = details[s.log.topic].ID.String() != s.log.topicID
	return nil
}

func (s *source) start(ctx context.Context) (int64, error) {
	listed, err := kadm.NewClient(s.client).ListStartOffsets(ctx, s.log.topic)
	if err != nil {
		return 0, err
	}
	o, ok := listed.Lookup(s.log.topic, s.log.partition)
	if !ok {
		return 0, fmt.Errorf("%s has no partition %d", s.log.topic, s.log.partition)
	}
	return o.Offset, o.Err
}

func (s *source) close() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}
