package journey_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/ingest/quarantine"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/balances"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/fold"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/metering/worker"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// deployment is everything that one test runs.
type deployment struct {
	t        *testing.T
	pool     *pgxpool.Pool
	kafka    string
	producer *kgo.Client
	follower *metering.Follower
	folder   *fold.Folder
	store    *journal.Postgres
	hasher   *identity.Hasher
}

func deploys(t *testing.T, partitions int32) *deployment {
	t.Helper()
	d := &deployment{t: t, pool: testkit.Pool(t, testkit.Database(t), postgres.RoleMetering)}
	d.kafka = testkit.Kafka(t)
	f, err := directory.Parse(deploy.Demo)
	if err == nil {
		_, err = directory.Apply(t.Context(), d.pool, f, directory.Options{Author: "test"})
	}
	d.must(err)
	d.producer, err = kgo.NewClient(kgo.SeedBrokers(d.kafka))
	d.must(err)
	t.Cleanup(d.producer.Close)
	_, err = topics.Ensure(t.Context(), kadm.NewClient(d.producer), partitions)
	d.must(err)
	d.follower, err = metering.Follow(t.Context(), d.pool, slog.Default(), time.Second)
	d.must(err)
	d.store = journal.NewPostgres(d.pool)
	secret, err := d.store.Secret(t.Context())
	d.must(err)
	d.hasher = identity.NewHasher(secret)
	d.folder = fold.New(d.pool, slog.Default(), time.Now)
	return d
}

func (d *deployment) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// work runs a metering service until stop is called.
func (d *deployment) work(change ...func(*worker.Config)) (stats *worker.Stats, stop func()) {
	stats = &worker.Stats{}
	cfg := worker.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(d.kafka)}, Topics: []string{topics.Usage, topics.Guardrail}, Journal: d.store, Replays: d.store,
		Directory: d.follower, Hasher: d.hasher, Log: slog.New(slog.NewTextHandler(d.t.Output(), nil)), Stats: stats}
	for _, f := range change {
		f(&cfg)
	}
	s := worker.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				d.t.Error(err)
			}
		}
	}
	d.t.Cleanup(stop)
	return stats, stop
}

func (d *deployment) send(records ...*kgo.Record) {
	d.t.Helper()
	d.must(d.producer.ProduceSync(d.t.Context(), records...).FirstErr())
}

// eventually waits until ok; it fails with what says.
func (d *deployment) eventually(ok func() bool, says func() string) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatal("never: " + says())
		}
	}
}

// usage is a usage event of u-42 in support: 1,000 input tokens of gpt-5, which is 0.125 credits.
func usage(id string, change ...func(map[string]any)) *kgo.Record {
	return event(topics.Usage, id, map[string]any{"account": "acme", "section": "copilot", "user": "u-42", "team": "support", "model": "gpt-5",
		"quantities": map[string]any{"input_tokens": 1000}}, change...)
}

func (d *deployment) used(account, section, kind, key string) string {
	d.t.Helper()
	r, err := balances.Read(d.t.Context(), d.pool, account, section, time.Now())
	d.must(err)
	for _, b := range r.Balances {
		if b.Kind == kind && b.Key == key {
			return b.Used.String()
		}
	}
	d.t.Fatalf("no %s %s in %s", kind, key, section)
	return ""
}

func TestEventsAreChargedOnceAlongTheirPath(t *testing.T) {
	t.Parallel()
	d := deploys(t, 3)
	stats, stop := d.work()
	const n = 500
	for i := range n {
		r := usage(fmt.Sprint("e-", i))
		d.send(r)
		if i%10 == 0 { // again, with another key, so that it lands elsewhere
			again := usage(fmt.Sprint("e-", i))
			again.Key = []byte(fmt.Sprint("other-", i))
			d.send(again)
		}
	}
	d.send(usage("unknown-model", set("model", "gpt-99")), usage("stranger", set("user", "nobody")), &kgo.Record{Topic: topics.Usage, Value: []byte("{")},
		usage("observed", source("browser-plugin")))
	d.send(event(topics.Guardrail, "g", map[string]any{"account": "acme", "section": "copilot", "user": "u-42", "guardrail": "pii", "stage": "input", "action": "masked"}))
	d.eventually(func() bool {
		return stats.Charged.Load() == n+1 && stats.Duplicate.Load() == n/10 && stats.Quarantined.Load() == 2 && stats.Observed.Load() == 2
	}, func() string {
		return fmt.Sprint(stats.Charged.Load(), stats.Duplicate.Load(), stats.Quarantined.Load(), stats.Observed.Load())
	})
	check := func(when string) {
		t.Helper()
		for _, c := range []struct{ kind, key, want string }{
			{"account", "acme", "62.625000"}, {"organization", "eng", "62.500000"}, {"team", "support", "62.500000"},
			{"membership", "u-42", "62.500000"}, {"user", "u-42", "62.500000"}, {"team", "platform", "0.000000"},
		} {
			if got := d.used("acme", "copilot", c.kind, c.key); got != c.want {
				t.Errorf("%s: %s %s used %s, want %s", when, c.kind, c.key, got, c.want)
			}
		}
	}
	check("from the journal's tail")
	for range 2 {
		if _, err := d.folder.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("from the checkpoint")
	}
	// u-42 has an override of 20: 50 %, 80 % and 100 % were crossed, once each, and the rest is told of once an hour.
	if got := d.count(`SELECT count(*) FROM alerts a JOIN scopes s ON s.id = a.scope_id WHERE a.type LIKE 'budget.%' AND s.kind = 'membership'`); got != 3 {
		t.Errorf("%d crossings of the membership", got)
	}
	if got := d.count(`SELECT count(*) FROM alerts WHERE type IN ('usage.unattributed', 'usage.quarantined')`); got != 3 {
		t.Errorf("%d notices", got)
	}
	if got := d.count(`SELECT count(*) FROM alert_outbox o JOIN alerts a ON a.id = o.alert_id`); got != d.count(`SELECT count(*) FROM alerts`) {
		t.Errorf("%d in the outbox", got)
	}
	stop()
	var reasons []string
	d.must(quarantine.Each(t.Context(), []kgo.Opt{kgo.SeedBrokers(d.kafka)}, func(it quarantine.Item) error {
		reasons = append(reasons, it.Reason.String())
		return nil
	}))
	if len(reasons) != 2 {
		t.Errorf("in quarantine: %q", reasons)
	}
}

func (d *deployment) count(sql string) (n int) {
	d.t.Helper()
	d.must(d.pool.QueryRow(d.t.Context(), sql).Scan(&n))
	return n
}

// A worker that goes and comes back takes up where the journal stands, and knows what it charged.
func TestRestartsChargeNothingTwice(t *testing.T) {
	t.Parallel()
	d := deploys(t, 2)
	for round := range 3 {
		stats, stop := d.work()
		for i := range 100 {
			d.send(usage(fmt.Sprint("e-", i)), usage(fmt.Sprint("round-", round, "-", i)))
		}
		d.eventually(func() bool { return stats.Charged.Load()+stats.Duplicate.Load() >= 200 }, func() string { return fmt.Sprint(stats.Charged.Load()) })
		stop()
	}
	if got := d.used("acme", "copilot", "team", "support"); got != "50.000000" {
		t.Errorf("used %s", got)
	}
}
