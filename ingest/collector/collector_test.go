package collector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/ingest/collector"
	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/ingest/quarantine"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/gin-gonic/gin"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 5

// keyring knows a few keys.
type keyring struct{}

func (keyring) Authenticate(_ context.Context, token string) (collector.Principal, error) {
	web := collector.Grant{Source: "web", Sections: []string{"copilot"}, AllAccounts: true}
	gateway := collector.Grant{Source: "litellm", Sections: []string{"console"}, Accounts: []string{"acme"}}
	switch token {
	case "web":
		return collector.Principal{AllAccounts: true, Sources: []collector.Grant{web}}, nil
	case "two accounts":
		return collector.Principal{Accounts: []string{"acme", "globex"}, Sources: []collector.Grant{web}}, nil
	case "no account":
		return collector.Principal{Sources: []collector.Grant{web}}, nil
	case "gateway":
		return collector.Principal{Accounts: []string{"acme"}, Sources: []collector.Grant{gateway}}, nil
	case "broken":
		return collector.Principal{}, io.ErrUnexpectedEOF
	}
	return collector.Principal{}, collector.ErrUnauthenticated
}

type fixture struct {
	*httptest.Server
	t       *testing.T
	cluster *kfake.Cluster
	kafka   []kgo.Opt
}

func start(t *testing.T, change func(*collector.Config)) *fixture {
	t.Helper()
	cluster, address, err := engine.Kafka{}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	f := &fixture{t: t, cluster: cluster, kafka: []kgo.Opt{kgo.SeedBrokers(address)}}
	producer, err := kgo.NewClient(append(f.kafka, collector.ProducerOptions()...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	if _, err := topics.Ensure(t.Context(), kadm.NewClient(producer), partitions); err != nil {
		t.Fatal(err)
	}
	cfg := collector.Config{Producer: producer, Authenticate: keyring{}, Log: slog.New(slog.DiscardHandler), Timeout: 2 * time.Second}
	if change != nil {
		change(&cfg)
	}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	collector.New(cfg).Register(e)
	f.Server = httptest.NewServer(e)
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) post(path, key, media, body string, headers ...string) (status int, answer string, h http.Header) {
	f.t.Helper()
	req, err := http.NewRequest(http.MethodPost, f.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text), res.Header
}

// count is how many records a topic has, each checked to be in its home partition.
func (f *fixture) records(topic string) (out []*kgo.Record) {
	f.t.Helper()
	cl, err := kgo.NewClient(append(f.kafka, kgo.ConsumeTopics(topic))...)
	if err != nil {
		f.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(f.t.Context(), topic)
	if err != nil {
		f.t.Fatal(err)
	}
	var total int64
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	for int64(len(out)) < total {
		cl.PollFetches(f.t.Context()).EachRecord(func(r *kgo.Record) { out = append(out, r) })
	}
	return out
}

func event(id, account string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"web","type":"cockpit.usage.v1","time":"2026-11-23T08:00:00Z",
		"data":{"account":%q,"section":"copilot","user":"u","model":"m","quantities":{"requests":1}}}`, id, account)
}

const one, batch = "application/cloudevents+json", "application/cloudevents-batch+json"

func TestEveryFormIsTaken(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	data := `{"account":"acme","section":"copilot","user":"u","model":"m","quantities":{"requests":1}}`
	for _, c := range []struct {
		media, body string
		accepted    int
		headers     []string
	}{
		{one, event("1", "acme"), 1, nil},
		{one + "; charset=utf-8", event("2", "acme"), 1, nil},
		{batch, "[" + event("3", "acme") + "," + event("4", "globex") + "]", 2, nil},
		{"application/json", "[" + event("5", "acme") + "]", 1, nil},
		{"application/json", event("6", "acme"), 1, nil},
		{"application/json", data, 1, []string{"ce-specversion", "1.0", "ce-id", "sp%20ace", "ce-source", "web", "ce-type", "cockpit.usage.v1", "ce-time", "2026-11-23T08:00:00Z"}},
		{batch, "[]", 0, nil},
	} {
		status, answer, _ := f.post("/v1/events", "web", c.media, c.body, c.headers...)
		if status != http.StatusAccepted || !strings.Contains(answer, fmt.Sprintf(`"accepted":%d,"rejected":0`, c.accepted)) {
			t.Errorf("%s: %d %s", c.media, status, answer)
		}
	}
	got := f.records(topics.Usage)
	for _, r := range got {
		var e struct {
			ID   string
			Data struct{ Account string }
		}
		_ = json.Unmarshal(r.Value, &e)
		if e.ID == "" {
			e.ID, e.Data.Account = "sp ace", "acme"
		}
		if want := identity.Home(e.Data.Account, "web", e.ID, partitions); int(r.Partition) != want {
			t.Errorf("%s is in partition %d, and its home is %d", e.ID, r.Partition, want)
		}
	}
	if len(got) != 7 {
		t.Errorf("%d records", len(got))
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	for _, c := range []struct {
		key, media, body string
		status           int
		says             string
	}{
		{"", one, event("1", "acme"), 401, "unauthenticated"},
		{"nobody", one, event("1", "acme"), 401, "unauthenticated"},
		{"broken", one, event("1", "acme"), 503, "unavailable"},
		{"web", "text/plain", event("1", "acme"), 415, "unsupported_media_type"},
		{"web", batch, "{", 400, "malformed"},
		{"web", batch, `{"a":1}`, 400, "malformed"},
		{"web", one, "{", 400, `"reason":"malformed"`},
		{"web", one, strings.Replace(event("1", "acme"), `"web"`, `"other"`, 1), 400, "not_covered_by_key"},
		{"gateway", one, event("1", "acme"), 400, "not_covered_by_key"},
		{"web", batch, "[" + strings.Repeat("{},", 1000) + "{}]", 413, "1000 events"},
		{"web", batch, "[" + strings.Repeat(" ", 6<<20) + "]", 413, "too_large"},
		{"web", batch, "[" + event("good", "acme") + `,{"specversion":"1.0"},7]`, 202, `"accepted":1,"rejected":2`},
		{"no account", one, event("2", "acme"), 400, "not_covered_by_key"},
		{"two accounts", batch, "[" + event("3", "acme") + "," + event("4", "globex") + "," + event("5", "initech") + "]", 202, `"accepted":2,"rejected":1`},
	} {
		status, answer, h := f.post("/v1/events", c.key, c.media, c.body)
		if status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%.60s: %d %.200s", c.body, status, answer)
		}
		if status == 503 && h.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	if got := f.records(topics.Usage); len(got) != 3 {
		t.Errorf("%d records", len(got))
	}
}

func TestWhatDoesNotFitIsRefusedWhole(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *collector.Config) { c.InFlightMax = 100 })
	status, answer, h := f.post("/v1/events", "web", one, event("1", "acme"))
	if status != http.StatusTooManyRequests || h.Get("Retry-After") == "" || !strings.Contains(answer, "too_many_events") {
		t.Errorf("%d %s", status, answer)
	}
	if got := f.records(topics.Usage); len(got) != 0 {
		t.Errorf("%d records", len(got))
	}
}

func TestWithoutKafkaNothingIsAccepted(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	f.cluster.Close()
	if status, answer, _ := f.post("/v1/events", "web", one, event("1", "acme")); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, answer)
	}
}

// LiteLLM never sends again: what can be taken is, and the rest is in quarantine.
func TestLiteLLM(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	call := `{"id":"c","endTime":1763884800.5,"response_cost":0.01,"model_group":"gpt-4o","prompt_tokens":10,"metadata":{"user_api_key_user_id":"u","messages":"secret"}}`
	bad := strings.Replace(call, `"id":"c",`, ``, 1)
	foreign := strings.Replace(call, `"user_api_key_user_id"`, `"user_api_key_org_id":"globex","user_api_key_user_id"`, 1)
	status, answer, _ := f.post("/v1/events/litellm", "gateway", "application/json", "["+call+","+bad+","+foreign+"]")
	if status != http.StatusAccepted || !strings.Contains(answer, `"accepted":1,"rejected":2`) {
		t.Errorf("%d %s", status, answer)
	}
	if got := f.records(topics.Usage); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
	n := 0
	if err := quarantine.Each(t.Context(), f.kafka, func(it quarantine.Item) error {
		n++
		if strings.Contains(string(it.Record.Value), "secret") || !strings.Contains(it.Detail, "LiteLLM") {
			t.Errorf("%s: %s", it.Detail, it.Record.Value)
		}
		return nil
	}); err != nil || n != 2 {
		t.Errorf("%d in quarantine, %v", n, err)
	}
	if status, _, _ := f.post("/v1/events/litellm", "nobody", "application/json", "[]"); status != 401 {
		t.Errorf("without a key: %d", status)
	}
}

func BenchmarkBatchOf100(b *testing.B) {
	cluster, address, err := engine.Kafka{}.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	producer, err := kgo.NewClient(append(collector.ProducerOptions(), kgo.SeedBrokers(address))...)
	if err != nil {
		b.Fatal(err)
	}
	defer producer.Close()
	if _, err := topics.Ensure(b.Context(), kadm.NewClient(producer), partitions); err != nil {
		b.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	collector.New(collector.Config{Producer: producer, Authenticate: keyring{}, Log: slog.New(slog.DiscardHandler)}).Register(e)
	var events []string
	for i := range 100 {
		events = append(events, event(fmt.Sprintf("01JD8X2M7Q4Z%014d", i), "acme"))
	}
	body := "[" + strings.Join(events, ",") + "]"
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(body))
			req.Header.Set("Content-Type", batch)
			req.Header.Set("Authorization", "Bearer web")
			w := httptest.NewRecorder()
			if e.ServeHTTP(w, req); w.Code != http.StatusAccepted {
				b.Error(w.Code, w.Body)
			}
		}
	})
}
