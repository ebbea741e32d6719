package bench

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

const (
	probes         = 8                     // users whose events are waited for, one after the other
	pollBalances   = 10 * time.Millisecond // how often balances follow the journal
	pollClickHouse = 50 * time.Millisecond
	settleTimeout  = 5 * time.Minute
)

// promise is P12: from the collector's 202 until live balances in the memory of another process answer with the event, and
// until ClickHouse does. The whole program runs as one process, and so does each store.
func promise(ctx context.Context, r *runner) (gate, error) {
	shared, err := r.directory(ctx)
	if err != nil {
		return gate{}, err
	}
	o := r.o
	o.Events = 0
	s, err := shared.other(ctx, o, "promise", true)
	if err != nil {
		return gate{}, err
	}
	p := &promised{s: s, o: r.o}
	if err := p.start(ctx); err != nil {
		p.close()
		return gate{}, err
	}
	highest, err := p.highest(ctx)
	if err != nil {
		p.close()
		return gate{}, fmt.Errorf("find the highest live rate: %w", err)
	}
	return gate{close: p.close, ours: func(ctx context.Context) ([]float64, error) { return p.measure(ctx, highest/2) },
		measures: []measure{{what: "accepted → balances answer, p99", unit: "s", goal: 0.5, stretch: 0.2, atMost: true},
			{what: "accepted → ClickHouse answers, p99", unit: "s", goal: 2, stretch: 1, atMost: true}, {what: "sent", unit: "1/s"}, {what: "events waited for", unit: "1"}},
		settings: fmt.Sprintf("highest live rate %.0f/s (%d events sent flat out, until balances and ClickHouse have all); half of it for %v a round; batches of %d over HTTP; balances polled every %v, ClickHouse every %v",
			highest, r.o.Events, r.o.PromiseTime, batchEvents, pollBalances, pollClickHouse)}, nil
}

type promised struct {
	s          *stores
	o          Options
	clickhouse *engine.Process
	client     *client
	pool       *pgxpool.Pool
	ch         driver.Conn
	live       *balances.Live
	sent       atomic.Int64 // batches, so that no id comes twice
	probed     atomic.Int64
	written    sync.Map // events in ClickHouse (int64), by the waited whose they are
}

// waited is a user whose events are waited for.
type waited struct{ account, scope int64 }

func (p *promised) start(ctx context.Context) error {
	engines, err := engine.Install(ctx, p.o.Progress)
	if err != nil {
		return err
	}
	if p.clickhouse, err = (engine.ClickHouse{Engines: engines, Data: filepath.Join(p.s.dir, "clickhouse"), Logs: p.s.dir}).Start(ctx); err != nil {
		return err
	}
	url, err := p.s.database(ctx)
	if err != nil {
		return err
	}
	if p.client, err = newClient(ctx, url); err != nil {
		return err
	}
	if p.client.program, err = p.s.serve(ctx, url, p.clickhouse.URL, "ingest", "metering", "rollups", "alerts"); err != nil {
		return err
	}
	if p.pool, err = postgres.Open(ctx, url, postgres.RoleMetering); err != nil {
		return err
	}
	if p.ch, err = clickhouse.Open(ctx, p.clickhouse.URL); err != nil {
		return err
	}
	p.live, err = balances.OpenLive(ctx, p.pool)
	return err
}

func (p *promised) close() {
	if p.ch != nil {
		_ = p.ch.Close()
	}
	if p.pool != nil {
		p.pool.Close()
	}
	if p.client != nil && p.client.program != nil {
		_ = p.client.program.Stop()
	}
	if p.clickhouse != nil {
		_ = p.clickhouse.Stop()
	}
	p.s.close()
}

// batch is one of those that were made beforehand, with ids that were never sent.
func (p *promised) batch() []byte {
	n := p.sent.Add(1)
	body := bytes.Clone(p.client.bodies[n%differentOnes])
	for i, at := range p.client.ids[n%differentOnes] {
		copy(body[at:], fmt.Appendf(nil, "%014d", n*batchEvents+int64(i)))
	}
	return body
}

// highest sends flat out, and returns how many events a second went all the way.
func (p *promised) highest(ctx context.Context) (float64, error) {
	begin := time.Now()
	g, sending := errgroup.WithContext(ctx)
	for range senders {
		g.Go(func() error {
			for p.sent.Load()*batchEvents < int64(p.o.Events) && sending.Err() == nil {
				if err := p.client.post(sending, p.batch()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	accepted := time.Since(begin)
	sent := p.sent.Load() * batchEvents
	if err := p.arrived(ctx, sent); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	fmt.Fprintf(p.o.Progress, "sent %d events flat out: accepted after %v, in balances and ClickHouse after %v\n", sent, accepted.Round(time.Millisecond), took.Round(time.Millisecond))
	return float64(sent) / took.Seconds(), nil
}

// arrived waits until that many events are in ClickHouse and folded.
func (p *promised) arrived(ctx context.Context, events int64) error {
	for deadline := time.Now().Add(settleTimeout); ; {
		var written uint64
		var unfolded int64
		if err := p.ch.QueryRow(ctx, `SELECT count() FROM usage_events`).Scan(&written); err != nil {
			return err
		}
		if err := p.pool.QueryRow(ctx, `SELECT count(*) FROM offsets o LEFT JOIN fold_positions f ON f.offsets_id = o.id WHERE o.next > coalesce(f.next, 0)`).Scan(&unfolded); err != nil {
			return err
		}
		if int64(written) >= events && unfolded == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d events are in ClickHouse after %v, %d logs are not folded", written, events, settleTimeout, unfolded)
		}
		time.Sleep(pollClickHouse)
	}
}

// measure sends at a rate for a while, and waits for single events meanwhile.
func (p *promised) measure(ctx context.Context, perSecond float64) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.PromiseTime+settleTimeout)
	defer cancel()
	until := time.Now().Add(p.o.PromiseTime)
	g, ctx := errgroup.WithContext(ctx)
	var paced atomic.Int64
	begin := time.Now()
	for range senders {
		g.Go(func() error {
			for ctx.Err() == nil {
				due := begin.Add(time.Duration(float64(paced.Add(1)*batchEvents) / perSecond * 1e9))
				if due.After(until) {
					return nil
				}
				time.Sleep(time.Until(due))
				if err := p.client.post(ctx, p.batch()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var mu sync.Mutex
	var inBalances, inClickHouse []float64
	var probing sync.WaitGroup
	for n := range probes {
		probing.Add(1)
		g.Go(func() error {
			defer probing.Done()
			b, c, err := p.probe(ctx, n, until)
			mu.Lock()
			defer mu.Unlock()
			inBalances, inClickHouse = append(inBalances, b...), append(inClickHouse, c...)
			return err
		})
	}
	stop := make(chan struct{})
	go func() { probing.Wait(); close(stop) }()
	for every, look := range map[time.Duration]func(context.Context) error{pollClickHouse: p.look, pollBalances: func(ctx context.Context) error {
		_, err := p.live.Poll(ctx)
		return err
	}} {
		g.Go(func() error {
			for {
				select {
				case <-stop:
					return nil
				case <-time.After(every):
					if err := look(ctx); err != nil {
						return err
					}
				}
			}
		})
	}
	before := p.sent.Load()
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sent := float64(p.sent.Load()-before) * batchEvents / time.Since(begin).Seconds()
	return []float64{percentile(inBalances, 99), percentile(inClickHouse, 99), sent, float64(len(inBalances))}, nil
}

func percentile(v []float64, percent int) float64 {
	slices.Sort(v)
	return v[min(len(v)-1, len(v)*percent/100)]
}

// probe sends events of a user who has no others, one at a time, and returns how long each took until it was seen.
func (p *promised) probe(ctx context.Context, n int, until time.Time) (inBalances, inClickHouse []float64, err error) {
	account, user := fmt.Sprintf("account-%d", n+1), fmt.Sprintf("user-%d", p.o.Users)
	var tree balances.TreeKey
	var scope int64
	if err := p.pool.QueryRow(ctx, `SELECT s.account_id, s.section_id, s.id, extract(epoch FROM c.start_at)::bigint FROM accounts a JOIN users u USING (account_id)
		JOIN scopes s ON s.account_id = a.account_id AND s.user_id = u.id AND s.kind = 'user' JOIN cycles c ON c.account_id = a.account_id AND c.section_id = s.section_id AND c.start_at <= now() AND c.end_at > now()
		WHERE a.key = $1 AND u.key = $2`, account, user).Scan(&tree.Account, &tree.Section, &scope, &tree.CycleStart); err != nil {
		return nil, nil, err
	}
	had, _ := p.live.Used(tree, scope)
	who := waited{tree.Account, scope}
	p.written.LoadOrStore(who, int64(0))
	for events := had.Events + 1; time.Now().Before(until); events++ {
		value, err := event(account, user, fmt.Sprintf("probe-%d", p.probed.Add(1)), 0)
		if err != nil {
			return nil, nil, err
		}
		if err := p.client.post(ctx, append(append([]byte("["), value...), ']')); err != nil {
			return nil, nil, err
		}
		accepted := time.Now()
		for {
			if used, _ := p.live.Used(tree, scope); used.Events >= events {
				break
			}
			if err := pause(ctx, time.Millisecond); err != nil {
				return nil, nil, err
			}
		}
		inBalances = append(inBalances, time.Since(accepted).Seconds())
		for {
			if written, _ := p.written.Load(who); written.(int64) >= events {
				break
			}
			if err := pause(ctx, time.Millisecond); err != nil {
				return nil, nil, err
			}
		}
		inClickHouse = append(inClickHouse, time.Since(accepted).Seconds())
	}
	return inBalances, inClickHouse, nil
}

// look asks ClickHouse for the events of all users who are waited for, in one query: one for each would be more work than the
// events that are written meanwhile.
func (p *promised) look(ctx context.Context) error {
	var accounts, scopes []uint64
	p.written.Range(func(k, _ any) bool {
		accounts, scopes = append(accounts, uint64(k.(waited).account)), append(scopes, uint64(k.(waited).scope))
		return true
	})
	if len(scopes) == 0 {
		return nil
	}
	rows, err := p.ch.Query(ctx, `SELECT account, user, sum(events) FROM usage_user_days WHERE account IN (?) AND user IN (?) GROUP BY account, user`, accounts, scopes)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account, scope uint64
		var events int64
		if err := rows.Scan(&account, &scope, &events); err != nil {
			return err
		}
		p.written.Store(waited{int64(account), int64(scope)}, events)
	}
	return rows.Err()
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
