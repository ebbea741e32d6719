package journey_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/correct"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/rollups"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/events/eventspb"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"
)

// healthy is a deployment that has met everything: all decisions, moves, alerts, corrections of rates and of whom, and
// events that nobody has read yet. Nobody is connected to its database any more.
type healthy struct {
	*deployment
	url string
	ch  driver.Conn
}

func makeHealthy(t *testing.T) *healthy {
	t.Helper()
	h := &healthy{deployment: deploys(t, 3)}
	h.ch = h.clickhouse()
	stats, stop := h.work()
	decided := func() int64 {
		return stats.Charged.Load() + stats.Duplicate.Load() + stats.Quarantined.Load() + stats.Observed.Load()
	}
	for wave := range int64(3) {
		for i := range 12 {
			h.send(usage(fmt.Sprintf("e-%d-%d", wave, i), set("model", []string{"gpt-5", "claude-haiku-4-5", "llama-local"}[i%3])),
				usage(fmt.Sprintf("s-%d-%d", wave, i), set("user", "stranger"), set("team", nil)))
		}
		h.send(usage(fmt.Sprintf("e-%d-0", wave)), usage(fmt.Sprint("bad-", wave), set("model", "gpt-99")), usage(fmt.Sprint("seen-", wave), source("browser-plugin")), protobuf(h, wave))
		h.send(usage(fmt.Sprint("much-", wave), set("quantities", map[string]any{"input_tokens": 60_000})), usage(fmt.Sprint("primary-", wave), set("team", nil)),
			usage(fmt.Sprint("case-", wave), set("Account", "nobody"), set("MODEL", "none")), usage(fmt.Sprint("elsewhere-", wave), set("team", "platform")))
		h.send(event(topics.Usage, fmt.Sprint("reported-", wave), map[string]any{"account": "globex", "section": "console", "user": "g-4", "model": "gpt-4o", "cost_usd": "0.012345678901",
			"quantities": map[string]any{"requests": 1}}, source("litellm")))
		h.send(event(topics.Guardrail, fmt.Sprint("g-", wave), map[string]any{"account": "acme", "section": "copilot", "user": "u-42", "guardrail": "pii", "stage": "input", "action": "masked", "match_count": 2}))
		h.eventually(func() bool { return decided() == (wave+1)*34 }, func() string { return fmt.Sprint(decided(), " decided") })
	}
	stop()
	h.settle(h.ch)
	const price = "      - from: 2026-01-01T00:00:00Z\n        quantities:\n          input_tokens: {usd: \"1.25\", per: 1000000}\n"
	dearer := strings.Replace(string(deploy.Demo), price, "      - from: 2026-02-01T00:00:00Z\n        quantities: {input_tokens: {usd: \"2.5\", per: 1000000}}\n"+price, 1)
	h.correct(dearer, correct.Request{What: correct.Rates})
	ids, err := directory.Lookup(t.Context(), h.pool, "acme", "copilot", "gpt-5")
	h.must(err)
	h.correct(strings.Replace(dearer, "email: alan@acme.example, identities: [", "email: alan@acme.example, identities: [{source: alchemi-ai, value: stranger}, ", 1),
		correct.Request{What: correct.Whom, Account: ids.Account})
	for p := range int32(3) { // what nobody has read yet
		r := usage(fmt.Sprint("unread-", p))
		r.Partition = p
		h.must(h.manual().ProduceSync(t.Context(), r).FirstErr())
	}
	h.url = h.pool.Config().ConnString()
	h.pool.Close()
	return h
}

// manual is a producer that leaves partitions as they are.
func (h *healthy) manual() *kgo.Client {
	cl, err := kgo.NewClient(kgo.SeedBrokers(h.kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	h.must(err)
	h.t.Cleanup(cl.Close)
	return cl
}

func protobuf(h *healthy, wave int64) *kgo.Record {
	data, err := proto.Marshal(&eventspb.UsageData{Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5", Quantities: map[string]int64{"input_tokens": 777}})
	h.must(err)
	r := &kgo.Record{Topic: topics.Usage, Value: data, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/protobuf")}}}
	for k, v := range map[string]string{"specversion": "1.0", "id": fmt.Sprint("proto-", wave), "source": "alchemi-ai", "type": "cockpit.usage.v1", "time": time.Now().UTC().Format(time.RFC3339Nano)} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_" + k, Value: []byte(v)})
	}
	return r
}

func (h *healthy) correct(file string, r correct.Request) {
	h.t.Helper()
	f, err := directory.Parse([]byte(file))
	h.must(err)
	_, err = directory.Apply(h.t.Context(), h.pool, f, directory.Options{Author: "test", Correct: true})
	h.must(err)
	follower, err := metering.Follow(h.t.Context(), h.pool, slog.Default(), time.Hour)
	h.must(err)
	c := correct.Corrector{Pool: h.pool, Journal: h.store, Snapshot: follower.Current(), Events: &rollups.Charged{ClickHouse: h.ch, Postgres: h.pool}}
	r.From, r.To, r.Author, r.Reason = time.Now().Add(-time.Hour), time.Now(), "test", "a test"
	s, err := c.Run(h.t.Context(), r)
	h.must(err)
	if s.Corrected == 0 {
		h.t.Fatalf("nothing was corrected: %+v", s)
	}
	h.settle(h.ch)
}

// damaged is a copy of it that something is wrong with.
type damaged struct {
	*deployment
	ch driver.Conn
}

func (h *healthy) copy(t *testing.T) *damaged {
	t.Helper()
	d := *h.deployment
	d.t, d.pool = t, testkit.Pool(t, testkit.Copy(t, h.url), postgres.RoleMetering)
	return &damaged{&d, h.ch}
}

// tables are ClickHouse's.
var tables = []string{"usage_events", "usage_days", "usage_model_days", "usage_quarters", "usage_user_days", "guardrail_events", "guardrail_quarters"}

// rows gives it a ClickHouse of its own; without is the condition of rows that are left out of a table.
func (d *damaged) rows(table, without string) {
	from := d.sum(d.ch, `SELECT currentDatabase()`)
	d.ch = d.clickhouse()
	for _, name := range tables {
		where := ""
		if name == table && without != "" {
			where = " WHERE NOT (" + without + ")"
		}
		d.must(d.ch.Exec(d.t.Context(), `INSERT INTO `+name+` SELECT * FROM `+from+`.`+name+where))
	}
}

func (d *damaged) sql(statement string, args ...any) {
	d.t.Helper()
	d.must(d.pool.AcquireFunc(d.t.Context(), func(c *pgxpool.Conn) error {
		if _, err := c.Exec(d.t.Context(), `RESET ROLE`); err != nil {
			return err
		}
		tag, err := c.Exec(d.t.Context(), statement, args...)
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("%s: no row", statement)
		}
		return err
	}))
}

func (d *damaged) text(query string, args ...any) (s string) {
	d.t.Helper()
	d.must(d.pool.QueryRow(d.t.Context(), query, args...).Scan(&s))
	return s
}

// edit changes the first entry of the journal for which change returns true, and names it.
func (d *damaged) edit(change func(*journal.Entry, *journal.Body) bool) string {
	d.t.Helper()
	rows, err := d.pool.Query(d.t.Context(), `SELECT o.id, o.topic || '/' || o.partition, j.from_pos, j.body FROM journal j JOIN offsets o ON o.id = j.offsets_id ORDER BY 1, 3`)
	d.must(err)
	defer rows.Close()
	var log, from int64
	var name string
	var data []byte
	var b journal.Body
	for rows.Next() {
		d.must(rows.Scan(&log, &name, &from, &data))
		d.must(journal.Decode(data, from, &b))
		for i := range b.Entries {
			if change(&b.Entries[i], &b) {
				rows.Close()
				var encoder journal.Encoder
				d.sql(`UPDATE journal SET body = $3 WHERE offsets_id = $1 AND from_pos = $2`, log, from, encoder.Append(nil, from, &b))
				return fmt.Sprintf("%s@%d", name, b.Entries[i].Position)
			}
		}
	}
	d.t.Fatal("no entry to damage")
	return ""
}

// one is a decision that is changed, if it is of the kind.
func one(kind journal.Decision, change func(*journal.Entry)) func(*journal.Entry, *journal.Body) bool {
	return func(e *journal.Entry, _ *journal.Body) bool {
		if e.Decision != kind || kind == journal.Charged && e.Charge.Credits == 0 {
			return false
		}
		change(e)
		return true
	}
}

// Healthy books are green, also with events that nobody has read; and each damage is named exactly, by the invariants
// that it breaks and by what it is.
func TestEachDamageIsNamed(t *testing.T) {
	t.Parallel()
	h := makeHealthy(t)
	t.Run("", func(t *testing.T) {
		for name, c := range damages {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d := h.copy(t)
				d.fails(c.invariants, c.plant(d))
			})
		}
		t.Run("nothing", func(t *testing.T) {
			t.Parallel()
			h.copy(t).fails("")
		})
		t.Run("nothing, where ClickHouse forgets", func(t *testing.T) {
			t.Parallel()
			d := h.copy(t)
			d.rows("", "")
			d.must(clickhouse.Retain(t.Context(), d.ch, clickhouse.Retention{Events: 3, Quarters: 30, Days: 300}))
			d.fails("")
		})
	})
	t.Run("a lost quarantine record", func(t *testing.T) {
		d := h.copy(t)
		d.fails("I7", d.loseQuarantined())
	})
}

// fails checks which invariants fail, and that a detail says what is wanted.
func (d *damaged) fails(invariants string, says ...string) {
	d.t.Helper()
	failed := d.verified(d.ch)
	must, may, _ := strings.Cut(invariants, "+")
	for _, id := range []string{"I1", "I2", "I3", "I4", "I5", "I6", "I7"} {
		if fails := failed[id] != ""; fails != strings.Contains(must, id) && !strings.Contains(may, id) {
			d.t.Errorf("%s fails: %t, want %s: %q", id, fails, invariants, failed)
		}
	}
	for _, want := range says {
		found := false
		for _, detail := range failed {
			found = found || strings.Contains(detail, want)
		}
		if !found {
			d.t.Errorf("nothing says %q: %q", want, failed)
		}
	}
}

// loseQuarantined makes the quarantine anew without its first record.
func (d *damaged) loseQuarantined() (says string) {
	ctx, cl := d.t.Context(), d.consumer(topics.Quarantine)
	var kept []*kgo.Record
	for len(kept) < 3 {
		fetches := cl.PollFetches(ctx)
		d.must(fetches.Err())
		kept = append(kept, fetches.Records()...)
	}
	admin := kadm.NewClient(d.producer)
	_, err := admin.DeleteTopics(ctx, topics.Quarantine)
	d.must(err)
	_, err = topics.Ensure(ctx, admin, 3)
	d.must(err)
	anew, err := kgo.NewClient(kgo.SeedBrokers(d.kafka)) // one that knows nothing of the old topic
	d.must(err)
	defer anew.Close()
	d.must(anew.ProduceSync(context.WithoutCancel(ctx), kept[1:]...).FirstErr())
	place := map[string]string{}
	for _, header := range kept[0].Headers {
		place[header.Key] = string(header.Value)
	}
	return fmt.Sprintf("%s/%s@%s was quarantined", place["src_topic"], place["src_partition"], place["src_offset"])
}

func (d *damaged) consumer(topic string) *kgo.Client {
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.kafka), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	d.must(err)
	d.t.Cleanup(cl.Close)
	return cl
}
