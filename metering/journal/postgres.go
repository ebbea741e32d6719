package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Postgres is the journal in a database. Its pool must have lock and statement timeouts, so that nobody waits for ever.
type Postgres struct {
	pool *pgxpool.Pool
}

// NewPostgres returns the journal of the pool's database.
func NewPostgres(pool *pgxpool.Pool) *Postgres { return &Postgres{pool: pool} }

var _ Store = (*Postgres)(nil)

// alertPaused raises the platform's alert of the logs that the statement before it paused, once for each pause: a log is
// paused at most once in an epoch. It returns whether the statement had a row.
const alertPaused = `raised AS (
		INSERT INTO alerts (type, dedupe_key, data)
		SELECT 'metering.log_paused', format('log_paused/%s/%s', id, epoch), jsonb_build_object('topic', topic, 'partition', partition, 'position', next, 'reason', paused_reason)
		FROM paused WHERE paused_reason IS NOT NULL ON CONFLICT (dedupe_key) DO NOTHING RETURNING id
	), told AS (INSERT INTO alert_outbox (alert_id) SELECT id FROM raised)
	SELECT EXISTS (SELECT FROM paused)`

const leaseColumns = `id, partitions, generation, epoch, next, coalesce(paused_reason, '')`

func scanLease(row pgx.Row, l *Lease) error {
	return row.Scan(&l.LogID, &l.Partitions, &l.Generation, &l.Epoch, &l.Next, &l.Paused)
}

// Take implements Store.
func (s *Postgres) Take(ctx context.Context, p Partition, partitions int32, start int64) (Lease, error) {
	l := Lease{Partition: p}
	const take = `UPDATE offsets SET epoch = epoch + 1, updated_at = now()
		WHERE cluster_id = $1 AND topic_id = $2 AND partition = $3 RETURNING ` + leaseColumns
	err := scanLease(s.pool.QueryRow(ctx, take, p.ClusterID, p.TopicID, p.Partition), &l)
	if !errors.Is(err, pgx.ErrNoRows) {
		return l, wrap(err, "take %s/%d", p.Topic, p.Partition)
	}
	// A topic that is known under another id was made anew: what was not read of the old one is lost, and only an operator goes on.
	const insert = `WITH paused AS (
		INSERT INTO offsets (cluster_id, topic_id, topic, partition, partitions, generation, next, paused_reason)
		SELECT $1, $2, $3, $4, greatest($5, max(o.partitions)), coalesce(max(o.generation), 1), $6,
			CASE WHEN EXISTS (SELECT FROM offsets e WHERE e.cluster_id = $1 AND e.topic = $3 AND e.topic_id <> $2)
				THEN 'the topic was made anew under another id' END
		FROM offsets o WHERE o.cluster_id = $1 AND o.topic_id = $2
		ON CONFLICT (cluster_id, topic_id, partition) DO NOTHING RETURNING *), ` + alertPaused
	if _, err := s.pool.Exec(ctx, insert, p.ClusterID, p.TopicID, p.Topic, p.Partition, partitions, start); err != nil {
		return l, wrap(err, "begin %s/%d", p.Topic, p.Partition)
	}
	err = scanLease(s.pool.QueryRow(ctx, take, p.ClusterID, p.TopicID, p.Partition), &l)
	return l, wrap(err, "take %s/%d", p.Topic, p.Partition)
}

// Commit implements Store.
func (s *Postgres) Commit(ctx context.Context, l *Lease, r *Row) error {
	const commit = `WITH fence AS (
			UPDATE offsets SET next = $5, updated_at = now()
			WHERE id = $1 AND epoch = $2 AND generation = $3 AND next = $4 AND paused_reason IS NULL RETURNING 1)
		INSERT INTO journal (offsets_id, from_pos, to_pos, kind, generation, epoch, batch_id, min_time, max_time,
			charged, duplicate, observed, quarantined, moved, author, reason, body)
		SELECT $1, $4, $5, $6, $3, $2, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17 FROM fence`
	tag, err := s.pool.Exec(ctx, commit, l.LogID, l.Epoch, l.Generation, r.From, r.To, r.Kind, r.ID, timeOrNull(r.MinTime), timeOrNull(r.MaxTime),
		r.Counts.Charged, r.Counts.Duplicate, r.Counts.Observed, r.Counts.Quarantined, r.Counts.Moved,
		textOrNull(r.Author), textOrNull(r.Reason), r.Body)
	if err != nil {
		return fmt.Errorf("commit %s/%d [%d, %d): %w", l.Partition.Topic, l.Partition.Partition, r.From, r.To, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrFenced
	}
	l.Next = r.To
	return nil
}

// Resolve implements Store.
func (s *Postgres) Resolve(ctx context.Context, l *Lease, id uuid.UUID) (bool, error) {
	taken, err := s.Take(ctx, l.Partition, l.Partitions, l.Next)
	if err != nil {
		return false, err
	}
	*l = taken
	var written bool
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM journal WHERE batch_id = $1)`, id).Scan(&written)
	return written, wrap(err, "look up batch %s", id)
}

// Pause implements Store.
func (s *Postgres) Pause(ctx context.Context, l *Lease, reason string) error {
	var held bool
	err := s.pool.QueryRow(ctx, `WITH paused AS (UPDATE offsets SET paused_reason = $3, updated_at = now() WHERE id = $1 AND epoch = $2 RETURNING *), `+alertPaused,
		l.LogID, l.Epoch, reason).Scan(&held)
	if err != nil {
		return wrap(err, "pause %s/%d", l.Partition.Topic, l.Partition.Partition)
	}
	if !held {
		return ErrFenced
	}
	l.Paused = reason
	return nil
}

// Repartition implements Store.
func (s *Postgres) Repartition(ctx context.Context, p Partition, partitions int32, starts map[int32]int64) error {
	return wrap(pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var known, have int32
		var generation int64
		// All rows of the topic, in order, so that two changes do not lock each other out.
		err := tx.QueryRow(ctx, `SELECT count(*), coalesce(max(partitions), 0), coalesce(max(generation), 0) FROM
			(SELECT * FROM offsets WHERE cluster_id = $1 AND topic_id = $2 ORDER BY partition FOR UPDATE) o`,
			p.ClusterID, p.TopicID).Scan(&known, &have, &generation)
		if err != nil || known == 0 || have >= partitions {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE offsets SET partitions = $3, generation = $4, updated_at = now()
			WHERE cluster_id = $1 AND topic_id = $2`, p.ClusterID, p.TopicID, partitions, generation+1); err != nil {
			return err
		}
		for partition, start := range starts {
			if _, err := tx.Exec(ctx, `INSERT INTO offsets (cluster_id, topic_id, topic, partition, partitions, generation, next)
				VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (cluster_id, topic_id, partition) DO NOTHING`,
				p.ClusterID, p.TopicID, p.Topic, partition, partitions, generation+1, start); err != nil {
				return err
			}
		}
		return nil
	}), "repartition %s to %d", p.Topic, partitions)
}

// Decided implements Store.
func (s *Postgres) Decided(ctx context.Context, topic string, identities map[[16]byte]bool, from, to time.Time) error {
	rows, err := s.pool.Query(ctx, `SELECT j.from_pos, j.body FROM journal j JOIN offsets o ON o.id = j.offsets_id
		WHERE o.topic = $1 AND j.kind = 'batch' AND j.max_time >= $2 AND j.min_time <= $3`, topic, from, to)
	if err != nil {
		return wrap(err, "look up identities of %s", topic)
	}
	return wrap(eachEntry(rows, func(e *body.Entry) {
		if _, asked := identities[e.Identity]; asked && e.Decision.Remembered() {
			identities[e.Identity] = true
		}
	}), "look up identities of %s", topic)
}

// WasMoved implements Store.
func (s *Postgres) WasMoved(ctx context.Context, p Partition, position int64, identity [16]byte) (bool, error) {
	rows, err := s.pool.Query(ctx, `SELECT j.from_pos, j.body FROM journal j JOIN offsets o ON o.id = j.offsets_id
		WHERE o.cluster_id = $1 AND o.topic_id = $2 AND o.partition = $3 AND j.kind = 'batch' AND j.from_pos <= $4 AND j.to_pos > $4`,
		p.ClusterID, p.TopicID, p.Partition, position)
	if err != nil {
		return false, wrap(err, "look up a move from %s/%d", p.Topic, p.Partition)
	}
	moved := false
	err = eachEntry(rows, func(e *body.Entry) {
		moved = moved || e.Position == position && e.Decision == body.Moved && e.Identity == identity
	})
	return moved, wrap(err, "look up a move from %s/%d", p.Topic, p.Partition)
}

// Newest implements Store.
func (s *Postgres) Newest(ctx context.Context, l Lease) (time.Time, bool, error) {
	var t *time.Time
	// Its own, else, in a partition that is new, the topic's.
	err := s.pool.QueryRow(ctx, `SELECT coalesce(max(j.max_time) FILTER (WHERE o.id = $1), max(j.max_time)) FROM offsets o
		JOIN LATERAL (SELECT max_time FROM journal WHERE offsets_id = o.id ORDER BY from_pos DESC LIMIT 100) j ON true
		WHERE o.topic = $2`, l.LogID, l.Partition.Topic).Scan(&t)
	if err != nil || t == nil {
		return time.Time{}, false, wrap(err, "find the newest event of %s/%d", l.Partition.Topic, l.Partition.Partition)
	}
	return *t, true, nil
}

func eachEntry(rows pgx.Rows, f func(*body.Entry)) error {
	defer rows.Close()
	var b body.Body
	var from int64
	var data rowBytes
	for rows.Next() {
		if err := rows.Scan(&from, &data); err != nil {
			return err
		}
		if err := body.Decode(data, from, &b); err != nil {
			return err
		}
		for i := range b.Entries {
			f(&b.Entries[i])
		}
	}
	return rows.Err()
}

// rowBytes is scanned without a copy; it is valid until the next row.
type rowBytes []byte

// ScanBytes implements pgx's pgtype.BytesScanner.
func (b *rowBytes) ScanBytes(v []byte) error { *b = v; return nil }

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
