package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// LogState is where a log stands, for operators.
type LogState struct {
	Topic      string `json:"topic"`
	TopicID    string `json:"topic_id"`
	Partition  int32  `json:"partition"`
	Next       int64  `json:"next"`
	Generation int64  `json:"generation"`
	Epoch      int64  `json:"epoch"`
	Paused     string `json:"paused,omitempty"`
}

// Logs lists all logs.
func (s *Postgres) Logs(ctx context.Context) ([]LogState, error) {
	rows, err := s.pool.Query(ctx, `SELECT topic, topic_id, partition, next, generation, epoch, coalesce(paused_reason, '') FROM offsets ORDER BY topic, id`)
	if err != nil {
		return nil, wrap(err, "list logs")
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[LogState])
}

// AcceptLoss lets a paused log go on from position start, and journals what lies between as lost, with who accepted it and
// why. It returns the number of positions that were lost.
func (s *Postgres) AcceptLoss(ctx context.Context, topic string, partition int32, start int64, author, reason string) (lost int64, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var id, next, generation, epoch int64
		err := tx.QueryRow(ctx, `SELECT id, next, generation, epoch FROM offsets WHERE topic = $1 AND partition = $2 AND paused_reason IS NOT NULL
			ORDER BY id DESC LIMIT 1 FOR UPDATE`, topic, partition).Scan(&id, &next, &generation, &epoch)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%s/%d is not paused", topic, partition)
		}
		if err != nil {
			return err
		}
		if lost = max(0, start-next); lost > 0 {
			if _, err := tx.Exec(ctx, `INSERT INTO journal (offsets_id, from_pos, to_pos, kind, generation, epoch, batch_id, charged, duplicate, observed, quarantined, moved, author, reason, body)
				VALUES ($1, $2, $3, 'loss', $4, $5, $6, 0, 0, 0, 0, 0, $7, $8, '')`, id, next, start, generation, epoch, uuid.New(), author, reason); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `UPDATE offsets SET next = $2, epoch = epoch + 1, paused_reason = NULL, updated_at = now() WHERE id = $1`, id, next+lost)
		return err
	})
	return lost, wrap(err, "accept the loss of %s/%d", topic, partition)
}
