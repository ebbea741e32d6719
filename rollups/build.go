package rollups

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/topics"
	metering "github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// usageRow is a row of usage_events.
type usageRow struct {
	entry   journal.Entry
	path    journal.Path
	scopes  []int64 // of the tree that it debits
	place   place
	event   events.Usage
	arrived time.Time
}

// guardrailRow is a row of guardrail_events.
type guardrailRow struct {
	entry   journal.Entry
	path    journal.Path
	place   place
	event   events.Guardrail
	arrived time.Time
}

// rows are what a batch inserts.
type rows struct {
	usage      []usageRow
	guardrails []guardrailRow
	zones      map[int64]*time.Location // by account
}

// expect makes room for that many events.
func (r *rows) expect(topic string, n int) {
	if topic == topics.Guardrail {
		r.guardrails = make([]guardrailRow, 0, n)
	} else {
		r.usage = make([]usageRow, 0, n)
	}
}

// place is a path by the kinds of its scopes.
type place struct {
	organization, team, membership int64 // the innermost of each; 0: none
}

// build joins the journal's decisions with the events.
func (w *Writer) build(ctx context.Context, src *source, b *batch) (*rows, error) {
	out := &rows{zones: map[int64]*time.Location{}}
	bodies, err := w.bodies(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := w.prepare(ctx, bodies, out); err != nil {
		return nil, err
	}
	if b.log.topic == metering.CorrectionsTopic {
		return out, w.corrections(ctx, bodies, out)
	}
	records, err := src.records(ctx, b.from, b.to)
	if err != nil {
		return nil, err
	}
	out.expect(b.log.topic, len(records))
	decoder := decode.Decoder{Attributes: true}
	for _, body := range bodies {
		for i := range body.Entries {
			e := &body.Entries[i]
			if e.Decision == journal.Moved {
				continue
			}
			if b.log.topic == topics.Guardrail {
				out.guardrails = append(out.guardrails, w.guardrail(&decoder, body, e, records[e.Position]))
			} else {
				out.usage = append(out.usage, w.usage(&decoder, body, e, records[e.Position]))
			}
		}
	}
	return out, nil
}

func (w *Writer) usage(d *decode.Decoder, body *journal.Body, e *journal.Entry, rec *kgo.Record) usageRow {
	r := usageRow{entry: *e}
	if rec != nil {
		// What could not be read has what could be: its row then says little more than the reason.
		_ = d.Usage(rec, &r.event)
		r.event = cloned(r.event)
		r.arrived = rec.Timestamp
	}
	if e.Decision.HasCharge() {
		r.event.TimeMicros = e.TimeMicros
		r.path, r.scopes = body.Paths[e.Charge.Path], body.Scopes(nil, &e.Charge)
		r.place = w.kinds.place(r.scopes)
	} else {
		r.path.Account = e.Account
		r.event.TimeMicros = plausible(r.event.TimeMicros, r.arrived)
	}
	return r
}

func (w *Writer) guardrail(d *decode.Decoder, body *journal.Body, e *journal.Entry, rec *kgo.Record) guardrailRow {
	r := guardrailRow{entry: *e}
	if rec != nil {
		_ = d.Guardrail(rec, &r.event)
		r.event = clonedGuardrail(r.event)
		r.arrived = rec.Timestamp
	}
	if e.Decision.HasCharge() {
		r.event.TimeMicros = e.TimeMicros
		r.path = body.Paths[e.Charge.Path]
		r.place = w.kinds.place(body.Scopes(nil, &e.Charge))
	} else {
		r.path.Account = e.Account
		r.event.TimeMicros = plausible(r.event.TimeMicros, r.arrived)
	}
	return r
}

// plausible is an event's own time, or that of its arrival where it has none that a table can hold.
func plausible(micros int64, arrived time.Time) int64 {
	if micros <= 0 || micros > maxMicros {
		return arrived.UnixMicro()
	}
	return micros
}

// maxMicros is the year 2200.
const maxMicros = 7_258_118_400_000_000

// bodies reads the journal's rows of the batch.
func (w *Writer) bodies(ctx context.Context, b *batch) ([]*journal.Body, error) {
	found, err := w.pool.Query(ctx, `SELECT from_pos, body FROM journal WHERE offsets_id = $1 AND from_pos >= $2 AND from_pos < $3 ORDER BY from_pos`, b.log.id, b.from, b.to)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (*journal.Body, error) {
		var from int64
		var data []byte
		if err := row.Scan(&from, &data); err != nil {
			return nil, err
		}
		body := &journal.Body{}
		return body, journal.Decode(data, from, body)
	})
}

// prepare looks up the kinds of all scopes and the zones of all accounts.
func (w *Writer) prepare(ctx context.Context, bodies []*journal.Body, out *rows) error {
	var scopes []int64
	for _, body := range bodies {
		for i := range body.Paths {
			scopes = append(scopes, body.Paths[i].Scopes...)
			out.zones[body.Paths[i].Account] = time.UTC
		}
		for i := range body.Entries {
			if id := body.Entries[i].Charge.Membership; id != 0 {
				scopes = append(scopes, id)
			}
		}
	}
	if err := w.kinds.learn(ctx, w, scopes); err != nil {
		return err
	}
	accounts := make([]int64, 0, len(out.zones))
	for id := range out.zones {
		accounts = append(accounts, id)
	}
	found, err := w.pool.Query(ctx, `SELECT account_id, time_zone FROM accounts WHERE account_id = ANY($1)`, accounts)
	if err != nil {
		return err
	}
	var id int64
	var zone string
	_, err = pgx.ForEachRow(found, []any{&id, &zone}, func() error {
		location, err := time.LoadLocation(zone)
		out.zones[id] = location
		return err
	})
	return err
}

// kinds remembers which scope is of what kind; that never changes.
type kinds struct {
	mu    sync.Mutex
	known map[int64]string
}

func (k *kinds) learn(ctx context.Context, w *Writer, scopes []int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var missing []int64
	for _, id := range scopes {
		if k.known[id] == "" {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	found, err := w.pool.Query(ctx, `SELECT id, kind FROM scopes WHERE id = ANY($1)`, missing)
	if err != nil {
		return fmt.Errorf("look up scopes: %w", err)
	}
	var id int64
	var kind string
	_, err = pgx.ForEachRow(found, []any{&id, &kind}, func() error { k.known[id] = kind; return nil })
	return err
}

func (k *kinds) place(scopes []int64) (p place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range scopes {
		switch k.known[id] {
		case "organization":
			p.organization = id
		case "team":
			p.team = id
		case "membership":
			p.membership = id
		}
	}
	return p
}
