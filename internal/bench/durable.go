package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/fold"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/metering/worker"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
)

// durable is P1, or P2 with our own decoder in the baseline.
func durable(s *stores, o Options, name string) gate {
	g := gate{measures: perSecond(2, 3), ours: one(func(ctx context.Context) (float64, error) { return s.ours(ctx, o) }),
		settings: fmt.Sprintf("%d events, %d partitions and workers, %d accounts × %d users in a cycle under way, fsync on", o.Events, partitions, o.Accounts, o.Users)}
	baseline := encodingJSON
	if name == "P2" {
		g.measures, baseline = perSecond(0.35, 0.5), ourDecoder
	}
	g.baseline = one(func(ctx context.Context) (float64, error) { return s.poll(ctx, o, baseline) })
	return g
}

// encodingJSON decodes as a Go program usually does.
func encodingJSON() func(*kgo.Record) error {
	var e struct {
		SpecVersion, ID, Source, Type string
		Time                          time.Time
		Data                          struct {
			Account, Section, User, Team, Model, Operation, Agent, Tool, Status string
			Quantities                                                          map[string]int64
			LatencyMS                                                           int64  `json:"latency_ms"`
			TraceID                                                             string `json:"trace_id"`
			Labels                                                              map[string]string
		}
	}
	return func(r *kgo.Record) error {
		clear(e.Data.Quantities)
		return json.Unmarshal(r.Value, &e)
	}
}

func ourDecoder() func(*kgo.Record) error {
	var d decode.Decoder
	var u events.Usage
	return func(r *kgo.Record) error {
		if rejected := d.Usage(r, &u); rejected != nil {
			return rejected
		}
		return nil
	}
}

// poll is the baseline: a worker for each partition that decodes what is polled and keeps nothing.
func (s *stores) poll(ctx context.Context, o Options, newDecoder func() func(*kgo.Record) error) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.kafka.URL), kgo.ConsumeTopics(topics.Usage), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	var left atomic.Int64
	left.Store(int64(o.Events))
	var failed atomic.Pointer[error]
	var workers [partitions]chan []*kgo.Record
	var wg sync.WaitGroup
	for i := range workers {
		workers[i] = make(chan []*kgo.Record, 16)
		wg.Go(func() {
			decode := newDecoder()
			for records := range workers[i] {
				for _, r := range records {
					if err := decode(r); err != nil {
						failed.Store(&err)
					}
				}
				if left.Add(int64(-len(records))) <= 0 {
					cancel()
				}
			}
		})
	}
	var begin time.Time
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		if begin.IsZero() {
			begin = time.Now()
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 {
				workers[p.Partition] <- p.Records
			}
		})
	}
	took := time.Since(begin)
	for i := range workers {
		close(workers[i])
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(o.Events) / took.Seconds(), nil
}

// metering is the workers as they run in the program, over a fresh copy of the directory.
type metering struct {
	pool  *pgxpool.Pool
	stats worker.Stats
	stop  func()
}

// start runs workers, and returns when they have begun.
func (s *stores) start(ctx context.Context) (*metering, error) {
	url, err := s.database(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := postgres.Open(ctx, url, postgres.RoleMetering)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	store := journal.NewPostgres(pool)
	follower, err := directory.Follow(ctx, pool, log, time.Hour)
	if err != nil {
		pool.Close()
		return nil, err
	}
	secret, err := store.Secret(ctx)
	if err != nil {
		pool.Close()
		return nil, err
	}
	m := &metering{pool: pool}
	service := worker.New(worker.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(s.kafka.URL)}, Topics: []string{topics.Usage}, Journal: store, Replays: store,
		Directory: follower, Hasher: identity.NewHasher(secret), Log: log, Stats: &m.stats})
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- service.Run(running) }()
	m.stop = func() {
		cancel()
		<-done
		pool.Close()
	}
	for m.stats.Lag() == 0 && m.stats.Batches.Load() == 0 {
		time.Sleep(time.Millisecond)
		if err := ctx.Err(); err != nil {
			m.stop()
			return nil, err
		}
	}
	return m, nil
}

// count is how many events are in the journal.
func (m *metering) count() int64 {
	return m.stats.Charged.Load() + m.stats.Duplicate.Load() + m.stats.Quarantined.Load()
}

func (m *metering) decided(events int) bool { return m.count() >= int64(events) }

func (m *metering) folder() *fold.Folder {
	return fold.New(m.pool, slog.New(slog.DiscardHandler), time.Now)
}

// ours is the whole path, from the first poll until every event is folded into balances.
func (s *stores) ours(ctx context.Context, o Options) (float64, error) {
	m, err := s.start(ctx)
	if err != nil {
		return 0, err
	}
	defer m.stop()
	folder, begin := m.folder(), time.Now()
	for {
		decided, folding := m.decided(o.Events), time.Now()
		rows, err := folder.Once(ctx)
		if err != nil {
			return 0, err
		}
		if decided && rows == 0 {
			break
		}
		// As Folder.Run pauses, but not once everything is decided.
		for pause := fold.Pause(time.Since(folding)); time.Since(folding) < pause && !m.decided(o.Events); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	took := time.Since(begin)
	if n := m.stats.Quarantined.Load(); n > 0 {
		return 0, fmt.Errorf("%d events were quarantined", n)
	}
	return float64(o.Events) / took.Seconds(), nil
}
