package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/alerts"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/issuer"
	"github.com/alchemi/cockpit/control/keys"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/ingest/collector"
	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/fold"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/metering/worker"
	"github.com/alchemi/cockpit/rollups"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// modules are what a process can run, in the order of the path.
var modules = []string{"ingest", "metering", "rollups", "alerts", "api"}

// storeRetry is the pause between tries against a store that can't be reached.
const storeRetry = time.Second

// program is a running cockpit: its stores, and what works on them.
type program struct {
	cfg      *config
	modules  []string
	log      *slog.Logger
	pool     *pgxpool.Pool
	stores   api.Stores // of the API
	requests *prometheus.HistogramVec
	inStep   *provisioning.Metrics
	own      *issuer.Issuer // dev's own; nil: another one
	dev      bool           // run one where none is set
	producer *kgo.Client    // acks all, to the partitions that we name
	stats    worker.Stats
	collect  *collector.Collector
	dispatch *alerts.Dispatcher
	ch       driver.Conn   // of rollups, which wait for it
	reads    driver.Conn   // of the API, which goes on without
	erasure  *pgxpool.Pool // nil: accounts are not erased here
	rollup   *rollups.Writer
	durable  bool                   // the stores are somebody's to keep: say where they would lose what they acknowledged
	lacking  atomic.Pointer[string] // why it is not ready; nil: it is
}

// rollupsMemory is what a process that only writes rollups lets its heap grow to before it collects more often. It lives on
// half of that; with the program itself it stays below 256 MiB. GOMEMLIMIT overrides it.
const rollupsMemory = 128 << 20

func newProgram(cfg *config, modules []string, log *slog.Logger) *program {
	if slices.Equal(modules, []string{"rollups"}) && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(rollupsMemory)
	}
	p := &program{cfg: cfg, modules: modules, log: log, requests: newRequests(), inStep: provisioning.NewMetrics()}
	p.lack("starting")
	return p
}

func (p *program) lack(why string) { p.lacking.Store(&why) }

func (p *program) has(module string) bool { return slices.Contains(p.modules, module) }

// run starts everything, calls ready when all of it works, and returns when ctx has ended and everything has drained.
func (p *program) run(ctx context.Context, ready func()) error {
	stopTracing, err := startTracing(ctx)
	if err != nil {
		return err
	}
	defer stopTracing()
	server, address, err := p.listen()
	if err != nil {
		return err
	}
	p.log.Info("listening", "address", address, "modules", p.modules)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.serve(ctx) })
	g.Go(func() error { return p.work(ctx, stop, server, ready) })
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	p.log.Info("stopped")
	return err
}

// work runs the modules, and closes the stores when all of them, and the server, have drained: a worker that was told to
// stop still commits the batch that it began.
func (p *program) work(ctx context.Context, stop func(), server *server, ready func()) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	defer p.close()
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := p.start(running, g, server); err != nil {
			return err
		}
		p.lacking.Store(nil)
		ready()
		<-running.Done()
		return nil
	})
	err := g.Wait()
	stop() // also when a module failed
	return errors.Join(err, server.drained(ctx))
}

// connect reaches the stores, and waits for those that are away.
func (p *program) connect(ctx context.Context) error {
	err := p.until(ctx, "Postgres", func() error {
		n, err := postgres.Migrate(ctx, p.cfg.PostgresURL)
		if err == nil && n > 0 {
			p.log.Info("migrated Postgres", "migrations", n)
		}
		return err
	})
	if err != nil {
		return err
	}
	if p.pool, err = postgres.Open(ctx, p.cfg.PostgresURL, postgres.RoleMetering); err != nil {
		return err
	}
	if p.producer, err = kgo.NewClient(append(p.cfg.kafka(), collector.ProducerOptions()...)...); err != nil {
		return err
	}
	if p.has("rollups") {
		if err := p.until(ctx, "ClickHouse", func() (err error) {
			if p.ch, err = clickhouse.Open(ctx, p.cfg.ClickHouseURL); err == nil {
				err = clickhouse.Migrate(ctx, p.ch)
			}
			if err == nil {
				err = clickhouse.Retain(ctx, p.ch, clickhouse.Retention{Events: p.cfg.KeepEvents, Quarters: p.cfg.KeepQuarters, Days: p.cfg.KeepDays})
			}
			return err
		}); err != nil {
			return err
		}
	}
	err = p.until(ctx, "Kafka", func() error {
		warnings, err := topics.Ensure(ctx, kadm.NewClient(p.producer), p.cfg.Partitions)
		for _, w := range warnings {
			p.log.Warn(w)
		}
		return err
	})
	if err == nil && p.durable {
		p.warnOfLoss(ctx)
	}
	return err
}

// warnOfLoss logs which settings of the stores would lose what they acknowledged. It decides nothing, and holds nothing up.
func (p *program) warnOfLoss(ctx context.Context) {
	kafka, err := topics.Durability(ctx, kadm.NewClient(p.producer))
	if err != nil {
		p.log.Warn("whether Kafka keeps what it acknowledges is not known", "error", err)
	}
	database, err := postgres.Durability(ctx, p.pool)
	if err != nil {
		p.log.Warn("whether Postgres keeps what it commits is not known", "error", err)
	}
	for _, w := range append(kafka, database...) {
		p.log.Warn(w)
	}
}

// until tries f until it succeeds, and says which store is away meanwhile.
func (p *program) until(ctx context.Context, store string, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.lack(store + " can't be reached: " + err.Error())
		p.log.Warn("waiting for a store", "store", store, "error", err)
		select {
		case <-time.After(storeRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *program) close() {
	for _, conn := range []driver.Conn{p.ch, p.reads} {
		if conn != nil {
			_ = conn.Close()
		}
	}
	for _, pool := range []*pgxpool.Pool{p.stores.App, p.stores.Platform, p.erasure} {
		if pool != nil {
			pool.Close()
		}
	}
	p.producer.Close()
	p.pool.Close()
}

// start runs the modules in g.
func (p *program) start(ctx context.Context, g *errgroup.Group, server *server) error {
	if err := p.startRoutes(ctx, g, server); err != nil {
		return err
	}
	if p.has("metering") {
		if err := p.startMetering(ctx, g); err != nil {
			return err
		}
	}
	if p.has("rollups") {
		p.rollup = rollups.NewWriter(p.pool, p.ch, p.cfg.kafka(), p.log)
		g.Go(func() error { return p.rollup.Run(ctx) })
	}
	if p.has("alerts") {
		p.dispatch = alerts.NewDispatcher(p.pool, p.producer, p.log)
		g.Go(func() error { return p.dispatch.Run(ctx) })
	}
	return nil
}

// startRoutes serves what the modules have to say over HTTP.
func (p *program) startRoutes(ctx context.Context, g *errgroup.Group, server *server) error {
	gin.SetMode(gin.ReleaseMode)
	routes := gin.New()
	routes.Use(gin.Recovery())
	handler := http.Handler(routes)
	if p.has("api") {
		a, err := p.startAPI(ctx, g, server)
		if err != nil {
			return err
		}
		routes, handler = a.Engine(), a.Handler()
	}
	if p.has("ingest") {
		p.collect = collector.New(collector.Config{Producer: p.producer, Authenticate: keys.NewStore(p.pool), Log: p.log})
		p.collect.Register(routes)
	}
	server.modules.Store(&handler)
	return nil
}

func (p *program) startMetering(ctx context.Context, g *errgroup.Group) error {
	store := journal.NewPostgres(p.pool)
	secret, err := store.Secret(ctx)
	if err != nil {
		return err
	}
	if _, err := directory.EnsureCycles(ctx, p.pool, time.Now()); err != nil {
		return err
	}
	follower, err := directory.Follow(ctx, p.pool, p.log, p.cfg.Refresh)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	service := worker.New(worker.Config{Kafka: p.cfg.kafka(), Topics: []string{topics.Usage, topics.Guardrail}, Journal: store, Replays: store, Directory: follower,
		Hasher: identity.NewHasher(secret), Log: p.log, Stats: &p.stats, Address: host + "/" + p.cfg.Listen, BatchEventsMax: p.cfg.BatchEvents,
		WindowSpan: p.cfg.Window, TooEarly: p.cfg.TooEarly, WindowEventsMax: p.cfg.WindowEvents, Scratch: p.cfg.Scratch})
	folder := fold.New(p.pool, p.log, time.Now)
	g.Go(func() error { return follower.Run(ctx) })
	g.Go(func() error { return service.Run(ctx) })
	g.Go(func() error { return folder.Run(ctx) })
	return nil
}
