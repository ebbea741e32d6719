package correct

import (
	"context"
	"fmt"

	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/schemas/events"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
)

// charges reads the charge that counts of every event in question: its own, or the last correction's.
func (c *Corrector) charges(ctx context.Context, r Request) ([]last, error) {
	// Corrections come last, in their order.
	rows, err := c.Pool.Query(ctx, `SELECT o.id, o.topic, j.from_pos, j.body FROM journal j JOIN offsets o ON o.id = j.offsets_id
		WHERE j.kind IN ('batch', 'correction') AND j.max_time >= $1 AND j.min_time < $2 AND o.topic <> $3
		ORDER BY j.kind = 'correction', o.id, j.from_pos`, r.From, r.To, "guardrail.v1")
	if err != nil {
		return nil, fmt.Errorf("read charges: %w", err)
	}
	var found []last
	place := map[[16]byte]int{}
	var log, from int64
	var topic string
	var data []byte
	var b body.Body
	_, err = pgx.ForEachRow(rows, []any{&log, &topic, &from, &data}, func() error {
		if err := body.Decode(data, from, &b); err != nil {
			return err
		}
		for i := range b.Entries {
			e := &b.Entries[i]
			at := body.Origin{OffsetsID: log, Position: e.Position}
			switch {
			case e.Decision == body.Charged && topic != journal.CorrectionsTopic && r.below(at) && r.covers(e, &b.Paths[e.Charge.Path]):
				place[e.Identity] = len(found)
				found = append(found, last{origin: at, at: at, entry: *e, path: clonePath(&b.Paths[e.Charge.Path])})
			case e.Decision == body.Recharge:
				if p, ok := place[e.Identity]; ok {
					found[p].at, found[p].entry, found[p].path = at, *e, clonePath(&b.Paths[e.Charge.Path])
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read charges: %w", err)
	}
	// The index of a path means nothing outside its body.
	for i := range found {
		found[i].entry.Charge.Path = 0
	}
	return found, nil
}

func clonePath(p *body.Path) body.Path {
	c := *p
	c.Scopes = append([]int64(nil), p.Scopes...)
	return c
}

// covers says whether a charge is in question.
func (r *Request) covers(e *body.Entry, p *body.Path) bool {
	at := e.TimeMicros
	return at >= r.From.UnixMicro() && at < r.To.UnixMicro() && (r.Account == 0 || p.Account == r.Account) && (r.Section == 0 || p.Section == r.Section) &&
		(r.Model == 0 || e.Charge.Model == r.Model) && (r.What != Whom || e.Charge.Flags&(events.Unattributed|events.TeamMismatch|events.NoMembership) != 0)
}

func (r *Request) below(at body.Origin) bool {
	return r.Below == nil || at.Position < r.Below[at.OffsetsID]
}
