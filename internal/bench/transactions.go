package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// The baseline of P3 charges each event in a transaction of its own, as well as Postgres can: one prepared statement is
// the transaction, so that an event costs one round trip; the identity is 16 bytes in a primary key; balances are updated
// in place (half of each page is free, for HOT updates) in the order of the key, so that nobody waits in a circle; 32
// connections share the log's flushes, with the commit_delay that was best beforehand. What it charges is given: it reads
// no Kafka, decodes nothing, and looks up no user and no price.
const (
	transactionConnections = 32
	transactionTime        = 5 * time.Second
	transactionTrial       = time.Second // for each commit_delay
)

const transactionTables = `CREATE TABLE seen (identity uuid PRIMARY KEY);
	CREATE TABLE balance (scope_id bigint, cycle_start timestamptz, used bigint NOT NULL, events bigint NOT NULL, PRIMARY KEY (scope_id, cycle_start)) WITH (fillfactor = 50);
	INSERT INTO balance SELECT s.id, max(c.start_at), 0, 0 FROM scopes s JOIN cycles c USING (account_id, section_id) GROUP BY s.id; ANALYZE balance`

const chargeOne = `WITH fresh AS (INSERT INTO seen (identity) VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1)
	UPDATE balance SET used = used + $2, events = events + 1 WHERE scope_id = ANY($3) AND cycle_start = $4 AND EXISTS (SELECT FROM fresh)`

// path is whom an event debits.
type path struct {
	Scopes []int64 // of account, organization, team, membership and user, in the order of the balances' key
	Cycle  time.Time
}

func transactions(ctx context.Context, r *runner) (gate, error) {
	s, err := r.open(ctx)
	if err != nil {
		return gate{}, err
	}
	b := &oneByOne{s: s}
	if b.paths, err = s.paths(ctx); err != nil {
		return gate{}, err
	}
	if err := b.tune(ctx, r.o); err != nil {
		return gate{}, err
	}
	return gate{measures: perSecond(40, 80), ours: one(func(ctx context.Context) (float64, error) { return s.ours(ctx, r.o) }),
		baseline: one(func(ctx context.Context) (float64, error) { return b.measure(ctx, transactionTime) }),
		settings: fmt.Sprintf("ours as P1, %d events; baseline %d connections, one prepared statement an event, commit_delay %d µs, %v a round", r.o.Events, transactionConnections, b.delay, transactionTime)}, nil
}

// paths reads everybody's path, so that neighbours are of different accounts.
func (s *stores) paths(ctx context.Context) ([]path, error) {
	conn, err := pgx.Connect(ctx, s.url(s.template))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT (SELECT array_agg(v ORDER BY v) FROM unnest(ARRAY[r.root_scope_id, o.id, p.parent_id, m.id, u.id]) v),
			(SELECT max(start_at) FROM cycles c WHERE c.account_id = u.account_id AND c.section_id = u.section_id)
		FROM scopes u JOIN scopes m ON m.account_id = u.account_id AND m.section_id = u.section_id AND m.user_id = u.user_id AND m.kind = 'membership'
		JOIN scope_parents p ON p.account_id = m.account_id AND p.scope_id = m.id
		JOIN account_sections r ON r.account_id = u.account_id AND r.section_id = u.section_id
		JOIN scopes o ON o.account_id = u.account_id AND o.section_id = u.section_id AND o.kind = 'organization'
		WHERE u.kind = 'user' ORDER BY row_number() OVER (PARTITION BY u.account_id ORDER BY u.id), u.account_id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[path])
}

// oneByOne is the baseline.
type oneByOne struct {
	s     *stores
	paths []path
	delay int // commit_delay, in µs
	next  atomic.Int64
}

// tune finds the commit_delay with which most is charged.
func (b *oneByOne) tune(ctx context.Context, o Options) error {
	best, bestRate := 0, 0.0
	for _, delay := range []int{0, 50, 200, 500, 1000, 2000} {
		b.delay = delay
		perSecond, err := b.measure(ctx, transactionTrial)
		if err != nil {
			return fmt.Errorf("tune commit_delay: %w", err)
		}
		fmt.Fprintf(o.Progress, "one transaction an event, commit_delay %d µs: %.0f/s\n", delay, perSecond)
		if perSecond > bestRate {
			best, bestRate = delay, perSecond
		}
	}
	b.delay = best
	return nil
}

// measure charges for a while, to a fresh copy of the directory.
func (b *oneByOne) measure(ctx context.Context, during time.Duration) (float64, error) {
	url, err := b.s.database(ctx)
	if err != nil {
		return 0, err
	}
	if err := b.s.execute(ctx, b.s.copy(), transactionTables); err != nil {
		return 0, err
	}
	var conns []*pgx.Conn
	defer func() {
		for _, c := range conns {
			c.Close(ctx)
		}
	}()
	for range transactionConnections {
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
		if _, err := c.Exec(ctx, fmt.Sprintf(`SET commit_delay = %d`, b.delay)); err != nil {
			return 0, err
		}
		if _, err := c.Prepare(ctx, chargeOne, chargeOne); err != nil {
			return 0, err
		}
	}
	var charged atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	begin := time.Now()
	for _, c := range conns {
		wg.Go(func() {
			for time.Since(begin) < during {
				if err := b.charge(ctx, c); err != nil {
					failed.Store(&err)
					return
				}
				charged.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(charged.Load()) / took.Seconds(), nil
}

// charge is one transaction; every hundredth event is one that was there before.
func (b *oneByOne) charge(ctx context.Context, c *pgx.Conn) error {
	n := b.next.Add(1)
	p := &b.paths[n%int64(len(b.paths))]
	id := n
	if n%100 == 99 {
		id--
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d", id))
	_, err := c.Exec(ctx, chargeOne, pgtype.UUID{Bytes: [16]byte(sum[:16]), Valid: true}, int64(510_000), p.Scopes, p.Cycle)
	return err
}
