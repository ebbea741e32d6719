package bench

import (
	"context"
	"fmt"
	"time"
)

// costs is a table: what an event leaves in Postgres, and what a fold costs for each balance and page that it touches. The events
// are decided first and folded afterwards, so that the two can be told apart.
func costs(ctx context.Context, r *runner) (gate, error) {
	s, err := r.open(ctx)
	if err != nil {
		return gate{}, err
	}
	figure := func(what, unit string) measure { return measure{what: what, unit: unit} }
	return gate{measures: []measure{figure("events of a journal row", "1"), figure("journal, body", "B/event"), figure("journal with indexes", "B/event"),
		figure("WAL of commits", "B/event"), figure("decide and commit", "µs/event"), figure("balances touched by the fold", "1"),
		figure("pages touched by the fold", "1"), figure("fold", "µs/balance"), figure("WAL of the fold", "B/balance")},
		ours:     func(ctx context.Context) ([]float64, error) { return s.costs(ctx, r.o) },
		settings: fmt.Sprintf("%d events, %d accounts × %d users, everything decided before the fold; times are of the wall", r.o.Events, r.o.Accounts, r.o.Users)}, nil
}

func (s *stores) costs(ctx context.Context, o Options) ([]float64, error) {
	m, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	defer m.stop()
	var before, decided, folded int64
	lsn := func(to *int64) error {
		return m.pool.QueryRow(ctx, `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(to)
	}
	if err := lsn(&before); err != nil {
		return nil, err
	}
	begin, measured := time.Now(), float64(o.Events)-float64(m.count()) // the first batches are in the journal already
	for !m.decided(o.Events) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
	deciding := time.Since(begin)
	if err := lsn(&decided); err != nil {
		return nil, err
	}
	folder := m.folder()
	begin = time.Now()
	for rows := 1; rows > 0; {
		if rows, err = folder.Once(ctx); err != nil {
			return nil, err
		}
	}
	folding := time.Since(begin)
	if err := lsn(&folded); err != nil {
		return nil, err
	}
	var events, body, whole, rows, balances, pages float64
	if err := m.pool.QueryRow(ctx, `SELECT sum(to_pos - from_pos), sum(octet_length(body)), count(*), pg_total_relation_size('journal') FROM journal`).Scan(&events, &body, &rows, &whole); err != nil {
		return nil, err
	}
	// Everybody's balance was 0 before.
	if err := m.pool.QueryRow(ctx, `SELECT count(*), count(DISTINCT (account_id, section_id, cycle_start, scope_id / 64)) FROM balances WHERE events > 0`).Scan(&balances, &pages); err != nil {
		return nil, err
	}
	return []float64{events / rows, body / events, whole / events, float64(decided-before) / measured, deciding.Seconds() * 1e6 / measured,
		balances, pages, folding.Seconds() * 1e6 / balances, float64(folded-decided) / balances}, nil
}
