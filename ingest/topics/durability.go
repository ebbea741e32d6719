package topics

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Durability says what stands in the way of keeping what the brokers acknowledged, a line for each topic and setting:
// min.insync.replicas below 2, and leaders that may be elected without having everything.
func Durability(ctx context.Context, admin *kadm.Client) (warnings []string, err error) {
	described, err := admin.DescribeTopicConfigs(ctx, Usage, Guardrail, Alerts, Quarantine, Audit)
	if err != nil {
		return nil, fmt.Errorf("look at the topics' settings: %w", err)
	}
	for _, topic := range described {
		if topic.Err != nil {
			return warnings, fmt.Errorf("look at the settings of %s: %w", topic.Name, topic.Err)
		}
		settings := map[string]string{}
		for _, c := range topic.Configs {
			settings[c.Key] = c.MaybeValue()
		}
		if n, err := strconv.Atoi(settings["min.insync.replicas"]); err != nil || n < 2 {
			warnings = append(warnings, fmt.Sprintf("topic %s has min.insync.replicas=%s: what one broker alone acknowledged is lost with it; set 2, with 3 replicas",
				topic.Name, orUnknown(settings["min.insync.replicas"])))
		}
		if v := settings["unclean.leader.election.enable"]; v != "false" {
			warnings = append(warnings, fmt.Sprintf("topic %s has unclean.leader.election.enable=%s: a broker that lacks events may become their leader; set false",
				topic.Name, orUnknown(v)))
		}
	}
	return warnings, nil
}

func orUnknown(value string) string {
	if value == "" {
		return "(unknown)"
	}
	return value
}
