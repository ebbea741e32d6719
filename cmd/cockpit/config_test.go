package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel"
)

func TestAllMistakesOfTheConfigurationAreNamedAtOnce(t *testing.T) {
	for name, value := range map[string]string{"COCKPIT_PARTITIONS": "0", "COCKPIT_WINDOW": "1s", "COCKPIT_LOG_LEVEL": "loud", "COCKPIT_POSTGRES_URL": "nowhere", "COCKPIT_KEEP_EVENTS_DAYS": "-1",
		"COCKPIT_AUDIT_WEBHOOK_URL": "https://siem.example/in", "COCKPIT_AUDIT_WEBHOOK_SECRET": "short"} {
		t.Setenv(name, value)
	}
	_, err := loadConfig()
	var used usageError
	if !errors.As(err, &used) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"COCKPIT_PARTITIONS", "COCKPIT_WINDOW", "COCKPIT_LOG_LEVEL", "COCKPIT_POSTGRES_URL", "COCKPIT_KEEP", "COCKPIT_AUDIT_WEBHOOK_SECRET"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s: %v", want, err)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Setenv("COCKPIT_POSTGRES_URL", "postgres://me:hunter2@db/cockpit")
	t.Setenv("COCKPIT_KAFKA_BROKERS", "kafka:9092")
	t.Setenv("COCKPIT_KAFKA_SASL_MECHANISM", "PLAIN")
	t.Setenv("COCKPIT_KAFKA_SASL_USER", "me")
	t.Setenv("COCKPIT_KAFKA_SASL_PASSWORD", "hunter2")
	out, err := command(t, "config").Output()
	if err != nil || strings.Contains(string(out), "hunter2") || !strings.Contains(string(out), "postgres://me:***@db/cockpit") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"no-such-command"}, {"keys", "nothing"}, {"balances", "--no-such-flag"}, {"balances", "extra"}, {"serve", "--modules=nothing"}, {"apply"}} {
		cmd := command(t, append(args, "--data", t.TempDir())...)
		cmd.Env = append(cmd.Env, "COCKPIT_POSTGRES_URL=", "COCKPIT_KAFKA_BROKERS=")
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("%q: exit %d\n%s", args, cmd.ProcessState.ExitCode(), out)
		}
	}
	cmd := command(t, "balances", "--account", "a", "--section", "s", "--data", t.TempDir())
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "no `cockpit dev`") {
		t.Errorf("without a dev: exit %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
}

func TestSpansReachTheEndpoint(t *testing.T) {
	var received atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received.Add(int64(len(body)))
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	before := otel.GetTracerProvider()
	defer otel.SetTracerProvider(before)
	stop, err := startTracing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, span := otel.Tracer("test").Start(t.Context(), "a span")
	span.End()
	stop()
	if received.Load() == 0 {
		t.Error("nothing was sent")
	}
}
