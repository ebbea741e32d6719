package rollups

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/topics"
	metering "github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// usageRow is a row of usage_events.
type usageRow struct {
	log     int64
	entry   journal.Entry
	path    journal.Path
	scopes  []int64 // of the tree that it debits
	place   place
	event   events.Usage
	arrived time.Time
}

// guardrailRow is a row of guardrail_events.
type guardrailRow struct {
	log     int64
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

// expect makes room for a row of each event.
func (r *rows) expect(b *batch, records []map[int64]*kgo.Record) {
	usage, guardrails := 0, 0
	for i, s := range b.spans {
		if s.log.topic == topics.Guardrail {
			guardrails += len(records[i])
		} else {
			usage += len(records[i])
		}
	}
	r.usage, r.guardrails = make([]usageRow, 0, usage), make([]guardrailRow, 0, guardrails)
}

// place is a path by the kinds of its scopes.
type place struct {
	organization, team, membership int64 // the innermost of each; 0: none
}

// build joins the journal's decisions with the events: rows in the order of logs and positions.
func (w *Writer) build(ctx context.Context, b *batch) (*rows, error) {
	out := &rows{zones: map[int64]*time.Location{}}
	bodies, err := w.bodies(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := w.prepare(ctx, bodies, out); err != nil {
		return nil, err
	}
	records, err := w.records(ctx, b)
	if err != nil {
		return nil, err
	}
	out.expect(b, records)
	decoder := decode.Decoder{Attributes: true}
	for i := range b.spans {
		log := &b.spans[i].log
		switch log.topic {
		case metering.CorrectionsTopic:
			err = w.corrections(ctx, log.id, bodies[i], out)
		case topics.Guardrail:
			for body, e := range decided(bodies[i]) {
				out.guardrails = append(out.guardrails, w.guardrail(&decoder, log.id, body, e, records[i][e.Position]))
			}
		default:
			for body, e := range decided(bodies[i]) {
				out.usage = append(out.usage, w.usage(&decoder, log.id, body, e, records[i][e.Position]))
			}
		}
		if err != nil {
			return nil, err
		}
		records[i] = nil
	}
	return out, nil
}

// decided are the entries of a log that are final: one that was moved is decided at its home.
func decided(bodies []*journal.Body) iter.Seq2[*journal.Body, *journal.Entry] {
	return func(yield func(*journal.Body, *journal.Entry) bool) {
		for _, body := range bodies {
			for i := range body.Entries {
				if e := &body.Entries[i]; e.Decision != journal.Moved && !yield(body, e) {
					return
				}
			}
		}
	}
}

// records reads the events of each span, side by side.
func (w *Writer) records(ctx context.Context, b *batch) ([]map[int64]*kgo.Record, error) {
	found := make([]map[int64]*kgo.Record, len(b.spans))
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range b.spans {
		if s.log.topic == metering.CorrectionsTopic {
			continue
		}
		src := w.sources[s.log.id]
		if src == nil {
			src = &source{opts: w.kafka, log: s.log}
			w.sources[s.log.id] = src
		}
		g.Go(func() (err error) {
			found[i], err = src.records(ctx, s.from, s.to)
			return err
		})
	}
	return found, g.Wait()
}

func (w *Writer) usage(d *decode.Decoder, log int64, body *journal.Body, e *journal.Entry, rec *kgo.Record) usageRow {
	r := usageRow{log: log, entry: *e}
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

func (w *Writer) guardrail(d *decode.Decoder, log int64, body *journal.Body, e *journal.Entry, rec *kgo.Record) guardrailRow {
	r := guardrailRow{log: log, entry: *e}
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

// bodies reads the journal's rows of each span.
func (w *Writer) bodies(ctx context.Context, b *batch) ([][]*journal.Body, error) {
	logs, from, to := make([]int64, len(b.spans)), make([]int64, len(b.spans)), make([]int64, len(b.spans))
	for i, s := range b.spans {
		logs[i], from[i], to[i] = s.log.id, s.from, s.to
	}
	found, err := w.pool.Query(ctx, `SELECT s.n - 1, j.from_pos, j.body FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY s (id, from_pos, to_pos, n)
		JOIN journal j ON j.offsets_id = s.id AND j.from_pos >= s.from_pos AND j.from_pos < s.to_pos ORDER BY s.n, j.from_pos`, logs, from, to)
	if err != nil {
		return nil, err
	}
	bodies := make([][]*journal.Body, len(b.spans))
	var n, position int64
	var data []byte
	_, err = pgx.ForEachRow(found, []any{&n, &position, &data}, func() error {
		body := &journal.Body{}
		bodies[n] = append(bodies[n], body)
		return journal.Decode(data, position, body)
	})
	return bodies, err
}

// prepare looks up the kinds of all scopes and the zones of all accounts.
func (w *Writer) prepare(ctx context.Context, bodies [][]*journal.Body, out *rows) error {
	var scopes []int64
	for _, body := range slices.Concat(bodies...) {
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
