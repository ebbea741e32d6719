package directory_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/internal/testkit"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func parse(t *testing.T, text string) *directory.File {
	t.Helper()
	f, err := directory.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func apply(t *testing.T, pool *pgxpool.Pool, f *directory.File, o directory.Options) []string {
	t.Helper()
	o.Author = "test"
	changes, err := directory.Apply(t.Context(), pool, f, o)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func demo(t *testing.T) (*pgxpool.Pool, *directory.File) {
	t.Helper()
	pool := testkit.Pool(t, testkit.Database(t), postgres.RoleMetering)
	f := parse(t, string(deploy.Demo))
	if changes := apply(t, pool, f, directory.Options{}); len(changes) < 50 {
		t.Fatalf("the demo made %d changes", len(changes))
	}
	return pool, f
}

func TestApplyingAgainIsNoChange(t *testing.T) {
	t.Parallel()
	pool, f := demo(t)
	for _, o := range []directory.Options{{}, {DryRun: true}, {Prune: true}} {
		if changes := apply(t, pool, f, o); len(changes) != 0 {
			t.Errorf("%+v: %q", o, changes)
		}
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	text := strings.Replace(string(deploy.Demo), "name: Acme", "name: Acme Corporation", 1)
	for range 2 {
		if changes := apply(t, pool, parse(t, text), directory.Options{DryRun: true}); len(changes) != 1 {
			t.Fatalf("%q", changes)
		}
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	t.Parallel()
	_, err := directory.Parse([]byte(`
version: 1
plans: [{key: p, cycle: hourly, anchor: 2026-02-30, enforcement: maybe, thresholds: [80, 50]}]
models: [{key: m, section: s, provider: p, prices: [{from: 2026-01-01T00:00:00Z, quantities: {input_tokens: {usd: "1e3", per: 7}}}]}]
accounts: [{key: a, name: A, time_zone: Mars, users: [{key: u}, {key: u}], sections: {copilot: {amount: "-1", members: [{user: nobody}]}}}]
`))
	for _, want := range []string{"hourly", "2026-02-30", "maybe", "80 50", "1e3", "Mars", "u: is there twice", "-1", "nobody"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %q: %v", want, err)
		}
	}
	if _, err := directory.Parse([]byte("version: 1\nacounts: []\n")); err == nil || !strings.Contains(err.Error(), "acounts") {
		t.Errorf("an unknown field: %v", err)
	}
}

func TestAPastPriceIsNotEdited(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	text := strings.Replace(string(deploy.Demo), `"1.25"`, `"1.26"`, 1)
	if _, err := directory.Apply(t.Context(), pool, parse(t, text), directory.Options{Author: "test"}); err == nil || !strings.Contains(err.Error(), "never edited") {
		t.Fatalf("%v", err)
	}
}

// What apply wrote is what metering resolves events with, and a change reaches it.
func TestMeteringResolvesWhatWasApplied(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	f, err := metering.Follow(t.Context(), pool, slog.Default(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMicro()
	usage := func(change func(*metering.Request)) metering.Resolution {
		r := metering.Request{Source: "alchemi-ai", Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5", TimeMicros: now}
		change(&r)
		var out metering.Resolution
		f.Current().Resolve(&r, &out)
		return out
	}
	for name, c := range map[string]struct {
		change func(*metering.Request)
		reason events.Reason
		flags  events.Flag
		scopes int
		user   bool
	}{
		"in the team":         {func(*metering.Request) {}, 0, 0, 4, true},
		"no team":             {func(r *metering.Request) { r.Team = "" }, 0, 0, 4, true},
		"not in the team":     {func(r *metering.Request) { r.Team = "sales" }, 0, events.TeamMismatch, 4, true},
		"unknown team":        {func(r *metering.Request) { r.Team = "x" }, 0, events.TeamMismatch, 4, true},
		"nested":              {func(r *metering.Request) { r.User, r.Team = "u-3", "language" }, 0, 0, 5, true},
		"second team":         {func(r *metering.Request) { r.User = "u-1" }, 0, 0, 4, true},
		"below the account":   {func(r *metering.Request) { r.User, r.Team = "u-5", "" }, 0, 0, 2, true},
		"a service's key":     {func(r *metering.Request) { r.User = "" }, 0, 0, 3, false},
		"unknown user":        {func(r *metering.Request) { r.User = "x" }, 0, events.Unattributed, 1, false},
		"inactive":            {func(r *metering.Request) { r.User, r.Team = "u-6", "sales" }, 0, events.UserInactive, 3, true},
		"by another identity": {func(r *metering.Request) { r.User = "gateway-grace" }, 0, 0, 4, true},
		"no membership": {func(r *metering.Request) {
			r.Section, r.Source, r.Team, r.User, r.Model = "console", "litellm", "", "u-5", "gpt-4o"
		}, 0, events.NoMembership, 1, true},
		"unknown account":       {func(r *metering.Request) { r.Account = "x" }, events.UnknownAccount, 0, 0, false},
		"unknown section":       {func(r *metering.Request) { r.Section = "x" }, events.UnknownSection, 0, 0, false},
		"foreign source":        {func(r *metering.Request) { r.Source = "litellm" }, events.SourceNotAllowed, 0, 0, false},
		"source not of account": {func(r *metering.Request) { r.Source, r.Account = "browser-plugin", "globex" }, events.SourceNotAllowed, 0, 0, false},
		"unknown model":         {func(r *metering.Request) { r.Model = "x" }, events.UnknownModel, 0, 4, true},
		"before its price":      {func(r *metering.Request) { r.TimeMicros = 1_700_000_000_000_000 }, events.UnpricedModel, 0, 4, true},
	} {
		got := usage(c.change)
		if got.Reason != c.reason || got.Flags != c.flags {
			t.Errorf("%s: %v %q, flags %v", name, got.Reason, got.Detail, got.Flags)
		} else if got.Path != nil && (depth(&got) != c.scopes || (got.User != 0) != c.user) {
			t.Errorf("%s: %+v", name, got.Path)
		}
	}
	res := usage(func(*metering.Request) {})
	start, end := res.Cycle(now)
	if now/1e6 < start || now/1e6 >= end {
		t.Errorf("now is not in its cycle [%d, %d)", start, end)
	}
	moved := strings.Replace(string(deploy.Demo), "- {user: u-4, primary: true}", "", 1)
	moved = strings.Replace(moved, "- {user: u-5}", "- {user: u-5}\n          - {user: u-4, primary: true}", 1)
	apply(t, pool, parse(t, moved), directory.Options{Prune: true})
	if err := f.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	sales := func(micros int64) int {
		got := usage(func(r *metering.Request) { r.User, r.Team, r.TimeMicros = "u-4", "sales", micros })
		return depth(&got)
	}
	if before, after := sales(now), sales(time.Now().Add(time.Second).UnixMicro()); before != 3 || after != 2 {
		t.Errorf("a move: before it %d scopes, after it %d", before, after)
	}
}

// depth is how many scopes of the tree are charged.
func depth(r *metering.Resolution) int {
	if r.Member != 0 {
		return len(r.Path.Scopes) + 1
	}
	return len(r.Path.Scopes)
}
