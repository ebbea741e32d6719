package journey_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/rollups"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/twmb/franz-go/pkg/kgo"
)

func (d *deployment) clickhouse() driver.Conn {
	d.t.Helper()
	return d.clickhouseAt(testkit.ClickHouse(d.t))
}

func (d *deployment) clickhouseAt(url string) driver.Conn {
	d.t.Helper()
	ch, err := clickhouse.Open(d.t.Context(), url)
	d.must(err)
	d.t.Cleanup(func() { ch.Close() })
	return ch
}

func (d *deployment) writer(ch driver.Conn) *rollups.Writer {
	return rollups.NewWriter(d.pool, ch, []kgo.Opt{kgo.SeedBrokers(d.kafka)}, slog.Default())
}

func (d *deployment) sum(ch driver.Conn, sql string) (v string) {
	d.t.Helper()
	d.must(ch.QueryRow(d.t.Context(), sql).Scan(&v))
	return v
}

// Whatever is repeated after a crash, ClickHouse has every event and every sum once.
func TestRollupsAreWrittenOnce(t *testing.T) {
	t.Parallel()
	d := deploys(t, 3)
	ch := d.clickhouse()
	stats, stop := d.work()
	const n = 300
	for i := range n {
		d.send(usage(fmt.Sprint("e-", i), set("agent", fmt.Sprint("agent-", i%3)), set("extra", i)))
	}
	d.send(usage("odd-time", set("model", nil), at(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))), usage("observed", source("browser-plugin")), &kgo.Record{Topic: "usage.v1", Value: []byte("x")})
	d.send(event("guardrail.v1", "g", map[string]any{"account": "acme", "section": "copilot", "user": "u-42", "guardrail": "pii", "stage": "input", "action": "masked", "match_count": 2}))
	d.eventually(func() bool { return stats.Charged.Load()+stats.Quarantined.Load()+stats.Observed.Load() == n+4 }, func() string { return "charged" })
	stop()
	w := d.writer(ch)
	for range 3 {
		for {
			batches, err := w.Once(t.Context())
			d.must(err)
			if batches == 0 {
				break
			}
		}
		// As after a crash that came before anything was marked as done.
		_, err := d.pool.Exec(t.Context(), `UPDATE rollup_batches SET state = 'planned'`)
		d.must(err)
		w = d.writer(ch)
	}
	for sql, want := range map[string]string{
		`SELECT toString(count()) FROM usage_events`:                                                                                      "303",
		`SELECT toString(count()) FROM usage_events WHERE decision = 'quarantined'`:                                                       "2",
		`SELECT toString(sum(credits)) FROM usage_events`:                                                                                 "37.5",
		`SELECT toString(sum(credits)) FROM usage_quarters`:                                                                               "37.5",
		`SELECT toString(sum(events)) FROM usage_days WHERE agent = 'agent-1'`:                                                            "100",
		`SELECT toString(sum(input_tokens)) FROM usage_days WHERE team > 0 AND organization > 0`:                                          "301000",
		`SELECT toString(sum(events)) FROM usage_user_days WHERE user > 0`:                                                                "301",
		`SELECT any(attributes) FROM usage_events WHERE id = 'e-7'`:                                                                       `{"extra":7}`,
		`SELECT toString(sum(match_count)) FROM guardrail_quarters WHERE guardrail = 'pii'`:                                               "2",
		`SELECT toString(count()) FROM guardrail_events`:                                                                                  "1",
		`SELECT toString(uniqExact(log, position)) FROM usage_events WHERE cycle_start <= time OR decision NOT IN ('charged','observed')`: "303",
	} {
		if got := d.sum(ch, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	var acme int64
	d.must(d.pool.QueryRow(t.Context(), `SELECT account_id FROM accounts WHERE key = 'acme'`).Scan(&acme))
	sums, err := rollups.Usage(t.Context(), ch, rollups.Query{Account: acme, From: time.Now().AddDate(0, 0, -2), To: time.Now().AddDate(0, 0, 2), Grain: rollups.Days, By: []string{"agent"}})
	d.must(err)
	if len(sums) != 4 || sums[1].By[0] != "agent-0" || sums[1].Credits.String() != "12.5" {
		t.Errorf("%+v", sums)
	}
	for _, q := range []rollups.Query{{By: []string{"model"}}, {Account: acme, Platform: true}} {
		if _, err := rollups.Usage(context.Background(), ch, q); err == nil {
			t.Errorf("%+v was answered", q)
		}
	}
	all, err := rollups.Usage(t.Context(), ch, rollups.Query{Platform: true, From: time.Now().AddDate(0, 0, -2), To: time.Now().AddDate(0, 0, 2)})
	d.must(err)
	if len(all) != 1 || all[0].Events != 301 || all[0].Credits.String() != "37.5" {
		t.Errorf("the platform: %+v", all)
	}
	d.reconciled(ch, acme)
}

// reconciled checks that an account's rollups are what its events add up to, and that a rollup that is not would be found.
func (d *deployment) reconciled(ch driver.Conn, account int64) {
	d.t.Helper()
	var name string
	d.must(d.pool.QueryRow(d.t.Context(), `SELECT time_zone FROM accounts WHERE account_id = $1`, account).Scan(&name))
	zone, err := time.LoadLocation(name)
	d.must(err)
	now := time.Now().In(zone)
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, zone)
	events := uint64(0)
	for _, day := range []time.Time{today.AddDate(0, 0, -1), today} { // midnight may have passed
		d.must(rollups.Reconcile(d.t.Context(), ch, account, day))
		var n uint64
		d.must(ch.QueryRow(d.t.Context(), `SELECT count() FROM usage_model_days WHERE account = ? AND day = ?`, uint64(account), day.Format(time.DateOnly)).Scan(&n))
		if events += n; n > 0 {
			d.must(ch.Exec(d.t.Context(), fmt.Sprintf(`INSERT INTO usage_model_days (account, section, day, model, events) SELECT account, section, day, model, 1 FROM usage_model_days WHERE account = %d AND day = '%s' LIMIT 1`,
				account, day.Format(time.DateOnly))))
			if rollups.Reconcile(d.t.Context(), ch, account, day) == nil {
				d.t.Error("a rollup that has an event too many was not found")
			}
		}
	}
	if events == 0 {
		d.t.Error("no rollups by model")
	}
}

// What is kept for a while is dropped after it, and kept again when that is taken back.
func TestRetention(t *testing.T) {
	t.Parallel()
	ch, err := clickhouse.Open(t.Context(), testkit.ClickHouse(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	for _, c := range []struct {
		days int
		want string
	}{{30, "1"}, {0, "2"}, {3000, "2"}} {
		for _, sql := range []string{`TRUNCATE TABLE usage_days`, `SYSTEM STOP MERGES usage_days`} {
			if err := ch.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		if err := clickhouse.Retain(t.Context(), ch, clickhouse.Retention{Days: c.days}); err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{`INSERT INTO usage_days (account, day, events) SELECT 1, today() - 90 * number, 1 FROM numbers(2) SETTINGS insert_deduplicate = 0`,
			`SYSTEM START MERGES usage_days`, `OPTIMIZE TABLE usage_days FINAL`} {
			if err := ch.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		var got string
		if err := ch.QueryRow(t.Context(), `SELECT toString(sum(events)) FROM usage_days`).Scan(&got); err != nil || got != c.want {
			t.Errorf("%d days: %s rows, %v", c.days, got, err)
		}
	}
}

// Batches of one log that follow each other are all inserted.
func TestEveryBatchOfALogIsInserted(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	ch := d.clickhouse()
	stats, _ := d.work()
	w := d.writer(ch)
	for i := range int64(3) {
		d.send(usage(fmt.Sprint("e-", i)))
		d.eventually(func() bool { return stats.Charged.Load() == i+1 }, func() string { return "charged" })
		_, err := w.Once(t.Context())
		d.must(err)
	}
	for _, sql := range []string{`SELECT toString(count()) FROM usage_events`, `SELECT toString(sum(events)) FROM usage_days`} {
		if got := d.sum(ch, sql); got != "3" {
			t.Errorf("%s: %s, want 3", sql, got)
		}
	}
}

// What all logs have is one batch, whatever months it is of: who sends an event says when it was.
func TestABatchIsOfAllLogsAndMonths(t *testing.T) {
	t.Parallel()
	d := deploys(t, 3)
	ch := d.clickhouse()
	stats, stop := d.work()
	const n = 150
	for i := range n {
		r := usage(fmt.Sprint("e-", i), at(time.Date(2000, time.Month(1+i), 1, 0, 0, 0, 0, time.UTC)))
		r.Key = fmt.Append(nil, i) // all over the partitions
		d.send(r)
	}
	d.send(usage("now"))
	d.eventually(func() bool { return stats.Quarantined.Load() == n && stats.Charged.Load() == 1 }, func() string { return "decided" })
	stop()
	batches, err := d.writer(ch).Once(t.Context())
	d.must(err)
	var numbers, logs int
	d.must(d.pool.QueryRow(t.Context(), `SELECT count(DISTINCT batch), count(*) FROM rollup_batches WHERE state = 'done'`).Scan(&numbers, &logs))
	if batches != 1 || numbers != 1 || logs != 3 {
		t.Errorf("%d batches with %d numbers, of %d logs", batches, numbers, logs)
	}
	if got := d.sum(ch, `SELECT toString(count()) || ' of ' || toString(uniqExact(toYYYYMM(time))) || ' months' FROM usage_events`); got != "151 of 151 months" {
		t.Error(got)
	}
}
