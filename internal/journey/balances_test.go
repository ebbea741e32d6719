package journey_test

import (
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/metering/balances"
)

// More can't be set aside than there is: it is refused, with what is missing.
func TestSettingAsideTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	f, err := directory.Parse([]byte(strings.Replace(string(deploy.Demo), `cap: "9000"`, `cap: "7"`, 1)))
	d.must(err)
	_, err = directory.Apply(t.Context(), d.pool, f, directory.Options{Author: "test"})
	if err == nil || !strings.Contains(err.Error(), "team support lacks 13.000000 credits") {
		t.Fatalf("%v", err)
	}
	if b := d.balance("acme", "copilot", "team", "support"); b.Allocation.String() != "9000.000000" {
		t.Errorf("%+v", b)
	}
}

// apply applies the demo with one text replaced by another.
func (d *deployment) apply(old, new string) {
	d.t.Helper()
	if !strings.Contains(string(deploy.Demo), old) {
		d.t.Fatalf("the demo has no %q", old)
	}
	f, err := directory.Parse([]byte(strings.Replace(string(deploy.Demo), old, new, 1)))
	d.must(err)
	_, err = directory.Apply(d.t.Context(), d.pool, f, directory.Options{Author: "test"})
	d.must(err)
	d.must(d.follower.Refresh(d.t.Context()))
}

func (d *deployment) balance(account, section, kind, key string) balances.Balance {
	d.t.Helper()
	r, err := balances.Read(d.t.Context(), d.pool, account, section, time.Now())
	d.must(err)
	for _, b := range r.Balances {
		if b.Kind == kind && b.Key == key {
			return b
		}
	}
	d.t.Fatalf("no %s %s", kind, key)
	return balances.Balance{}
}

func TestWhatApplyChangesShowsAtOnce(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	if b := d.balance("acme", "copilot", "membership", "u-42"); b.Source != "override" || b.Allocation.String() != "20.000000" {
		t.Errorf("%+v", b)
	}
	// An override that never ends.
	d.apply(`override: {amount: "20", reason: launch, until: 2099-12-31T00:00:00Z}`, `override: {amount: "30", reason: more}`)
	if b := d.balance("acme", "copilot", "membership", "u-42"); b.Source != "override" || b.Allocation.String() != "30.000000" {
		t.Errorf("%+v", b)
	}
	d.apply(`cap: "9000"`, `cap: "35"`)
	if b := d.balance("acme", "copilot", "team", "support"); b.Source != "cap" || b.Allocation.String() != "35.000000" {
		t.Errorf("%+v", b)
	}
}

// A threshold is crossed by charges, and by an allocation that is lowered; once each.
func TestCrossings(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	stats, _ := d.work()
	charge := func(id string) {
		t.Helper()
		before := stats.Charged.Load()
		d.send(usage(id, set("quantities", map[string]any{"input_tokens": 80_000}))) // 10 credits
		d.eventually(func() bool { return stats.Charged.Load() > before }, func() string { return "charged" })
		_, err := d.folder.Once(t.Context())
		d.must(err)
	}
	crossings := func() int {
		t.Helper()
		return d.count(`SELECT count(*) FROM alerts a JOIN scopes s ON s.id = a.scope_id WHERE a.type LIKE 'budget.%' AND s.kind = 'membership'`)
	}
	charge("a") // 10 of 20
	if n := crossings(); n != 1 {
		t.Fatalf("at a half: %d", n)
	}
	d.apply(`override: {amount: "20", reason: launch, until: 2099-12-31T00:00:00Z}`, `override: {amount: "100", reason: more}`)
	_, err := d.folder.Once(t.Context())
	d.must(err)
	charge("b") // 20 of 100
	if n := crossings(); n != 1 {
		t.Fatalf("after it was raised: %d", n)
	}
	d.apply(`override: {amount: "20", reason: launch, until: 2099-12-31T00:00:00Z}`, `override: {amount: "21", reason: less}`)
	for range 2 {
		_, err = d.folder.Once(t.Context())
		d.must(err)
	}
	if n := crossings(); n != 3 { // 50 % and 80 % of 21, without a charge
		t.Fatalf("after it was lowered: %d", n)
	}
}

// What a cycle leaves goes on into the next, and is counted again when a late event charges the cycle that has ended.
func TestRollover(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	d.apply("{key: daily, cycle: daily, anchor: 2026-01-01, enforcement: notify, thresholds: [80, 100], rollover: none}",
		"{key: daily, cycle: daily, anchor: 2026-01-01, enforcement: notify, thresholds: [80, 100], rollover: unused}")
	_, err := d.pool.Exec(t.Context(), `RESET ROLE; UPDATE allocations SET valid_from = valid_from - interval '10 days'`) // what was set up today was there before
	d.must(err)
	var today time.Time
	d.must(d.pool.QueryRow(t.Context(), `SELECT c.start_at FROM cycles c JOIN accounts a USING (account_id) JOIN sections s ON s.id = c.section_id
		WHERE a.key = 'acme' AND s.key = 'console' AND c.start_at <= now() AND c.end_at > now()`).Scan(&today))
	stats, _ := d.work()
	late := func(id, cost string) {
		t.Helper()
		before := stats.Charged.Load()
		d.send(usage(id, source("litellm"), set("section", "console"), set("team", "gateway"), set("model", "gpt-4o"), set("cost_usd", cost), at(today.Add(-time.Second))))
		d.eventually(func() bool { return stats.Charged.Load() > before }, func() string { return "charged" })
		for range 2 { // the second finds nothing to do
			_, err := d.folder.Once(t.Context())
			d.must(err)
		}
	}
	late("a", "30")
	// Two whole days went unused before, of 250 each, and yesterday 220.
	first := d.balance("acme", "console", "account", "acme").Allocation
	late("b", "20")
	second := d.balance("acme", "console", "account", "acme").Allocation
	if first-second != 20_000_000 || (first-220_000_000)%250_000_000 != 0 || first <= 250_000_000 {
		t.Errorf("today has %s, and %s after another 20 were charged yesterday", first, second)
	}
	if n := d.count(`SELECT count(*) FROM (SELECT scope_id, to_cycle, amount, count(*) FROM rollovers GROUP BY 1, 2, 3 HAVING count(*) > 1) x`); n != 0 {
		t.Errorf("%d rows of the ledger are there twice", n)
	}
}
