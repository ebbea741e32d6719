//go:build interop

package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) {
	if engine.Child() {
		return
	}
	os.Exit(m.Run())
}

// event is the usual one: 1,000 input tokens of gpt-5, which is 0.125 credits.
func event(id string) string {
	text, err := json.Marshal(map[string]any{"specversion": "1.0", "id": id, "source": "alchemi-web", "type": "cockpit.usage.v1", "time": time.Now().UTC().Format(time.RFC3339Nano),
		"data": map[string]any{"account": "acme", "section": "copilot", "user": "u-42", "team": "support", "model": "gpt-5", "quantities": map[string]int{"input_tokens": 1000}}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// The journey, with programs that nobody here wrote: each of them sends an event of its own and one that all of them send.
func TestJourneyWithRealPrograms(t *testing.T) {
	in := install(t)
	dir := t.TempDir()
	kafka := in.kafka(t, dir)
	c := startCockpit(t, dir, kafka)
	own := 0
	send := func(name string, f func(id string)) {
		t.Helper()
		begin := time.Now()
		f("of-" + name)
		f("of-all")
		own++
		t.Logf("%s: %v", name, time.Since(begin).Round(time.Millisecond))
	}
	send("collector", func(id string) { must(t, post(c.API+"/v1/events", c.Key, json.RawMessage(event(id)))) })
	send("librdkafka", func(id string) { in.librdkafka(t, kafka, event(id)) })
	send("console-producer", func(id string) {
		in.java(t, event(id)+"\n", "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", kafka, "--topic", "usage.v1")
	})
	for _, mode := range []string{"structured", "binary"} {
		send("python-"+mode, func(id string) { run(t, in.dir, in.python, "send.py", c.API+"/v1/events", c.Key, id, mode) })
		send("javascript-"+mode, func(id string) { run(t, in.dir, "node", "send.mjs", c.API+"/v1/events", c.Key, id, mode) })
	}
	aborted(t, kafka)
	want := fmt.Sprintf("%d.%03d000", (own+2)*125/1000, (own+2)*125%1000) // and what was committed
	eventually(t, time.Minute, func() error {
		if got := c.used("copilot", "team", "support"); got != want {
			return fmt.Errorf("support used %s, want %s", got, want)
		}
		return nil
	})
	groups := in.java(t, "", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", kafka, "--describe", "--group", "cockpit-metering")
	if strings.Count(groups, "usage.v1") != 6 {
		t.Errorf("kafka-consumer-groups does not show our lag:\n%s", groups)
	}
	gateway(t, in, dir, c)
	for line := range strings.Lines(c.do("verify", "--json")) {
		t.Log(strings.TrimSpace(line))
	}
}

// aborted sends three events in a transaction that is aborted, and one in a transaction that is committed.
func aborted(t *testing.T, kafka string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.TransactionalID("interop"))
	must(t, err)
	defer cl.Close()
	for ids, end := range map[string]kgo.TransactionEndTry{"no-1 no-2 no-3": kgo.TryAbort, "yes": kgo.TryCommit} {
		must(t, cl.BeginTransaction())
		for _, id := range strings.Fields(ids) {
			must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "usage.v1", Value: []byte(event(id))}).FirstErr())
		}
		must(t, cl.EndTransaction(t.Context(), end))
	}
}

// gateway makes a call through a LiteLLM proxy and waits until it is charged in the console's section.
func gateway(t *testing.T, in installed, dir string, c *cockpit) {
	t.Helper()
	var made struct{ Key string }
	must(t, json.Unmarshal([]byte(c.do("keys", "create", "litellm", "--source", "litellm", "--account", "acme", "--json")), &made))
	proxy, master := in.litellm(t, dir, c, made.Key)
	must(t, post(proxy+"/v1/chat/completions", master, map[string]any{"model": "gpt-4o", "user": "gateway-grace", "messages": []map[string]string{{"role": "user", "content": "hi"}}}))
	eventually(t, time.Minute, func() error {
		if used := c.used("console", "user", "u-42"); used == "" || used == "0.000000" {
			return fmt.Errorf("the call was not charged to its user; quarantine: %s", c.do("dlq", "show", "--json"))
		}
		return nil
	})
	t.Logf("LiteLLM's call cost USD %s", c.used("console", "user", "u-42"))
}
