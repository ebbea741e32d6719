//go:build synctests

package schedules

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	control "github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// begin is when schedules begin: between two days of Berlin and of New York, so that events of the last 24 hours are of
// several cycles, and of two prices.
var begin = time.Date(2026, 6, 15, 18, 0, 0, 0, time.UTC)

// dearer is when the model odd becomes dearer.
var dearer = begin.Add(-9 * time.Hour)

const file = `
version: 1
sections: [{key: copilot, unit: credits, models: platform}]
sources:
  - {key: app, sections: [copilot], accounts: all, mode: meter}
  - {key: watch, sections: [copilot], accounts: all, mode: observe}
models:
  - {key: odd, section: copilot, provider: p, prices: [
      {from: 2026-01-01T00:00:00Z, quantities: {input_tokens: {usd: "0.005000000049", per: 1000000}, output_tokens: {usd: "1.2345678901", per: 1000}}},
      {from: 2026-06-15T09:00:00Z, quantities: {input_tokens: {usd: "0.015", per: 1000}, output_tokens: {usd: "0.000000000123", per: 1}}}]}
  - {key: even, section: copilot, provider: p, prices: [{from: 2026-01-01T00:00:00Z, quantities: {input_tokens: {usd: "1.25", per: 1000000}, output_tokens: {usd: "10", per: 1000000}}}]}
plans: [{key: daily, cycle: daily, anchor: 2026-01-01, enforcement: notify, thresholds: [80], rollover: none}]
accounts:
  - key: acme
    name: Acme
    time_zone: Europe/Berlin
    users: [{key: ada, name: Ada}, {key: bob, name: Bob}]
    sections:
      copilot:
        plan: daily
        amount: "1000"
        organizations: [{key: eng, name: Engineering, teams: [{key: core, members: [{user: ada, primary: true}, {user: bob, primary: true}]}]}]
        teams: [{key: ops, members: [{user: bob}]}]
  - key: beta
    name: Beta
    time_zone: America/New_York
    users: [{key: cy, name: Cy}]
    sections: {copilot: {plan: daily, amount: "1000", teams: [{key: solo, members: [{user: cy, primary: true}]}]}}
`

// ground is what all schedules stand on: a directory as it was applied and loaded. It never changes.
type ground struct {
	snapshot *directory.Snapshot
	hasher   *identity.Hasher
	scopes   map[string]int64 // account/kind/key, of memberships account/membership/user@parent
}

// Current implements worker.Directory.
func (g *ground) Current() *directory.Snapshot { return g.snapshot }

var (
	groundOnce sync.Once
	theGround  *ground
)

// stand loads the directory through the real Postgres, once.
func stand(t *testing.T) *ground {
	t.Helper()
	groundOnce.Do(func() {
		g := &ground{hasher: identity.NewHasher([16]byte{7}), scopes: map[string]int64{}}
		pool := testkit.Pool(t, testkit.Database(t), postgres.RoleMetering)
		f, err := control.Parse([]byte(file))
		if err == nil {
			_, err = control.Apply(t.Context(), pool, f, control.Options{Author: "test"})
		}
		must(t, err)
		follower, err := directory.Follow(t.Context(), pool, slog.Default(), time.Second)
		must(t, err)
		g.snapshot = follower.Current()
		rows, err := pool.Query(t.Context(), `SELECT a.key || '/' || s.kind || '/' || coalesce(s.key, u.key, a.key) || coalesce('@' || q.key, ''), s.id FROM scopes s
			JOIN accounts a USING (account_id) LEFT JOIN users u ON u.id = s.user_id
			LEFT JOIN scope_parents p ON p.scope_id = s.id AND s.kind = 'membership' LEFT JOIN scopes q ON q.id = p.parent_id`)
		must(t, err)
		var name string
		var id int64
		_, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error { g.scopes[name] = id; return nil })
		must(t, err)
		theGround = g
	})
	if theGround == nil {
		t.Fatal("the directory could not be loaded; another test says why")
	}
	return theGround
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
