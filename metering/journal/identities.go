package journal

import (
	"context"
	"time"

	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
)

// pageEvents is how many events' rows are asked for with one statement, so that however many there are, none of them runs
// into the statement timeout.
const pageEvents = 1 << 18

// page names rows of the journal.
type page struct {
	logs, positions []int64
	events          int
}

// Identities implements Store. Which rows there are is asked first, and then for their bodies, a page at a time. No row
// that counts can appear in between: whoever takes a log shuts out those who would append to it.
func (s *Postgres) Identities(ctx context.Context, l Lease, since time.Time, f func([16]byte, int64)) error {
	pages, err := s.identityPages(ctx, l, since)
	for i := 0; err == nil && i < len(pages); i++ {
		err = s.identities(ctx, &pages[i], f)
	}
	return wrap(err, "load the window of %s/%d", l.Partition.Topic, l.Partition.Partition)
}

func (s *Postgres) identityPages(ctx context.Context, l Lease, since time.Time) (pages []page, err error) {
	rows, err := s.pool.Query(ctx, `SELECT j.offsets_id, j.from_pos, j.charged + j.observed FROM journal j JOIN offsets o ON o.id = j.offsets_id
		WHERE o.topic = $1 AND j.kind = 'batch' AND j.max_time >= $2 AND (o.id = $3 OR j.generation < $4 OR o.cluster_id <> $5 OR o.topic_id <> $6)
		ORDER BY j.offsets_id, j.from_pos`,
		l.Partition.Topic, since, l.LogID, l.Generation, l.Partition.ClusterID, l.Partition.TopicID)
	if err != nil {
		return nil, err
	}
	var log, position int64
	var events int
	_, err = pgx.ForEachRow(rows, []any{&log, &position, &events}, func() error {
		if len(pages) == 0 || pages[len(pages)-1].events >= pageEvents {
			pages = append(pages, page{})
		}
		p := &pages[len(pages)-1]
		p.logs, p.positions, p.events = append(p.logs, log), append(p.positions, position), p.events+events
		return nil
	})
	return pages, err
}

func (s *Postgres) identities(ctx context.Context, p *page, f func([16]byte, int64)) error {
	rows, err := s.pool.Query(ctx, `SELECT j.body FROM unnest($1::bigint[], $2::bigint[]) k(log, position)
		JOIN journal j ON j.offsets_id = k.log AND j.from_pos = k.position`, p.logs, p.positions)
	if err != nil {
		return err
	}
	defer rows.Close()
	var data rowBytes
	var hashes [][16]byte
	var micros []int64
	for rows.Next() {
		if err := rows.Scan(&data); err != nil {
			return err
		}
		if hashes, micros, err = body.Identities(data, hashes[:0], micros[:0]); err != nil {
			return err
		}
		for i := range hashes {
			f(hashes[i], micros[i])
		}
	}
	return rows.Err()
}
