package worker

import (
	"context"
	"fmt"

	"github.com/alchemi/cockpit/metering/journal"
	"github.com/twmb/franz-go/pkg/kgo"
)

// take leases the named partitions of a topic, beginning a new generation first where the topic has grown.
func (s *Service) take(ctx context.Context, topic string, ids map[int32]kgo.Offset) (map[int32]journal.Lease, error) {
	details, err := s.admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", topic, err)
	}
	detail := details[topic]
	if detail.Err != nil {
		return nil, fmt.Errorf("look at %s: %w", topic, detail.Err)
	}
	starts, err := s.starts(ctx, topic)
	if err != nil {
		return nil, err
	}
	base := journal.Partition{ClusterID: s.cluster, TopicID: detail.ID.String(), Topic: topic}
	total := int32(len(detail.Partitions))
	if err := s.cfg.Journal.Repartition(ctx, base, total, starts); err != nil {
		return nil, err
	}
	leases := make(map[int32]journal.Lease, len(ids))
	for id := range ids {
		p := base
		p.Partition = id
		l, err := s.cfg.Journal.Take(ctx, p, total, starts[id])
		if err != nil {
			return nil, err
		}
		if l.Paused == "" && l.Next < starts[id] {
			reason := fmt.Sprintf("Kafka's log begins at %d, but was read only to %d", starts[id], l.Next)
			if err := s.cfg.Journal.Pause(ctx, &l, reason); err != nil {
				return nil, err
			}
		}
		leases[id] = l
	}
	return leases, nil
}

// starts is the first offset that Kafka has of each partition.
func (s *Service) starts(ctx context.Context, topic string) (map[int32]int64, error) {
	listed, err := s.admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the first offsets of %s: %w", topic, err)
	}
	starts := map[int32]int64{}
	for _, o := range listed[topic] {
		starts[o.Partition] = o.Offset
	}
	return starts, nil
}

// retake leases one partition again.
func (s *Service) retake(ctx context.Context, tp topicPartition) (l journal.Lease, err error) {
	err = s.retry(ctx, "take "+tp.topic, func(ctx context.Context) error {
		leases, err := s.take(ctx, tp.topic, map[int32]kgo.Offset{tp.partition: {}})
		l = leases[tp.partition]
		return err
	})
	return l, err
}
