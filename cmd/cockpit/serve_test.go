package main

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/internal/testkit"
)

// serve says where its stores would lose what they acknowledged, and runs all the same.
func TestServeWarnsOfStoresThatForget(t *testing.T) {
	t.Parallel()
	c := command(t, "serve", "--modules=ingest")
	c.Env = append(c.Env, "COCKPIT_POSTGRES_URL="+testkit.Database(t), "COCKPIT_KAFKA_BROKERS="+testkit.Kafka(t), "COCKPIT_LISTEN=127.0.0.1:0")
	logs, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	var text strings.Builder
	for lines := bufio.NewScanner(logs); lines.Scan() && !strings.Contains(lines.Text(), "msg=ready"); {
		text.WriteString(lines.Text() + "\n")
	}
	for _, want := range []string{"topic usage.v1 has min.insync.replicas=1", "topic usage.dlq.v1 has min.insync.replicas=1", "Postgres has synchronous_standby_names="} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not among\n%s", want, &text)
		}
	}
	_ = c.Process.Signal(os.Interrupt)
	if err := c.Wait(); err != nil {
		t.Errorf("%v", err)
	}
}
