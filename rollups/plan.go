package rollups

import (
	"context"

	"github.com/alchemi/cockpit/metering/journal"
	"github.com/jackc/pgx/v5"
)

const (
	batchEvents = 16_384 // a batch ends with the journal row that reaches it
	batchRows   = 500    // of each log, at most
)

// logRow is a log as Postgres knows it.
type logRow struct {
	id        int64
	topic     string
	topicID   string
	partition int32
}

// span is a range of a log.
type span struct {
	log      logRow
	from, to int64
}

// batch is what is written in one go: a span of each log that has something, in the order of the logs. Corrections are
// batches of their own, because they need the events that they correct to be in ClickHouse.
type batch struct {
	number int64 // never used before
	spans  []span
}

// full says whether there may be more to write than is in the batch.
func (b *batch) full() bool {
	events := int64(0)
	for _, s := range b.spans {
		events += s.to - s.from
	}
	return events >= batchEvents
}

// plan returns what is to be written: batches that were planned and not finished, or else a new one, which it persists.
// Events and corrections each have at most one new batch, and none before the ones before it are finished: so each log is
// written in order.
func (w *Writer) plan(ctx context.Context) ([]batch, error) {
	var batches []batch
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		// Journal rows are taken from all logs in turn, each log's from where it was planned to.
		if _, err := tx.Exec(ctx, `WITH reached AS (
				SELECT o.id, o.topic = $3 AS corrections, coalesce(max(b.to_pos), 0) AS pos, coalesce(bool_and(b.state = 'done'), true) AS finished
				FROM offsets o LEFT JOIN rollup_batches b ON b.offsets_id = o.id GROUP BY o.id
			), ahead AS (
				SELECT r.id, r.corrections, j.from_pos, j.to_pos, sum(j.to_pos - j.from_pos) OVER (PARTITION BY r.id ORDER BY j.from_pos) AS turn
				FROM reached r JOIN LATERAL (SELECT from_pos, to_pos FROM journal j WHERE j.offsets_id = r.id AND j.from_pos >= r.pos
					ORDER BY j.from_pos LIMIT $2) j ON true
				WHERE NOT EXISTS (SELECT FROM reached u WHERE u.corrections = r.corrections AND NOT u.finished)
			), taken AS (
				SELECT *, sum(to_pos - from_pos) OVER (PARTITION BY corrections ORDER BY turn, id) - (to_pos - from_pos) AS before FROM ahead
			), numbers AS MATERIALIZED (SELECT corrections, nextval('rollup_batch_numbers') AS batch FROM (SELECT DISTINCT corrections FROM ahead) d)
			INSERT INTO rollup_batches (batch, offsets_id, from_pos, to_pos)
			SELECT n.batch, id, min(from_pos), max(to_pos) FROM taken JOIN numbers n USING (corrections) WHERE before < $1 GROUP BY n.batch, id`,
			batchEvents, batchRows, journal.CorrectionsTopic); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT b.batch, o.id, o.topic, o.topic_id, o.partition, b.from_pos, b.to_pos FROM rollup_batches b JOIN offsets o ON o.id = b.offsets_id
			WHERE b.state = 'planned' ORDER BY o.topic = $1, b.batch, o.id`, journal.CorrectionsTopic)
		if err != nil {
			return err
		}
		var number int64
		var s span
		_, err = pgx.ForEachRow(rows, []any{&number, &s.log.id, &s.log.topic, &s.log.topicID, &s.log.partition, &s.from, &s.to}, func() error {
			if len(batches) == 0 || batches[len(batches)-1].number != number {
				batches = append(batches, batch{number: number})
			}
			last := &batches[len(batches)-1]
			last.spans = append(last.spans, s)
			return nil
		})
		return err
	})
	return batches, err
}

// done marks a batch as written, and forgets those before it.
func done(ctx context.Context, tx pgx.Tx, b *batch) error {
	_, err := tx.Exec(ctx, `WITH finished AS (UPDATE rollup_batches SET state = 'done' WHERE batch = $1 RETURNING offsets_id, from_pos)
		DELETE FROM rollup_batches b USING finished f WHERE b.offsets_id = f.offsets_id AND b.from_pos < f.from_pos AND b.state = 'done'`, b.number)
	return err
}
