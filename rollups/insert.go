package rollups

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/alchemi/cockpit/internal/faultpoint"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/shopspring/decimal"
	"golang.org/x/sync/errgroup"
)

// insert writes a batch's rows to each table under its token.
func (w *Writer) insert(ctx context.Context, b *batch, r *rows) error {
	u := newUsageSums()
	for i := range r.usage {
		r.usage[i].addTo(u, r.zones[r.usage[i].path.Account])
	}
	guardrails := map[dims]*sums{}
	for i := range r.guardrails {
		r.guardrails[i].addTo(guardrails)
	}
	// Side by side, because what an insert of few rows costs is waiting for the disk; each has a token of its own.
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range []struct {
		table string
		rows  int
		row   func(i int) []any
	}{
		{"usage_events", len(r.usage), func(i int) []any { return r.usage[i].values() }},
		sorted("usage_quarters", u.quarters, func(d dims, s *sums) []any { return append(d.usage(time.Unix(d.bucket, 0).UTC()), s.values()...) }),
		sorted("usage_days", u.days, func(d dims, s *sums) []any { return append(d.usage(date(d.bucket)), s.values()...) }),
		sorted("usage_model_days", u.models, func(d dims, s *sums) []any {
			return append([]any{uint64(d.account), uint64(d.section), date(d.bucket), uint64(d.model)}, s.values()...)
		}),
		sorted("usage_user_days", u.users, func(d dims, s *sums) []any {
			return []any{uint64(d.account), uint64(d.section), date(d.bucket), uint64(d.user), uint64(d.model), s.events, s.credits, s.cost}
		}),
		{"guardrail_events", len(r.guardrails), func(i int) []any { return r.guardrails[i].values() }},
		sorted("guardrail_quarters", guardrails, func(d dims, s *sums) []any {
			return []any{uint64(d.account), uint64(d.section), time.Unix(d.bucket, 0).UTC(), d.guardrail, d.category, d.action, d.severity, s.events, s.quantities[0]}
		}),
	} {
		g.Go(func() error { return w.insertTable(ctx, b, t.table, t.rows, t.row) })
	}
	return g.Wait()
}

// token is what ClickHouse recognizes a repeated insert by, with the table before it: the batch's number, logs and ranges. The
// number lets tables that were emptied be written again: ClickHouse remembers what it had.
func (b *batch) token() string {
	parts := make([]string, len(b.spans))
	for i, s := range b.spans {
		parts[i] = fmt.Sprintf("%d/%d-%d", s.log.id, s.from, s.to)
	}
	spans := strings.Join(parts, ",")
	if b.number < 0 { // of a process that gave batches no numbers
		return spans
	}
	return fmt.Sprintf("%d/%s", b.number, spans)
}

// sorted gives a table's rows in an order that depends on nothing but the rows.
func sorted(table string, m map[dims]*sums, values func(dims, *sums) []any) (t struct {
	table string
	rows  int
	row   func(i int) []any
}) {
	keys := slices.SortedFunc(maps.Keys(m), dims.compare)
	t.table, t.rows, t.row = table, len(keys), func(i int) []any { return values(keys[i], m[keys[i]]) }
	return t
}

func (w *Writer) insertTable(ctx context.Context, b *batch, table string, n int, row func(i int) []any) error {
	if n == 0 {
		return nil
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token": table + "/" + b.token(), "async_insert": 0, "insert_deduplicate": 1,
		"max_partitions_per_insert_block": 0})) // events of many months are no mistake: whoever sends them sets their time
	insert, err := w.ch.PrepareBatch(ctx, "INSERT INTO "+table)
	if err != nil {
		return fmt.Errorf("insert into %s: %w", table, err)
	}
	defer insert.Close()
	for i := range n {
		if err := insert.Append(row(i)...); err != nil {
			return fmt.Errorf("insert into %s: %w", table, err)
		}
	}
	if err := insert.Send(); err != nil {
		return fmt.Errorf("insert into %s: %w", table, err)
	}
	faultpoint.Hit("rollups.after-insert")
	return nil
}

// dims is what a sum is by. Fields that a table does not have are zero.
type dims struct {
	account, section, bucket, organization, team, model, user int64
	agent, tool, operation, status, source                    string
	guardrail, category, action, severity                     string
}

func (d dims) compare(o dims) int {
	return cmp.Or(cmp.Compare(d.account, o.account), cmp.Compare(d.section, o.section), cmp.Compare(d.bucket, o.bucket), cmp.Compare(d.organization, o.organization),
		cmp.Compare(d.team, o.team), cmp.Compare(d.model, o.model), cmp.Compare(d.user, o.user), strings.Compare(d.agent, o.agent), strings.Compare(d.tool, o.tool),
		strings.Compare(d.operation, o.operation), strings.Compare(d.status, o.status), strings.Compare(d.source, o.source), strings.Compare(d.guardrail, o.guardrail),
		strings.Compare(d.category, o.category), strings.Compare(d.action, o.action), strings.Compare(d.severity, o.severity))
}

func (d dims) usage(bucket time.Time) []any {
	return []any{uint64(d.account), uint64(d.section), bucket, uint64(d.organization), uint64(d.team), uint64(d.model), d.agent, d.tool, d.operation, d.status, d.source}
}

// sums are what rollups add up.
type sums struct {
	events, latency int64
	credits, cost   decimal.Decimal
	quantities      [events.NumQuantities]int64
}

func (s *sums) values() []any {
	v := []any{s.events, s.credits, s.cost, s.latency}
	for _, q := range s.quantities {
		v = append(v, q)
	}
	return v
}

// Decimals of the journal's integers.
func credits(micros int64) decimal.Decimal { return decimal.New(micros, -6) }
func cost(pico int64) decimal.Decimal      { return decimal.New(pico, -12) }

const quarter = 15 * 60 // seconds

// usageSums are the rows of each usage rollup.
type usageSums struct{ quarters, days, models, users map[dims]*sums }

func newUsageSums() *usageSums {
	return &usageSums{quarters: map[dims]*sums{}, days: map[dims]*sums{}, models: map[dims]*sums{}, users: map[dims]*sums{}}
}

// addTo adds a charged, observed or corrected event to the rollups.
func (r *usageRow) addTo(u *usageSums, zone *time.Location) {
	if !r.entry.Decision.HasCharge() {
		return
	}
	c, at := &r.entry.Charge, r.entry.TimeMicros/1e6
	d := dims{account: r.path.Account, section: r.path.Section, bucket: at - at%quarter, organization: r.place.organization, team: r.place.team, model: c.Model,
		agent: r.event.Agent, tool: r.event.Tool, operation: r.event.Operation, status: r.event.Status, source: r.event.Source}
	r.add(u.quarters, d)
	local := time.Unix(at, 0).In(zone)
	d.bucket = time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC).Unix()
	r.add(u.days, d)
	r.add(u.models, dims{account: d.account, section: d.section, bucket: d.bucket, model: d.model})
	r.add(u.users, dims{account: d.account, section: d.section, bucket: d.bucket, user: r.entry.Charge.User, model: d.model})
}

func (r *usageRow) add(to map[dims]*sums, d dims) {
	s := to[d]
	if s == nil {
		s = &sums{}
		to[d] = s
	}
	sign := r.sign()
	s.events += sign
	s.latency += sign * r.event.LatencyMS
	s.credits = s.credits.Add(credits(r.entry.Charge.Credits))
	s.cost = s.cost.Add(cost(r.entry.Charge.Cost))
	for i, n := range r.event.Quantities.N {
		s.quantities[i] += sign * n
	}
}

// sign is -1 for a reversal, which takes its event back.
func (r *usageRow) sign() int64 {
	if r.entry.Decision == journal.Reversal {
		return -1
	}
	return 1
}

func (r *guardrailRow) addTo(to map[dims]*sums) {
	if !r.entry.Decision.HasCharge() {
		return
	}
	at := r.entry.TimeMicros / 1e6
	d := dims{account: r.path.Account, section: r.path.Section, bucket: at - at%quarter,
		guardrail: r.event.Guardrail, category: r.event.Category, action: r.event.Action, severity: r.event.Severity}
	if to[d] == nil {
		to[d] = &sums{}
	}
	to[d].events++
	to[d].quantities[0] += r.event.MatchCount
}

func date(unix int64) time.Time { return time.Unix(unix, 0).UTC() }

// values are the row in the order of usage_events' columns.
func (r *usageRow) values() []any {
	e, c, u := &r.entry, &r.entry.Charge, &r.event
	quantities := make([]int64, events.NumQuantities)
	for i, n := range u.Quantities.N {
		quantities[i] = r.sign() * n
	}
	return []any{uint64(r.log), uint64(e.Position), e.Decision.String(), e.Reason.String(), time.UnixMicro(u.TimeMicros), r.arrived,
		uint64(r.path.Account), uint64(r.path.Section), uint64(r.place.organization), uint64(r.place.team), uint64(r.place.membership), uint64(e.Charge.User),
		unsigned(r.scopes), time.Unix(r.path.CycleStart, 0), uint64(c.Model), uint64(c.Price), uint64(c.Factor), uint32(c.Flags), credits(c.Credits), cost(c.Cost),
		u.ID, u.Source, u.User, u.Team, u.Model, u.Agent, u.Tool, u.Operation, u.Status, quantities, u.LatencyMS, u.CostUSD, u.Reservation, u.TraceID, u.Labels, u.Attributes}
}

// values are the row in the order of guardrail_events' columns.
func (r *guardrailRow) values() []any {
	e, g := &r.entry, &r.event
	return []any{uint64(r.log), uint64(e.Position), e.Decision.String(), e.Reason.String(), time.UnixMicro(g.TimeMicros), r.arrived,
		uint64(r.path.Account), uint64(r.path.Section), uint64(r.place.organization), uint64(r.place.team), uint64(e.Charge.User),
		g.ID, g.Source, g.User, g.Team, g.Agent, g.Model, g.Guardrail, g.GuardrailVersion, g.Rule, g.Category, g.Stage, g.Action, g.Outcome, g.Severity,
		g.Confidence, g.MatchCount, g.LatencyMS, g.SampleHash, g.RequestID, g.TraceID, g.Attributes}
}

func unsigned(ids []int64) []uint64 {
	out := make([]uint64, len(ids))
	for i, id := range ids {
		out[i] = uint64(id)
	}
	return out
}
