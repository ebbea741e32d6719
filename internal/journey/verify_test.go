package journey_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/alerts"
	"github.com/alchemi/cockpit/internal/verify"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// verified runs verify and returns the invariants that fail, with why.
func (d *deployment) verified(ch driver.Conn) (failed map[string]string) {
	d.t.Helper()
	results, err := verify.Run(d.t.Context(), verify.Stores{Postgres: d.pool, ClickHouse: ch, Kafka: []kgo.Opt{kgo.SeedBrokers(d.kafka)}}, d.t.Output())
	d.must(err)
	failed = map[string]string{}
	for _, r := range results {
		if !r.OK {
			failed[r.ID] = r.Detail
		}
	}
	return failed
}

// settle folds, writes rollups and publishes alerts until nothing is left.
func (d *deployment) settle(ch driver.Conn) {
	d.t.Helper()
	w, dispatch := d.writer(ch), alerts.NewDispatcher(d.pool, d.producer, slog.Default())
	for n := 1; n > 0; {
		rows, err := d.folder.Once(d.t.Context())
		d.must(err)
		batches, err := w.Once(d.t.Context())
		d.must(err)
		sent, err := dispatch.Once(d.t.Context())
		d.must(err)
		n = rows + batches + sent
	}
}

// Green books are green, and each damage is named by its invariant.
func TestVerifyNamesDamage(t *testing.T) {
	t.Parallel()
	d := deploys(t, 3)
	ch := d.clickhouse()
	stats, stop := d.work()
	const n = 400
	for i := range n {
		d.send(usage(fmt.Sprint("e-", i%390), set("model", []string{"gpt-5", "claude-haiku-4-5", "llama-local"}[i%3])))
	}
	d.send(usage("bad", set("model", "gpt-99")), usage("stranger", set("user", "nobody")), usage("seen", source("browser-plugin")))
	d.eventually(func() bool {
		return stats.Charged.Load()+stats.Duplicate.Load()+stats.Quarantined.Load()+stats.Observed.Load() == n+3
	}, func() string { return "decided" })
	stop()
	d.settle(ch)
	if failed := d.verified(ch); len(failed) > 0 {
		t.Fatalf("green books fail: %q", failed)
	}
	for _, c := range []struct{ name, damage, repair, invariant, says string }{
		{"a micro-credit", `UPDATE balance_pages p SET used[b.scope_id % 64 + 1] = b.used + 1 FROM (SELECT * FROM balances ORDER BY scope_id LIMIT 1) b
				WHERE (p.account_id, p.section_id, p.cycle_start, p.page) = (b.account_id, b.section_id, b.cycle_start, b.scope_id / 64)`,
			`UPDATE balance_pages p SET used[b.scope_id % 64 + 1] = b.used - 1 FROM (SELECT * FROM balances ORDER BY scope_id LIMIT 1) b
				WHERE (p.account_id, p.section_id, p.cycle_start, p.page) = (b.account_id, b.section_id, b.cycle_start, b.scope_id / 64)`, "I1", "scope"},
		{"a position", `UPDATE offsets SET next = next + 1 WHERE next > 0`, `UPDATE offsets SET next = next - 1 WHERE next > 0`, "I3", "position"},
		{"a price", `UPDATE model_prices SET quantities = replace(quantities::text, '1.25', '1.26')::jsonb`,
			`UPDATE model_prices SET quantities = replace(quantities::text, '1.26', '1.25')::jsonb`, "I4", "should be"},
		{"an alert", `UPDATE alerts SET dedupe_key = 'x' || dedupe_key WHERE type LIKE 'budget%'`, `UPDATE alerts SET dedupe_key = substr(dedupe_key, 2) WHERE type LIKE 'budget%'`, "I6", "no alert"},
	} {
		_, err := d.pool.Exec(t.Context(), `RESET ROLE; `+c.damage)
		d.must(err)
		if failed := d.verified(ch); !strings.Contains(failed[c.invariant], c.says) {
			t.Errorf("%s: %q", c.name, failed)
		}
		_, err = d.pool.Exec(t.Context(), c.repair)
		d.must(err)
	}
	d.must(ch.Exec(t.Context(), `INSERT INTO usage_events SELECT * FROM usage_events WHERE decision = 'charged' LIMIT 1 SETTINGS insert_deduplicate = 0`))
	if failed := d.verified(ch); !strings.Contains(failed["I5"], "usage_events") {
		t.Errorf("a doubled row in ClickHouse: %q", failed)
	}
}

// Books are green at every moment, while events flow and everything follows them.
func TestVerifyWhileEventsFlow(t *testing.T) {
	t.Parallel()
	d := deploys(t, 3)
	ch := d.clickhouse()
	_, stop := d.work()
	flowing, end := context.WithCancel(t.Context())
	defer end()
	g, ctx := errgroup.WithContext(flowing)
	g.Go(func() error {
		for i := 0; ctx.Err() == nil; i++ {
			r := usage(fmt.Sprint("e-", i-i%10/9), set("model", []string{"gpt-5", "gpt-99", "llama-local"}[i%3]))
			r.Key = fmt.Append(nil, i%7) // away from home, most of them
			if err := d.producer.ProduceSync(ctx, r).FirstErr(); err != nil && ctx.Err() == nil {
				return err
			}
		}
		return nil
	})
	w, dispatch := d.writer(ch), alerts.NewDispatcher(d.pool, d.producer, slog.Default())
	for _, run := range []func(context.Context) error{d.folder.Run, w.Run, dispatch.Run} {
		g.Go(func() error { return run(ctx) })
	}
	for range 4 {
		if failed := d.verified(ch); len(failed) > 0 {
			t.Errorf("%q", failed)
		}
	}
	end()
	d.must(g.Wait())
	stop()
	d.settle(ch)
	if failed := d.verified(ch); len(failed) > 0 {
		t.Errorf("at the end: %q", failed)
	}
}
