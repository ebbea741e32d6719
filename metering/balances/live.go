package balances

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Live is everybody's balances in memory: the checkpoint as it once was, and every journal row since. It follows the
// journal and not the fold, so it is as fresh as its last Poll, whatever the fold does. It is safe for concurrent use.
type Live struct {
	pool *pgxpool.Pool

	polling sync.Mutex // one Poll at a time
	mu      sync.RWMutex
	adder   *Adder
	next    map[int64]int64 // of each log: everything below is in
	polled  time.Time
}

// OpenLive reads the checkpoint.
func OpenLive(ctx context.Context, pool *pgxpool.Pool) (*Live, error) {
	l := &Live{pool: pool, adder: NewAdder(), next: map[int64]int64{}}
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT offsets_id, next FROM fold_positions`)
		if err != nil {
			return err
		}
		var log, next int64
		if _, err := pgx.ForEachRow(rows, []any{&log, &next}, func() error { l.next[log] = next; return nil }); err != nil {
			return err
		}
		if rows, err = tx.Query(ctx, `SELECT account_id, section_id, extract(epoch FROM cycle_start)::bigint, scope_id, used, events FROM balances`); err != nil {
			return err
		}
		var tree TreeKey
		var scope int64
		var sum Sum
		_, err = pgx.ForEachRow(rows, []any{&tree.Account, &tree.Section, &tree.CycleStart, &scope, &sum.Credits, &sum.Events}, func() error {
			return l.adder.Sums.add(tree, scope, sum)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint: %w", err)
	}
	return l, nil
}

// Poll adds what the journal has since. An error in the middle of a row's sums (credit.ErrOverflow) makes l useless.
func (l *Live) Poll(ctx context.Context) (rows int, err error) {
	l.polling.Lock()
	defer l.polling.Unlock()
	begin := time.Now()
	var logs, next []int64
	for id, n := range l.next {
		logs, next = append(logs, id), append(next, n)
	}
	found, err := l.pool.Query(ctx, `SELECT o.id, j.from_pos, j.to_pos, j.body FROM offsets o
		LEFT JOIN unnest($1::bigint[], $2::bigint[]) AS p(id, next) ON p.id = o.id
		JOIN LATERAL (SELECT from_pos, to_pos, body FROM journal j WHERE j.offsets_id = o.id AND j.from_pos >= coalesce(p.next, 0) ORDER BY j.from_pos) j ON true
		WHERE o.next > coalesce(p.next, 0)`, logs, next)
	if err != nil {
		return 0, fmt.Errorf("follow the journal: %w", err)
	}
	var log, from, to int64
	var data []byte
	var b journal.Body
	_, err = pgx.ForEachRow(found, []any{&log, &from, &to, &data}, func() error {
		if err := journal.Decode(data, from, &b); err != nil {
			return err
		}
		rows++
		return l.add(log, to, &b)
	})
	if err != nil {
		return rows, fmt.Errorf("follow the journal: %w", err)
	}
	l.mu.Lock()
	l.polled = begin
	l.mu.Unlock()
	return rows, nil
}

func (l *Live) add(log, to int64, b *journal.Body) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[log] = to
	return l.adder.Add(b)
}

// Used is what was charged to a scope, and when what it says was still all of it.
func (l *Live) Used(tree TreeKey, scope int64) (sum Sum, asOf time.Time) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.adder.Sums.Of(tree, scope), l.polled
}
