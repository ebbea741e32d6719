package rollups

import (
	"context"

	"github.com/jackc/pgx/v5"
)

const (
	batchEvents = 8192 // a batch ends with the journal row that reaches it
	batchRows   = 500
)

// logRow is a log as Postgres knows it.
type logRow struct {
	id        int64
	topic     string
	topicID   string
	partition int32
}

// batch is a range of a log that is written in one go.
type batch struct {
	log      logRow
	from, to int64
}

// plan returns what is to be written: batches that were planned and not finished, and then new ones, which it persists.
// A log with unfinished batches gets no new ones, so that they are written in order.
func (w *Writer) plan(ctx context.Context) ([]batch, error) {
	var batches []batch
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT o.id, o.topic, o.topic_id, o.partition, b.from_pos, b.to_pos FROM rollup_batches b JOIN offsets o ON o.id = b.offsets_id
			WHERE b.state = 'planned' ORDER BY b.offsets_id, b.from_pos`)
		if err != nil {
			return err
		}
		if batches, err = pgx.CollectRows(rows, scanBatch); err != nil {
			return err
		}
		rows, err = tx.Query(ctx, `WITH reached AS (
				SELECT o.id, o.topic, o.topic_id, o.partition, coalesce(max(b.to_pos), 0) AS pos FROM offsets o LEFT JOIN rollup_batches b ON b.offsets_id = o.id
				GROUP BY o.id HAVING coalesce(bool_and(b.state = 'done'), true)
			), ahead AS (
				SELECT r.*, j.from_pos, j.to_pos, sum(j.to_pos - j.from_pos) OVER (PARTITION BY r.id ORDER BY j.from_pos) AS events
				FROM reached r JOIN LATERAL (SELECT from_pos, to_pos FROM journal j WHERE j.offsets_id = r.id AND j.from_pos >= r.pos
					ORDER BY j.from_pos LIMIT $2) j ON true)
			INSERT INTO rollup_batches (offsets_id, from_pos, to_pos)
			SELECT id, min(from_pos), max(to_pos) FROM ahead WHERE events - (to_pos - from_pos) < $1 GROUP BY id
			RETURNING offsets_id, (SELECT topic FROM offsets o WHERE o.id = offsets_id), (SELECT topic_id FROM offsets o WHERE o.id = offsets_id),
				(SELECT partition FROM offsets o WHERE o.id = offsets_id), from_pos, to_pos`, batchEvents, batchRows)
		if err != nil {
			return err
		}
		fresh, err := pgx.CollectRows(rows, scanBatch)
		batches = append(batches, fresh...)
		return err
	})
	return batches, err
}

func scanBatch(row pgx.CollectableRow) (b batch, err error) {
	err = row.Scan(&b.log.id, &b.log.topic, &b.log.topicID, &b.log.partition, &b.from, &b.to)
	return b, err
}

// done marks a batch as written, and forgets those before it.
func done(ctx context.Context, tx pgx.Tx, b *batch) error {
	_, err := tx.Exec(ctx, `WITH finished AS (UPDATE rollup_batches SET state = 'done' WHERE offsets_id = $1 AND from_pos = $2)
		DELETE FROM rollup_batches WHERE offsets_id = $1 AND from_pos < $2 AND state = 'done'`, b.log.id, b.from)
	return err
}
