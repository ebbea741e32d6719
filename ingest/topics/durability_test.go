package topics_test

import (
	"strings"
	"testing"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestDurabilityNamesWhatIsNotSafe(t *testing.T) {
	t.Parallel()
	cluster, address, err := engine.Kafka{}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	if _, err := topics.Ensure(t.Context(), admin, 1); err != nil {
		t.Fatal(err)
	}
	set := func(name, value string) {
		t.Helper()
		answers, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topics.Usage, topics.Guardrail, topics.Alerts, topics.Quarantine, topics.Audit)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			if a.Err != nil {
				t.Fatal(a.Err)
			}
		}
	}
	warned := func(about string) (n int) {
		t.Helper()
		warnings, err := topics.Durability(t.Context(), admin)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range warnings {
			if strings.Contains(w, about) {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		name, value string
		warnings    int
	}{{"min.insync.replicas", "1", 5}, {"min.insync.replicas", "2", 0}, {"unclean.leader.election.enable", "true", 5}, {"unclean.leader.election.enable", "false", 0}} {
		set(c.name, c.value)
		if got := warned(c.name + "="); got != c.warnings {
			t.Errorf("%s=%s: %d warnings, want %d", c.name, c.value, got, c.warnings)
		}
	}
}
