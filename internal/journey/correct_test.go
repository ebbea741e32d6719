package journey_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/metering/correct"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/rollups"
)

// Charges at a wrong price are made anew, and usage of an unknown key goes to the user who has it by now; the books and
// ClickHouse follow, and doing it again is nothing.
func TestCorrections(t *testing.T) {
	t.Parallel()
	d := deploys(t, 2)
	ch := d.clickhouse()
	stats, stop := d.work()
	for i := range 20 {
		d.send(usage(fmt.Sprint("e-", i)), usage(fmt.Sprint("s-", i), set("user", "stranger"), set("team", nil)))
	}
	d.charged(40, stats.Charged.Load)
	stop()
	d.settle(ch)
	run := func(r correct.Request, changed string) correct.Summary {
		t.Helper()
		f, err := directory.Parse([]byte(changed))
		d.must(err)
		_, err = directory.Apply(t.Context(), d.pool, f, directory.Options{Author: "test", Correct: true})
		d.must(err)
		follower, err := metering.Follow(t.Context(), d.pool, slog.Default(), time.Hour)
		d.must(err)
		c := correct.Corrector{Pool: d.pool, Journal: d.store, Snapshot: follower.Current(), Events: &rollups.Charged{ClickHouse: ch, Postgres: d.pool}}
		r.From, r.To, r.Author, r.Reason = time.Now().Add(-time.Hour), time.Now(), "test", "a test"
		s, err := c.Run(t.Context(), r)
		d.must(err)
		d.settle(ch)
		return s
	}
	const price = "      - from: 2026-01-01T00:00:00Z\n        quantities:\n          input_tokens: {usd: \"1.25\", per: 1000000}\n"
	dearer := strings.Replace(string(deploy.Demo), price, "      - from: 2026-02-01T00:00:00Z\n        quantities: {input_tokens: {usd: \"2.5\", per: 1000000}}\n"+price, 1)
	if s := run(correct.Request{What: correct.Rates}, dearer); s.Corrected != 40 || s.Credits.String() != "5.000000" {
		t.Errorf("%+v", s)
	}
	if got := d.used("acme", "copilot", "team", "support"); got != "5.000000" {
		t.Errorf("support used %s", got)
	}
	known := strings.Replace(dearer, "email: alan@acme.example, identities: [", "email: alan@acme.example, identities: [{source: alchemi-ai, value: stranger}, ", 1)
	ids, err := directory.Lookup(t.Context(), d.pool, "acme", "copilot", "gpt-5")
	d.must(err)
	if s := run(correct.Request{What: correct.Whom, Account: ids.Account}, known); s.Corrected != 20 || s.Credits != 0 {
		t.Errorf("%+v", s)
	}
	if got := d.used("acme", "copilot", "user", "u-2"); got != "5.000000" {
		t.Errorf("u-2 used %s", got)
	}
	if s := run(correct.Request{What: correct.Rates}, known); s.Corrected != 0 || s.Looked != 40 {
		t.Errorf("again: %+v", s)
	}
	if got := d.sum(ch, `SELECT toString(sum(credits)) FROM usage_days`); got != "10" {
		t.Errorf("ClickHouse has %s", got)
	}
	if failed := d.verified(ch); len(failed) > 0 {
		t.Errorf("%q", failed)
	}
	// Tables that are made again have the events before what corrects them, though all of it is planned at once.
	for _, table := range []string{"usage_events", "usage_quarters", "usage_days", "usage_model_days", "usage_user_days"} {
		d.must(ch.Exec(t.Context(), `TRUNCATE TABLE `+table))
	}
	_, err = d.pool.Exec(t.Context(), `DELETE FROM rollup_batches`)
	d.must(err)
	d.settle(ch)
	if failed := d.verified(ch); len(failed) > 0 {
		t.Errorf("made again: %q", failed)
	}
}
