package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/control/keys"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/internal/traffic"
	"github.com/spf13/cobra"
)

const (
	demoRate    = 20  // events a second
	demoTargets = 100 // accounts, and users of each
	statusEvery = 5 * time.Second

	defaultListen = "127.0.0.1:8080"
	storeTimeout  = time.Minute
	devKey        = "cockpit dev" // the name of dev's own service key
)

const (
	directorySettles = time.Second // within which what was applied takes effect
)

func devCommand(o *options) *cobra.Command {
	d := &dev{options: o}
	c := &cobra.Command{Use: "dev", Short: "Everything on one machine: stores, program, a demo", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return d.run(c.Context()) }}
	c.Flags().StringVar(&d.listen, "listen", defaultListen, "address of the HTTP server; when the default is taken, another port is")
	c.Flags().BoolVar(&d.demo, "demo", true, "apply deploy/demo.yaml and send a little live traffic")
	c.Flags().StringVar(&d.kafka, "kafka", "embedded", "embedded, or a broker's host:port")
	return c
}

// dev is one machine's cockpit.
type dev struct {
	*options
	listen, kafka string
	demo          bool
	cfg           *config
	program       *program
	stores        []*store
	endpoints     endpoints
}

// run starts stores, program and demo, in this order, and stops them in the opposite one.
func (d *dev) run(ctx context.Context) (err error) {
	if d.cfg, err = loadConfig(); err != nil {
		return err
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.startStores(ctx); err != nil {
		return errors.Join(err, d.stopStores())
	}
	if os.Getenv("COCKPIT_LISTEN") == "" {
		d.cfg.Listen = d.address()
	}
	if err := d.keysFile(); err != nil {
		return errors.Join(err, d.stopStores())
	}
	d.program = newProgram(d.cfg, modules, d.cfg.logger())
	d.program.dev = true
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	var keepers sync.WaitGroup
	for _, s := range d.stores {
		keepers.Go(func() { s.keep(running, d.program.log) })
	}
	failed := make(chan error, 1)
	err = d.program.run(running, func() {
		go func() {
			if err := d.live(running); err != nil && running.Err() == nil {
				failed <- err
				cancel()
			}
		}()
	})
	cancel()
	keepers.Wait()
	select {
	case cause := <-failed:
		err = errors.Join(cause, err)
	default:
	}
	_ = os.Remove(filepath.Join(d.data, endpointsFile))
	return errors.Join(err, d.stopStores())
}

// address is where to listen: as asked for, or, where nobody asked and it is taken, at a free port.
func (d *dev) address() string {
	l, err := net.Listen("tcp", d.listen)
	if err != nil && d.listen == defaultListen {
		fmt.Fprintf(os.Stderr, "%v: taking another port\n", err)
		return "127.0.0.1:0"
	}
	if err == nil {
		l.Close()
	}
	return d.listen
}

// lock makes sure that one process has the directory. It is gone with the process, however that ends.
func (d *dev) lock() (unlock func(), err error) {
	if d.data, err = filepath.Abs(d.data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.data, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(d.data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another cockpit dev has %s", d.data)
	}
	return func() { f.Close() }, nil
}

// startStores runs the stores that the environment does not name.
func (d *dev) startStores(ctx context.Context) error {
	logs := filepath.Join(d.data, "logs")
	installed, err := engine.Install(ctx, os.Stderr)
	if err != nil {
		return err
	}
	if d.kafka != "embedded" {
		d.cfg.KafkaBrokers = []string{d.kafka}
	}
	if d.cfg.PostgresURL == "" {
		pg := engine.Postgres{Engines: installed, Data: filepath.Join(d.data, "postgres"), Logs: logs}
		d.cfg.PostgresURL, err = d.startStore(ctx, "Postgres", func(ctx context.Context, port int) (*engine.Process, error) {
			pg.Port = port
			return pg.Start(ctx)
		})
		if err != nil {
			return err
		}
	}
	if len(d.cfg.KafkaBrokers) == 0 {
		kafka := engine.Kafka{Data: filepath.Join(d.data, "kafka"), Logs: logs}
		address, err := d.startStore(ctx, "Kafka", func(ctx context.Context, port int) (*engine.Process, error) {
			kafka.Port = port
			return kafka.Start(ctx)
		})
		if err != nil {
			return err
		}
		d.cfg.KafkaBrokers = []string{address}
	}
	if d.cfg.ClickHouseURL == "" {
		ch := engine.ClickHouse{Engines: installed, Data: filepath.Join(d.data, "clickhouse"), Logs: logs}
		d.cfg.ClickHouseURL, err = d.startStore(ctx, "ClickHouse", func(ctx context.Context, port int) (*engine.Process, error) {
			ch.Port = port
			return ch.Start(ctx)
		})
	}
	return err
}

// startStore runs a store on a free port, and keeps it running there.
func (d *dev) startStore(ctx context.Context, name string, run func(ctx context.Context, port int) (*engine.Process, error)) (url string, err error) {
	fmt.Fprintf(os.Stderr, "starting %s\n", name)
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	p, err := run(limited, 0)
	if err != nil {
		return "", err
	}
	s := &store{name: name, process: p, run: run}
	d.stores = append(d.stores, s)
	return p.URL, nil
}

// store is one of dev's own stores.
type store struct {
	name    string
	run     func(ctx context.Context, port int) (*engine.Process, error)
	mu      sync.Mutex
	process *engine.Process
}

// keep starts the store again when it ends, at the same address, until ctx ends.
func (s *store) keep(ctx context.Context, log *slog.Logger) {
	for {
		s.mu.Lock()
		p := s.process
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-p.Exited():
		}
		log.Warn("a store ended, and is started again", "store", s.name)
		limited, cancel := context.WithTimeout(ctx, storeTimeout)
		next, err := s.run(limited, p.Port())
		cancel()
		if err == nil {
			s.mu.Lock()
			s.process = next
			s.mu.Unlock()
			continue
		}
		log.Error("a store does not start", "store", s.name, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(storeRetry):
		}
	}
}

func (d *dev) stopStores() (err error) {
	for i := len(d.stores) - 1; i >= 0; i-- {
		d.stores[i].mu.Lock()
		err = errors.Join(err, d.stores[i].process.Stop())
		d.stores[i].mu.Unlock()
	}
	return err
}

// live is what goes on while everything works: endpoints, the demo, a status line now and then.
func (d *dev) live(ctx context.Context) error {
	if d.demo {
		if err := d.applyDemo(ctx); err != nil {
			return fmt.Errorf("apply deploy/demo.yaml: %w", err)
		}
	}
	store := keys.NewStore(d.program.pool)
	if err := store.RevokeNamed(ctx, devKey); err != nil {
		return err
	}
	text, _, err := store.Create(ctx, keys.New{Name: devKey})
	if err != nil {
		return err
	}
	d.endpoints = endpoints{API: "http://" + d.cfg.Listen, Kafka: d.cfg.KafkaBrokers[0], Postgres: d.cfg.PostgresURL, ClickHouse: d.cfg.ClickHouseURL, ServiceKey: text}
	if own := d.program.own; own != nil {
		d.endpoints.Issuer, d.endpoints.IssuerSecret = d.program.cfg.Issuer, own.ServiceSecret()
	}
	if err := d.endpoints.write(d.data); err != nil {
		return err
	}
	fmt.Printf("ready %s  (data in %s)\n", d.endpoints.API, d.data)
	if d.demo {
		go func() {
			if err := d.traffic(ctx); err != nil && ctx.Err() == nil {
				d.program.log.Warn("the demo's traffic ended", "error", err)
			}
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusEvery):
			s := &d.program.stats
			charged, duplicate, observed, quarantined := s.Charged.Load(), s.Duplicate.Load(), s.Observed.Load(), s.Quarantined.Load()
			fmt.Printf("events %d  charged %d  duplicates %d  observed %d  quarantined %d  lag %d  event-to-balance p99 %v\n",
				charged+duplicate+observed+quarantined, charged, duplicate, observed, quarantined, s.Lag(), s.LatencyP99().Round(time.Millisecond))
		}
	}
}

// applyDemo makes the demo's accounts where there is none yet: what was changed since stays.
func (d *dev) applyDemo(ctx context.Context) error {
	var any bool
	if err := d.program.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM accounts)`).Scan(&any); err != nil || any {
		return err
	}
	f, err := directory.Parse(deploy.Demo)
	if err == nil {
		_, err = directory.Apply(ctx, d.program.pool, f, directory.Options{Author: "demo"})
	}
	return err
}

func (d *dev) traffic(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(directorySettles):
	}
	g, err := generator(ctx, d.program.pool, uint64(time.Now().UnixNano()), demoTargets, demoTargets, traffic.Mix{Duplicates: 1})
	if err != nil {
		return err
	}
	_, err = pump(ctx, func() (traffic.Event, error) { return g.Next(time.Now()) }, httpSender(&d.endpoints), demoRate)
	return err
}
