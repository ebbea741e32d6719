package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/control/pause"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	exportMax     = 200       // entries of one chain that are handed out at once
	exportBytes   = 8 << 20   // or that many bytes
	eventBytes    = 900 << 10 // of an event; Kafka takes 1 MiB. Changes that are longer are told by their hash
	chainsMax     = 100       // chains of one round
	pauseExport   = time.Second
	pauseFollower = 2 * time.Second // between looks whether the exporting process has gone
	backoffMax    = 5 * time.Minute
)

// Type is the type of the CloudEvents that sealed entries leave as.
const Type = "cockpit.audit.v1"

// Event is a sealed entry on its way out.
type Event struct {
	ID    string // the same on every try
	Chain int64
	Seq   int64
	Body  []byte // a CloudEvent
}

// Sink takes events, all of one chain and in order. It returns how many of them it has for good, even with an error.
type Sink interface {
	Deliver(ctx context.Context, events []Event) (int, error)
}

// Exporter hands every sealed entry to a sink, in the order of its chain, at least once. Where it stands is in Postgres.
type Exporter struct {
	pool *pgxpool.Pool
	name string // of the sink, in audit_exports
	sink Sink
	log  *slog.Logger
	sent atomic.Int64
}

// NewExporter returns an exporter. What was handed out is remembered under the name.
func NewExporter(pool *pgxpool.Pool, name string, sink Sink, log *slog.Logger) *Exporter {
	return &Exporter{pool: pool, name: name, sink: sink, log: log}
}

// Sent is the number of entries that were handed out since the start.
func (x *Exporter) Sent() int64 { return x.sent.Load() }

// Run exports until ctx ends. A sink that fails is tried again, later each time.
func (x *Exporter) Run(ctx context.Context) error {
	for backoff := pauseError; ctx.Err() == nil; {
		sent := x.Sent()
		err := x.lead(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if x.Sent() > sent {
			backoff = pauseError
		}
		x.log.Warn("exporting the audit log", "sink", x.name, "error", err, "again_in", backoff)
		pause.For(ctx, backoff)
		backoff = min(2*backoff, backoffMax)
	}
	return nil
}

// lead exports while no other process does, to this sink. No transaction is open while a sink takes its time.
func (x *Exporter) lead(ctx context.Context) error {
	mine, err := postgres.Alone(ctx, x.pool, "cockpit audit export "+x.name, func(conn *pgxpool.Conn) error {
		for ctx.Err() == nil {
			if err := conn.Ping(ctx); err != nil {
				return err
			}
			n, err := x.Once(ctx)
			if err != nil {
				return err
			}
			if n == 0 {
				pause.For(ctx, pauseExport)
			}
		}
		return nil
	})
	if err == nil && !mine {
		pause.For(ctx, pauseFollower)
	}
	return err
}

// Once hands out what there is, at most one portion of each chain, and returns how many entries that was. A chain whose
// entries can't be read or delivered does not hold up the others.
func (x *Exporter) Once(ctx context.Context) (n int, err error) {
	rows, err := x.pool.Query(ctx, `SELECT h.chain, coalesce(x.seq, 0) FROM audit_heads h LEFT JOIN audit_exports x ON x.sink = $1 AND x.chain = h.chain
		WHERE h.seq > coalesce(x.seq, 0) ORDER BY h.chain LIMIT $2`, x.name, chainsMax)
	if err != nil {
		return 0, err
	}
	type place struct{ Chain, Seq int64 }
	behind, err := pgx.CollectRows(rows, pgx.RowToStructByPos[place])
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, p := range behind {
		events, err := x.portion(ctx, p.Chain, p.Seq)
		delivered := 0
		if err == nil {
			delivered, err = x.sink.Deliver(ctx, events)
		}
		if delivered > 0 {
			err = errors.Join(err, x.move(ctx, p.Chain, events[delivered-1].Seq))
		}
		n += delivered
		if err != nil {
			errs = append(errs, fmt.Errorf("chain %d: %w", p.Chain, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	x.sent.Add(int64(n))
	return n, errors.Join(errs...)
}

func (x *Exporter) move(ctx context.Context, chain, seq int64) error {
	_, err := x.pool.Exec(ctx, `INSERT INTO audit_exports AS x (sink, chain, seq) VALUES ($1, $2, $3)
		ON CONFLICT (sink, chain) DO UPDATE SET seq = excluded.seq WHERE x.seq < excluded.seq`, x.name, chain, seq)
	return err
}

// portion are the next events of a chain, each with the chain's signed head as it is now.
func (x *Exporter) portion(ctx context.Context, chain, after int64) (events []Event, err error) {
	err = pgx.BeginTxFunc(ctx, x.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		heads, err := tx.Query(ctx, `SELECT chain, seq, hash, signature, signed_at FROM audit_heads WHERE chain = $1`, chain)
		if err != nil {
			return err
		}
		head, err := pgx.CollectExactlyOneRow(heads, scanHead)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT l.seq, l.hash, (SELECT p.hash FROM audit_seals p WHERE p.chain = l.chain AND p.seq = l.seq - 1), `+columns+names+` FROM audit_seals l JOIN audit_entries e ON e.id = l.entry_id`+named+`
			WHERE l.chain = $1 AND l.seq > $2 ORDER BY l.seq LIMIT $3`, chain, after, exportMax)
		if err != nil {
			return err
		}
		defer rows.Close()
		for size := 0; size < exportBytes && rows.Next(); {
			event, err := exported(rows, head)
			if err != nil {
				return err
			}
			if event.Seq != after+1+int64(len(events)) {
				return fmt.Errorf("the entry at %d is not there; run `cockpit audit verify`", after+1+int64(len(events)))
			}
			events, size = append(events, *event), size+len(event.Body)
		}
		rows.Close()
		return rows.Err()
	})
	if err == nil && len(events) == 0 {
		err = fmt.Errorf("the entry at %d is not there; run `cockpit audit verify`", after+1)
	}
	return events, err
}

// exported is the event of the seal and entry that rows stands on.
func exported(rows pgx.Rows, head *Head) (*Event, error) {
	var seq int64
	var hash, previous []byte
	var r row
	var account, section string
	if err := rows.Scan(append(append([]any{&seq, &hash, &previous}, r.targets()...), &account, &section)...); err != nil {
		return nil, err
	}
	record, err := r.stored().record(account, section)
	if err != nil {
		return nil, err
	}
	e := &Event{ID: fmt.Sprintf("seal_%d_%d", head.Chain, seq), Chain: head.Chain, Seq: seq}
	data := sealed{Chain: head.Chain, Seq: seq, Hash: hash, Previous: previous, Entry: &record, Head: head}
	if e.Body, err = data.body(e.ID); err == nil && len(e.Body) > eventBytes {
		sum := sha256.Sum256(r.changes)
		record.Changes, data.ChangesSHA256, data.ChangesBytes = []Change{}, sum[:], len(r.changes)
		e.Body, err = data.body(e.ID)
	}
	return e, err
}

// sealed is the data of an event. Bytes are in base64.
type sealed struct {
	Chain         int64   `json:"chain"`
	Seq           int64   `json:"seq"`
	Hash          []byte  `json:"hash"`
	Previous      []byte  `json:"previous_hash,omitempty"` // absent of the first
	Entry         *Record `json:"entry"`
	ChangesSHA256 []byte  `json:"changes_sha256,omitempty"` // of changes that are too long for an event
	ChangesBytes  int     `json:"changes_bytes,omitempty"`
	Head          *Head   `json:"head"`
}

func (s *sealed) body(id string) ([]byte, error) {
	var b bytes.Buffer
	err := json.NewEncoder(&b).Encode(map[string]any{"specversion": "1.0", "id": id, "source": "cockpit", "type": Type, "subject": s.Entry.ID, "time": s.Entry.At,
		"datacontenttype": "application/json", "data": s})
	return bytes.TrimRight(b.Bytes(), "\n"), err
}
