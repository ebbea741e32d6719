package rollups

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/shopspring/decimal"
)

// Reconcile adds one account's events of a day up, as the writer does, and returns an error where the rollups by day say
// something else. day is midnight in the account's time zone.
func Reconcile(ctx context.Context, ch driver.Conn, account int64, day time.Time) error {
	want := newUsageSums()
	if err := eventsOf(ctx, ch, account, day, func(r *usageRow) { r.addTo(want, day.Location()) }); err != nil {
		return fmt.Errorf("reconcile account %d: %w", account, err)
	}
	for _, t := range []struct {
		sums map[dims]*sums
		by   []string
		dims func(d dims) []string
	}{
		{want.models, []string{"section", "model"}, func(d dims) []string { return []string{id(d.section), id(d.model)} }},
		{want.days, dimensions, func(d dims) []string {
			return []string{id(d.section), id(d.organization), id(d.team), id(d.model), d.agent, d.tool, d.operation, d.status, d.source}
		}},
	} {
		got, err := Usage(ctx, ch, Query{Account: account, From: day, To: day.AddDate(0, 0, 1), Grain: Days, By: t.by})
		if err != nil {
			return err
		}
		found := make(map[string]Sum, len(got))
		for _, s := range got {
			found[fmt.Sprintf("%q", s.By)] = s
		}
		if len(found) != len(t.sums) {
			return fmt.Errorf("account %d on %s by %v: %d rollups, and events for %d", account, day.Format(time.DateOnly), t.by, len(found), len(t.sums))
		}
		for d, w := range t.sums {
			key := fmt.Sprintf("%q", t.dims(d))
			q := w.quantities
			tokens := q[events.InputTokens] + q[events.OutputTokens] + q[events.CachedInputTokens] + q[events.CacheWriteTokens] + q[events.ReasoningTokens]
			if g := found[key]; g.Events != w.events || !g.Credits.Equal(w.credits) || !g.Cost.Equal(w.cost) || g.Tokens != tokens {
				return fmt.Errorf("account %d on %s, %s: the rollup is %+v, and the events add up to %+v", account, day.Format(time.DateOnly), key, g, *w)
			}
		}
	}
	return nil
}

func id(n int64) string { return strconv.FormatInt(n, 10) }

// eventsOf reads one account's charged and observed events of a day back.
func eventsOf(ctx context.Context, ch driver.Conn, account int64, day time.Time, f func(*usageRow)) error {
	rows, err := ch.Query(ctx, `SELECT decision, time, section, organization, team, user, model, credits, cost, agent, tool, operation, status, source, quantities, latency_ms
		FROM usage_events WHERE account = ? AND time >= ? AND time < ?`, uint64(account), day.UTC(), day.AddDate(0, 0, 1).UTC())
	if err != nil {
		return err
	}
	defer rows.Close()
	var decision string
	var at time.Time
	var section, organization, team, user, model uint64
	var credits, cost decimal.Decimal
	var quantities []int64
	for rows.Next() {
		r := usageRow{}
		u := &r.event
		if err := rows.Scan(&decision, &at, &section, &organization, &team, &user, &model, &credits, &cost, &u.Agent, &u.Tool, &u.Operation, &u.Status, &u.Source, &quantities, &u.LatencyMS); err != nil {
			return err
		}
		for _, d := range []journal.Decision{journal.Charged, journal.Observed, journal.Reversal, journal.Recharge} {
			if d.String() == decision {
				r.entry.Decision = d
			}
		}
		r.path.Account, r.path.Section, r.entry.Charge.User = account, int64(section), int64(user)
		r.place.organization, r.place.team = int64(organization), int64(team)
		r.entry.TimeMicros, r.entry.Charge.Model = at.UnixMicro(), int64(model)
		r.entry.Charge.Credits, r.entry.Charge.Cost = credits.Shift(6).IntPart(), cost.Shift(12).IntPart()
		for i, n := range quantities {
			u.Quantities.N[i] = max(n, -n)
		}
		f(&r)
	}
	return rows.Err()
}
