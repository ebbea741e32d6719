// Package topics names the Kafka topics of the contracts and makes those that are missing.
//
// usage.v1 and guardrail.v1 have the broker's clock (message.timestamp.type=LogAppendTime), because how late an event is
// must not depend on what a producer says. A topic that exists is left as it is; Ensure reports where it differs.
package topics

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The topics.
const (
	Usage      = "usage.v1"
	Guardrail  = "guardrail.v1"
	Alerts     = "alerts.v1"
	Quarantine = "usage.dlq.v1"
)

// Ensure makes the topics that are missing, with that many partitions (alerts and quarantine: one) and the broker's own
// default replication. It returns warnings about topics that were there and are not as they should be.
func Ensure(ctx context.Context, admin *kadm.Client, partitions int32) (warnings []string, err error) {
	clock := "LogAppendTime"
	for _, topic := range []string{Usage, Guardrail, Alerts, Quarantine} {
		n, config := int32(1), map[string]*string(nil)
		if topic == Usage || topic == Guardrail {
			n, config = partitions, map[string]*string{"message.timestamp.type": &clock}
		}
		_, err := admin.CreateTopic(ctx, n, -1, config, topic)
		if err == nil {
			continue
		}
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			return warnings, fmt.Errorf("make topic %s: %w", topic, err)
		}
		if config == nil {
			continue
		}
		described, err := admin.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return warnings, fmt.Errorf("look at topic %s: %w", topic, err)
		}
		for _, resource := range described {
			for _, c := range resource.Configs {
				if c.Key == "message.timestamp.type" && c.MaybeValue() != clock {
					warnings = append(warnings, fmt.Sprintf("topic %s has message.timestamp.type=%s: how late its events are is then what producers say; set LogAppendTime", topic, c.MaybeValue()))
				}
			}
		}
	}
	return warnings, nil
}

// Start is the first offset that Kafka has of a partition.
func Start(ctx context.Context, opts []kgo.Opt, topic string, partition int32) (int64, error) {
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	listed, err := kadm.NewClient(cl).ListStartOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", topic, err)
	}
	o, ok := listed.Lookup(topic, partition)
	if !ok {
		return 0, fmt.Errorf("%s has no partition %d", topic, partition)
	}
	return o.Offset, nil
}
