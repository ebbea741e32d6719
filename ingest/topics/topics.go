// Package topics names the Kafka topics of the contracts and makes those that are missing.
//
// audit.v1 keeps everything for ever: it is what shows that the audit log in Postgres was cut off.
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
	Audit      = "audit.v1"
)

// Ensure makes the topics that are missing, with that many partitions (alerts, quarantine and audit: one) and the broker's own
// default replication. It returns warnings about topics that were there and are not as they should be.
func Ensure(ctx context.Context, admin *kadm.Client, partitions int32) (warnings []string, err error) {
	for _, topic := range []string{Usage, Guardrail, Alerts, Quarantine, Audit} {
		n, wanted := int32(1), settings[topic]
		if topic == Usage || topic == Guardrail {
			n = partitions
		}
		config := map[string]*string{}
		for _, s := range wanted {
			config[s.name] = &s.value
		}
		_, err := admin.CreateTopic(ctx, n, -1, config, topic)
		if err == nil {
			continue
		}
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			return warnings, fmt.Errorf("make topic %s: %w", topic, err)
		}
		if len(wanted) == 0 {
			continue
		}
		described, err := admin.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return warnings, fmt.Errorf("look at topic %s: %w", topic, err)
		}
		for _, resource := range described {
			for _, c := range resource.Configs {
				for _, s := range wanted {
					if c.Key == s.name && c.MaybeValue() != s.value {
						warnings = append(warnings, fmt.Sprintf("topic %s has %s=%s: %s; set %s", topic, c.Key, c.MaybeValue(), s.otherwise, s.value))
					}
				}
			}
		}
	}
	return warnings, nil
}

// setting is what a topic must have, and what it means where it has something else.
type setting struct{ name, value, otherwise string }

var byProducers = setting{"message.timestamp.type", "LogAppendTime", "how late its events are is then what producers say"}

var settings = map[string][]setting{
	Usage:     {byProducers},
	Guardrail: {byProducers},
	Audit: {{"cleanup.policy", "delete", "entries of the audit log are dropped from it"}, {"retention.ms", "-1", "entries of the audit log are dropped from it"},
		{"retention.bytes", "-1", "entries of the audit log are dropped from it"}},
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
