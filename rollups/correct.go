package rollups

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
)

// corrections builds the rows of a batch of corrections: each has the event of the charge that it corrects.
func (w *Writer) corrections(ctx context.Context, log int64, bodies []*journal.Body, out *rows) error {
	here := map[journal.Origin]int{} // rows of this batch: a correction may be of a correction
	for _, body := range bodies {
		for i := range body.Entries {
			e := &body.Entries[i]
			if !e.Decision.HasOrigin() {
				continue
			}
			r := usageRow{log: log, entry: *e, path: body.Paths[e.Charge.Path], scopes: body.Scopes(nil, &e.Charge)}
			r.place = w.kinds.place(r.scopes)
			if n, ok := here[e.Origin]; ok {
				r.event, r.arrived = out.usage[n].event, out.usage[n].arrived
			} else if err := w.original(ctx, e.Origin, &r); err != nil {
				return err
			}
			here[journal.Origin{OffsetsID: log, Position: e.Position}] = len(out.usage)
			out.usage = append(out.usage, r)
		}
	}
	return nil
}

// original reads the event of a charge from ClickHouse. It is an error when it is not there yet: the batch is tried again.
func (w *Writer) original(ctx context.Context, o journal.Origin, r *usageRow) error {
	var at, arrived time.Time
	var quantities []int64
	u := &r.event
	err := w.ch.QueryRow(ctx, `SELECT time, arrived, id, source, user_key, team_key, model_key, agent, tool, operation, status, quantities, latency_ms, cost_usd, trace_id, labels
		FROM usage_events WHERE log = ? AND position = ? LIMIT 1`, uint64(o.OffsetsID), uint64(o.Position)).
		Scan(&at, &arrived, &u.ID, &u.Source, &u.User, &u.Team, &u.Model, &u.Agent, &u.Tool, &u.Operation, &u.Status, &quantities, &u.LatencyMS, &u.CostUSD, &u.TraceID, &u.Labels)
	if err != nil {
		return fmt.Errorf("the charge at %d of log %d is not in ClickHouse yet: %w", o.Position, o.OffsetsID, err)
	}
	u.TimeMicros, r.arrived = at.UnixMicro(), arrived
	for i, n := range quantities {
		u.Quantities.N[i] = max(n, -n)
	}
	return nil
}

// cloned is the event with strings of its own: the decoder's may change with its next call.
func cloned(u events.Usage) events.Usage {
	for _, s := range []*string{&u.ID, &u.Source, &u.Account, &u.Section, &u.User, &u.Team, &u.Model, &u.Operation, &u.Agent, &u.Tool, &u.Status,
		&u.Reservation, &u.TraceID, &u.CostUSD, &u.Labels} {
		*s = strings.Clone(*s)
	}
	return u
}

func clonedGuardrail(g events.Guardrail) events.Guardrail {
	for _, s := range []*string{&g.ID, &g.Source, &g.Account, &g.Section, &g.User, &g.Team, &g.Agent, &g.Model, &g.Guardrail, &g.Rule, &g.Category, &g.Stage, &g.Action,
		&g.Outcome, &g.Severity, &g.Confidence, &g.SampleHash, &g.RequestID, &g.TraceID} {
		*s = strings.Clone(*s)
	}
	return g
}
