package summaries_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/summaries"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/credit"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/fold"
	"github.com/shopspring/decimal"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const path = "/v1/platform/summary"

type summary struct {
	Key, State       string
	Users            int64
	AllocatedCredits string     `json:"allocated_credits"`
	AllocatedUSD     string     `json:"allocated_usd"`
	UsedCredits      string     `json:"used_credits"`
	UsedUSD          string     `json:"used_usd"`
	ForecastCredits  string     `json:"forecast_credits"`
	OpenAlerts       int64      `json:"open_alerts"`
	LastActivityAt   *time.Time `json:"last_activity_at"`
	AsOf             time.Time  `json:"as_of"`
}

type fixture struct {
	*controltest.Server
	t   *testing.T
	job *summaries.Job
}

func start(t *testing.T) *fixture {
	s := controltest.New(t, controltest.Options{})
	return &fixture{s, t, summaries.NewJob(s.Stores.Platform, slog.Default(), s.Now)}
}

func (f *fixture) once() int {
	f.t.Helper()
	n, err := f.job.Once(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fixture) list(query string) (list []summary) {
	f.t.Helper()
	var page struct{ Items []summary }
	f.As("super_admin").Want(http.StatusOK, http.MethodGet, path+query, "").Into(&page)
	return page.Items
}

func (f *fixture) of(key string) summary {
	f.t.Helper()
	for _, s := range f.list("") {
		if s.Key == key {
			return s
		}
	}
	f.t.Fatalf("%s has no summary", key)
	return summary{}
}

// expected is what balances say of an account's sections, one by one.
func (f *fixture) expected(account string) (allocated, used [2]credit.Amount) {
	f.t.Helper()
	for i, section := range []string{"copilot", "console"} {
		var has bool
		if err := f.Owner.QueryRow(f.t.Context(), `SELECT EXISTS (SELECT FROM account_sections x JOIN accounts a USING (account_id) JOIN sections s ON s.id = x.section_id WHERE a.key = $1 AND s.key = $2)`,
			account, section).Scan(&has); err != nil {
			f.t.Fatal(err)
		}
		if !has {
			continue
		}
		r, err := balances.Read(f.t.Context(), f.Metering, account, section, f.Now())
		if err != nil {
			f.t.Fatal(err)
		}
		used[i] = r.Balances[0].Used
		if r.Balances[0].Limited {
			allocated[i] = r.Balances[0].Allocation
		}
	}
	return allocated, used
}

func (f *fixture) check(when string) {
	f.t.Helper()
	for _, s := range f.list("") {
		allocated, used := f.expected(s.Key)
		if got, want := fmt.Sprintf("%s %s %s %s", s.AllocatedCredits, s.AllocatedUSD, s.UsedCredits, s.UsedUSD), fmt.Sprintf("%s %s %s %s", allocated[0], allocated[1], used[0], used[1]); got != want {
			f.t.Errorf("%s: %s has %s, want %s", when, s.Key, got, want)
		}
		var users, alerts int64
		if err := f.Owner.QueryRow(f.t.Context(), `SELECT (SELECT count(*) FROM users u WHERE u.account_id = a.account_id AND u.state = 'active'),
			(SELECT count(*) FROM alerts x WHERE x.account_id = a.account_id AND x.state = 'open') FROM accounts a WHERE key = $1`, s.Key).Scan(&users, &alerts); err != nil {
			f.t.Fatal(err)
		}
		if s.Users != users || s.OpenAlerts != alerts {
			f.t.Errorf("%s: %s has %d users and %d alerts, want %d and %d", when, s.Key, s.Users, s.OpenAlerts, users, alerts)
		}
	}
}

// What the summary says is what balances say, whatever was charged, folded and changed in between.
func TestTheSummaryIsTheBalances(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.once()
	f.check("at first")
	if s := f.of("acme"); s.LastActivityAt != nil || s.AllocatedCredits == "0.000000" || s.Users == 0 {
		t.Errorf("%+v", s)
	}
	copilot := metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5"}
	console := metering.Request{Source: "litellm", Account: "acme", Section: "console", Model: "own-mixtral"}
	f.Charge(copilot, 123_457)
	f.once()
	f.check("with a tail")
	if s := f.of("acme"); s.LastActivityAt == nil {
		t.Errorf("%+v", s)
	}
	folder := fold.New(f.Metering, slog.Default(), f.Now)
	for i := range 3 {
		f.Charge(copilot, 1_000_000_000*int64(i)+1)
		if i == 1 {
			if _, err := folder.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.Charge(console, 77_777)
	f.once()
	f.check("with a checkpoint and a tail")
	if _, err := folder.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.once(); f.of("acme").OpenAlerts == 0 {
		t.Error("no threshold was crossed: the test shows nothing of alerts")
	}
	f.check("folded")
	if n := f.once(); n != 0 {
		t.Errorf("nothing changed, and %d rows were written", n)
	}
	f.Apply(strings.Replace(demoAccount, "AMOUNT", "123456.5", 1))
	f.As("super_admin").Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:initech/sections/key:console/on", "")
	if n := f.once(); n == 0 || f.of("acme").AllocatedCredits != "123456.500000" {
		t.Errorf("%d rows: %+v", n, f.of("acme"))
	}
	f.check("changed")
}

const demoAccount = `
version: 1
accounts:
  - key: acme
    name: Acme
    time_zone: Europe/Berlin
    users: [{key: u-new, name: Newcomer}]
    sections: {copilot: {amount: "AMOUNT"}}
`

func TestForecast(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.Charge(metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5"}, 55_555_555)
	f.once()
	before := f.of("acme")
	var start, end time.Time
	if err := f.Owner.QueryRow(t.Context(), `SELECT c.start_at, c.end_at FROM cycles c JOIN accounts a USING (account_id) JOIN sections s ON s.id = c.section_id
		WHERE a.key = 'acme' AND s.key = 'copilot' AND c.start_at <= now() AND c.end_at > now()`).Scan(&start, &end); err != nil {
		t.Fatal(err)
	}
	used := decimal.RequireFromString(before.UsedCredits)
	want := used.Mul(decimal.NewFromInt(int64(end.Sub(start)))).Div(decimal.NewFromInt(int64(before.AsOf.Sub(start)))).Truncate(6).StringFixed(6)
	if before.ForecastCredits != want || used.IsZero() {
		t.Errorf("used %s, forecast %s, want %s", before.UsedCredits, before.ForecastCredits, want)
	}
	f.Advance(time.Minute)
	if f.once(); f.of("acme").ForecastCredits != before.ForecastCredits {
		t.Error("a minute later there is another forecast")
	}
	f.Advance(10 * time.Minute)
	if f.once(); !decimal.RequireFromString(f.of("acme").ForecastCredits).LessThan(decimal.RequireFromString(before.ForecastCredits)) {
		t.Errorf("ten minutes later, without usage: %s, and before %s", f.of("acme").ForecastCredits, before.ForecastCredits)
	}
}

func TestTheList(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.Charge(metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5"}, 55_555_555)
	f.once()
	if list := f.list("?sort=-used_credits&limit=1"); len(list) != 1 || list[0].Key != "acme" {
		t.Errorf("%+v", list)
	}
	if list := f.list("?state=suspended"); len(list) == 0 || list[0].State != "suspended" {
		t.Errorf("%+v", list)
	}
	if list := f.list("?q=ACM"); len(list) != 1 || list[0].Key != "acme" {
		t.Errorf("%+v", list)
	}
	for _, field := range []string{"key", "users", "allocated_credits", "allocated_usd", "used_credits", "used_usd", "forecast_credits", "forecast_usd", "open_alerts", "last_activity_at"} {
		for _, sort := range []string{field, "-" + field} {
			seen := map[string]bool{}
			cursor := ""
			for {
				var page struct {
					Items []summary
					Next  string `json:"next_cursor"`
				}
				f.As("super_admin").Want(http.StatusOK, http.MethodGet, path+"?limit=2&sort="+sort+cursor, "").Into(&page)
				for _, s := range page.Items {
					seen[s.Key] = true
				}
				if page.Next == "" {
					break
				}
				cursor = "&cursor=" + page.Next
			}
			if all := f.list(""); len(seen) != len(all) {
				t.Errorf("by %s: %d of %d accounts", sort, len(seen), len(all))
			}
		}
	}
	csv := f.As("super_admin").Want(http.StatusOK, http.MethodGet, path+".csv?q=acme", "")
	if lines := strings.Split(strings.TrimSpace(string(csv.Body)), "\n"); len(lines) != 2 || !strings.Contains(lines[0], "used_usd") {
		t.Errorf("%s", csv.Body)
	}
	f.As("account_admin:acme").Want(http.StatusForbidden, http.MethodGet, path, "")
}

// Two processes at once: one sums up, and nothing is lost.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	f := start(t)
	tx, err := f.Stores.Platform.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(hashtext('cockpit summaries'))`)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := f.once(); n != 0 {
		t.Errorf("%d rows while another process sums up", n)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := f.once(); n == 0 {
		t.Error("nothing was summed up after it")
	}
}
