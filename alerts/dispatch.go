// Package alerts delivers what the fold raised: it takes alerts from the outbox in Postgres and publishes them to the
// topic alerts.v1 as CloudEvents, keyed by the account.
//
// Each is published at least once and always under the same id, so that a receiver can tell a repetition. Rows are claimed
// by their state under a lock that others skip, never by an id beyond the last one seen: ids of transactions that commit
// late would be passed over. A row is marked as sent in the transaction that claimed it, after Kafka acknowledged.
//
// Failures: while Kafka or Postgres is away, rows stay pending and are tried again.
package alerts

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/internal/faultpoint"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Topic is where alerts are published.
const Topic = "alerts.v1"

// source is the CloudEvents source of alerts.
const source = "cockpit"

const (
	claimMax   = 200
	pauseIdle  = 250 * time.Millisecond
	pauseError = time.Second
)

// Dispatcher publishes alerts. Make it with NewDispatcher.
type Dispatcher struct {
	pool     *pgxpool.Pool
	producer *kgo.Client
	log      *slog.Logger
	sent     atomic.Int64
}

// NewDispatcher returns a dispatcher; the producer must wait for all replicas.
func NewDispatcher(pool *pgxpool.Pool, producer *kgo.Client, log *slog.Logger) *Dispatcher {
	return &Dispatcher{pool: pool, producer: producer, log: log}
}

// Sent is the number of alerts that were published since the start.
func (d *Dispatcher) Sent() int64 { return d.sent.Load() }

// Run dispatches until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	for {
		n, err := d.Once(ctx)
		pause := pauseIdle
		if err != nil && ctx.Err() == nil {
			d.log.Warn("dispatching alerts", "error", err)
			pause = pauseError
		}
		if n == claimMax {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// alert is an outbox row with what it delivers.
type alert struct {
	outbox, id                 int64
	kind, account, section, as string
	data                       json.RawMessage
	created                    time.Time
}

// Once publishes what is due, and returns how many alerts that was.
func (d *Dispatcher) Once(ctx context.Context) (n int, err error) {
	err = pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT o.id, a.id, a.type, coalesce(acc.key, ''), coalesce(s.key, ''), a.state, a.data, a.created_at
			FROM alert_outbox o JOIN alerts a ON a.id = o.alert_id LEFT JOIN accounts acc ON acc.account_id = a.account_id LEFT JOIN sections s ON s.id = a.section_id
			WHERE o.state = 'pending' AND o.due_at <= now() ORDER BY o.id LIMIT $1 FOR UPDATE OF o SKIP LOCKED`, claimMax)
		if err != nil {
			return err
		}
		due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a alert, err error) {
			err = row.Scan(&a.outbox, &a.id, &a.kind, &a.account, &a.section, &a.as, &a.data, &a.created)
			return a, err
		})
		if err != nil || len(due) == 0 {
			return err
		}
		n = len(due)
		var ids []int64
		var records []*kgo.Record
		for i := range due {
			r, err := due[i].record()
			if err != nil {
				return err
			}
			ids, records = append(ids, due[i].outbox), append(records, r)
		}
		if err := d.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return fmt.Errorf("publish to %s: %w", Topic, err)
		}
		faultpoint.Hit("alerts.after-produce")
		_, err = tx.Exec(ctx, `UPDATE alert_outbox SET state = 'sent', sent_at = now() WHERE id = ANY($1)`, ids)
		return err
	})
	if err != nil {
		return 0, err
	}
	d.sent.Add(int64(n))
	return n, nil
}

// record is the alert as a CloudEvent in structured mode. Its id is the alert's on every try.
func (a *alert) record() (*kgo.Record, error) {
	id := fmt.Sprintf("alr_%d", a.id)
	value, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": id, "source": source, "type": a.kind, "time": a.created.UTC(), "datacontenttype": "application/json",
		"data": map[string]any{"account": a.account, "section": a.section, "alert": a.data},
	})
	if err != nil {
		return nil, fmt.Errorf("alert %s: %w", id, err)
	}
	return &kgo.Record{Topic: Topic, Key: []byte(a.account), Value: value,
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}}}, nil
}
