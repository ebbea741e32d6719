package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/dedupe"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/metering/worker"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
)

const hour = int64(time.Hour / time.Microsecond)

// insertion is P6: an hour's identities go into a window, as many at a time as a worker gives it that takes over a partition;
// the baseline is a Go map that was not told how many there will be, either. First hour: of a process that has just begun, and
// of a new map. An hour after others: of a window that had one of as many, which was settled since, and of a map that was
// cleared, so that both have memory of their own; so a consumer runs, but for its first hours.
type insertion struct {
	all  []dedupe.Hash
	o    Options
	told bool
}

func inserting(o Options) gate {
	r := rand.New(rand.NewPCG(1, 2))
	i := &insertion{all: make([]dedupe.Hash, 10_000_000), o: o}
	for k := range i.all {
		binary.LittleEndian.PutUint64(i.all[k][:8], r.Uint64())
		binary.LittleEndian.PutUint64(i.all[k][8:], r.Uint64())
	}
	return gate{ours: i.window, baseline: i.goMap, settings: "10,000,000 identities of one hour, one goroutine",
		measures: []measure{{what: "an hour after others", unit: "1/s", goal: 5, stretch: 10}, {what: "first hour of a process", unit: "1/s", goal: 5, stretch: 10}}}
}

func (i *insertion) goMap(context.Context) ([]float64, error) {
	m := map[dedupe.Hash]struct{}{}
	insert := func() float64 {
		begin := time.Now()
		for _, h := range i.all {
			m[h] = struct{}{}
		}
		return float64(len(m)) / time.Since(begin).Seconds()
	}
	first := insert()
	clear(m)
	return []float64{insert(), first}, nil
}

func (i *insertion) window(context.Context) ([]float64, error) {
	w := dedupe.New(24*time.Hour, math.MaxInt, dedupe.Scratch(os.TempDir()))
	defer w.Close()
	first, err := i.insert(w, 0)
	if err != nil {
		return nil, err
	}
	newest := w.Size()
	w.Advance(3 * hour)
	if err := w.Settle(math.MaxInt); err != nil {
		return nil, err
	}
	if !i.told {
		i.told = true
		n := float64(len(i.all))
		fmt.Fprintf(i.o.Progress, "P6 memory: %.1f MB a million identities in a newest hour, %.2f MB in a past one\n", float64(newest.NewestBytes)/n, float64(w.Size().PastBytes)/n)
	}
	// The same again would be found in the hour that is past by Add; AddAll looks in the hour of its own time only.
	after, err := i.insert(w, 3*hour)
	return []float64{after, first}, err
}

// insert measures the insertion of all identities with that event time.
func (i *insertion) insert(w *dedupe.Window, micros int64) (float64, error) {
	before, times := w.Len(), slices.Repeat([]int64{micros}, dedupe.Many)
	begin := time.Now()
	for some := range slices.Chunk(i.all, dedupe.Many) {
		if _, err := w.AddAll(some, times[:len(some)]); err != nil {
			return 0, err
		}
	}
	took := time.Since(begin)
	if n := w.Len() - before; n != len(i.all) {
		return 0, fmt.Errorf("%d identities of %d", n, len(i.all))
	}
	return float64(len(i.all)) / took.Seconds(), nil
}

// takeover is P14: a partition whose window has a million identities.
type takeover struct {
	*stores
	pool     *pgxpool.Pool
	store    *journal.Postgres
	secret   [16]byte
	follower *directory.Follower
	hashes   int
	sent     int
	o        Options
}

func takingOver(ctx context.Context, r *runner) (gate, error) {
	o := r.o
	o.Events, o.Accounts, o.Users, o.alone = 1_010_101, 100, 100, true // 1 % are sent twice
	t := &takeover{o: o}
	var err error
	if t.stores, err = openWithEvents(ctx, o); err != nil {
		return gate{}, err
	}
	if err := t.prepare(ctx); err != nil {
		t.close()
		return gate{}, err
	}
	return t.gate(), nil
}

// prepare charges the events, and makes the baseline's table of what the journal remembers of them.
func (t *takeover) prepare(ctx context.Context) error {
	url, err := t.database(ctx)
	if err != nil {
		return err
	}
	if t.pool, err = postgres.Open(ctx, url, postgres.RoleMetering); err != nil {
		return err
	}
	t.store = journal.NewPostgres(t.pool)
	if t.secret, err = t.store.Secret(ctx); err != nil {
		return err
	}
	if t.follower, err = directory.Follow(ctx, t.pool, slog.New(slog.DiscardHandler), time.Hour); err != nil {
		return err
	}
	fmt.Fprintln(t.o.Progress, "charging a million events")
	if err := t.work(ctx, func(s *worker.Stats) bool { return s.Charged.Load()+s.Duplicate.Load() >= int64(t.o.Events) }); err != nil {
		return err
	}
	return t.bare(ctx, url)
}

func (t *takeover) close() {
	if t.pool != nil {
		t.pool.Close()
	}
	t.stores.close()
}

// work runs a worker until done, and then until it has stopped; what comes after done is not measured by gate.
func (t *takeover) work(ctx context.Context, done func(*worker.Stats) bool) error {
	stats := &worker.Stats{}
	service := worker.New(worker.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(t.kafka.URL)}, Topics: []string{topics.Usage}, Journal: t.store, Replays: t.store,
		Directory: t.follower, Hasher: identity.NewHasher(t.secret), Log: slog.New(slog.DiscardHandler), Stats: stats})
	running, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- service.Run(running) }()
	for !done(stats) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	return <-stopped
}

// bare makes the baseline's table: the hashes of the journal, a row each.
func (t *takeover) bare(ctx context.Context, url string) error {
	if err := t.execute(ctx, url[len(t.url("")):], `CREATE TABLE bench_hashes (identity bytea NOT NULL); GRANT ALL ON bench_hashes TO `+postgres.RoleMetering); err != nil {
		return err
	}
	var l journal.Lease
	var topic journal.Partition
	err := t.pool.QueryRow(ctx, `SELECT id, cluster_id, topic_id, topic, generation FROM offsets WHERE topic = $1`, topics.Usage).
		Scan(&l.LogID, &topic.ClusterID, &topic.TopicID, &topic.Topic, &l.Generation)
	if err != nil {
		return err
	}
	l.Partition = topic
	var rows [][]any
	if err := t.store.Identities(ctx, l, time.Unix(0, 0), func(id [16]byte, _ int64) { rows = append(rows, []any{id[:]}) }); err != nil {
		return err
	}
	t.hashes = len(rows)
	_, err = t.pool.CopyFrom(ctx, pgx.Identifier{"bench_hashes"}, []string{"identity"}, pgx.CopyFromRows(rows))
	return err
}

// gate measures from the call of Run, which joins the group first, to the commit of an event that waits in Kafka.
func (t *takeover) gate() gate {
	return gate{measures: []measure{{unit: "s", goal: 2, stretch: 1.2, atMost: true}}, close: t.close,
		settings: fmt.Sprintf("%d identities in one partition; from the start of a consumer to its first commit", t.hashes),
		baseline: one(func(ctx context.Context) (float64, error) {
			begin := time.Now()
			rows, err := t.pool.Query(ctx, `SELECT identity FROM bench_hashes`)
			if err != nil {
				return 0, err
			}
			hashes := make([][16]byte, 0, t.hashes)
			var id []byte
			if _, err = pgx.ForEachRow(rows, []any{&id}, func() error {
				hashes = append(hashes, [16]byte(id))
				return nil
			}); err != nil {
				return 0, err
			}
			return time.Since(begin).Seconds(), nil
		}),
		ours: one(func(ctx context.Context) (float64, error) {
			if err := t.one(ctx); err != nil {
				return 0, err
			}
			begin := time.Now()
			var took time.Duration
			err := t.work(ctx, func(s *worker.Stats) bool {
				took = time.Since(begin)
				return s.Batches.Load() > 0
			})
			return took.Seconds(), err
		})}
}

// one sends an event that was not sent before.
func (t *takeover) one(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(t.kafka.URL))
	if err != nil {
		return err
	}
	defer cl.Close()
	t.sent++
	r, err := usual(t.o.Events+t.sent, t.o)
	if err != nil {
		return err
	}
	return cl.ProduceSync(ctx, r).FirstErr()
}
