//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// config is what a case wants its world to be like.
type config struct {
	partitions int32
	metering   int // processes
	senders    int
	env        []string          // of every process
	faults     map[string]string // by process, from its first start on
	small      string            // the store whose data lies on a small disk
	smallMB    int
}

// World is one deployment of the program over engines of its own.
type World struct {
	cfg  config
	dir  string
	bin  string
	rand *rand.Rand
	out  io.Writer
	http *http.Client

	postgres, kafka, clickhouse *store
	db                          *pgxpool.Pool // as the superuser, past all roles
	key                         string        // a service key

	mu        sync.Mutex
	processes map[string]*process
	flows     []*flow
	mounted   string
	ended     atomic.Bool
	begin     time.Time

	ingest, rollups, alerts *process
	metering                []*process

	fired    []string
	recovery time.Duration // the longest
}

// newWorld starts everything and waits until it is ready.
func newWorld(ctx context.Context, bin, dir string, seed uint64, cfg config, out io.Writer) (w *World, err error) {
	w = &World{cfg: cfg, dir: dir, bin: bin, rand: rand.New(rand.NewPCG(seed, 2)), out: out, processes: map[string]*process{}, begin: time.Now(),
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := w.startStores(ctx); err != nil {
		return w, err
	}
	if w.db, err = pgxpool.New(ctx, w.postgres.current().URL); err != nil {
		return w, err
	}
	directory := filepath.Join(dir, "directory.yaml")
	if err := os.WriteFile(directory, deploy.Demo, 0o600); err != nil {
		return w, err
	}
	for _, args := range [][]string{{"migrate"}, {"apply", "-f", directory}} {
		if _, err := w.do(ctx, args...); err != nil {
			return w, err
		}
	}
	text, err := w.do(ctx, "keys", "create", "faults", "--json")
	if err != nil {
		return w, err
	}
	var made struct{ Key string }
	if err := json.Unmarshal(text, &made); err != nil {
		return w, fmt.Errorf("keys create: %w: %s", err, text)
	}
	w.key = made.Key
	return w, w.startProcesses(ctx)
}

func (w *World) startStores(ctx context.Context) error {
	installed, err := engine.Install(ctx, os.Stderr)
	if err != nil {
		return err
	}
	logs := filepath.Join(w.dir, "engines")
	place := func(name string) string {
		dir := filepath.Join(w.dir, name)
		if w.cfg.small == name && err == nil {
			err = w.mountSmall(dir)
			dir = filepath.Join(dir, "data")
		}
		return dir
	}
	pg := engine.Postgres{Engines: installed, Data: place("postgres"), Logs: logs}
	kafka := engine.Kafka{Data: place("kafka"), Logs: logs}
	ch := engine.ClickHouse{Engines: installed, Data: place("clickhouse"), Logs: logs}
	if err != nil {
		return err
	}
	w.postgres = &store{name: "postgres", dir: pg.Data, run: func(ctx context.Context, port int) (*engine.Process, error) { pg.Port = port; return pg.Start(ctx) }}
	w.kafka = &store{name: "kafka", dir: kafka.Data, run: func(ctx context.Context, port int) (*engine.Process, error) {
		kafka.Port = port
		return kafka.Start(ctx)
	}}
	w.clickhouse = &store{name: "clickhouse", dir: ch.Data, run: func(ctx context.Context, port int) (*engine.Process, error) { ch.Port = port; return ch.Start(ctx) }}
	for _, s := range w.stores() {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) stores() []*store { return []*store{w.postgres, w.kafka, w.clickhouse} }

// mountSmall puts a disk at dir that is soon full.
func (w *World) mountSmall(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("cockpit-faults", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", w.cfg.smallMB)); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	w.mounted = dir
	return nil
}

func (w *World) startProcesses(ctx context.Context) (err error) {
	modules := []struct {
		name, modules string
		to            **process
	}{{"ingest", "ingest", &w.ingest}, {"rollups", "rollups", &w.rollups}, {"alerts", "alerts", &w.alerts}}
	for _, m := range modules {
		if *m.to, err = w.serve(m.name, m.modules, w.cfg.faults[m.name]); err != nil {
			return err
		}
	}
	for i := range w.cfg.metering {
		name := fmt.Sprint("metering-", i+1)
		p, err := w.serve(name, "metering", w.cfg.faults[name])
		if err != nil {
			return err
		}
		w.metering = append(w.metering, p)
	}
	for _, p := range append([]*process{w.ingest, w.rollups, w.alerts}, w.metering...) {
		if err := w.eventually(ctx, p.name+" is ready", func() (bool, error) {
			status, why, err := p.get(ctx, "/readyz")
			if err == nil && status != http.StatusOK {
				err = errors.New(strings.TrimSpace(why))
			}
			return err == nil, err
		}); err != nil {
			return err
		}
	}
	return nil
}

// command is the program with this world's stores.
func (w *World) command(args ...string) *exec.Cmd {
	cmd := exec.Command(w.bin, args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "COCKPIT_POSTGRES_URL="+w.postgres.current().URL, "COCKPIT_KAFKA_BROKERS="+w.kafka.current().URL,
		"COCKPIT_CLICKHOUSE_URL="+w.clickhouse.current().URL, fmt.Sprint("COCKPIT_PARTITIONS=", w.cfg.partitions))
	cmd.Env = append(cmd.Env, w.cfg.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd
}

// do runs a command of the program to its end, and returns what it prints.
func (w *World) do(ctx context.Context, args ...string) ([]byte, error) {
	cmd := w.command(args...)
	var out, bad strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &bad
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			err = fmt.Errorf("cockpit %s: %w: %s", args[0], err, strings.TrimSpace(bad.String()))
		}
		return []byte(out.String()), err
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		return nil, errors.Join(ctx.Err(), <-done)
	}
}

func (w *World) closed() bool { return w.ended.Load() }

// close ends everything. What does not end when it is told to is an error.
func (w *World) close() (err error) {
	w.ended.Store(true)
	for _, f := range w.flows {
		f.end()
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range w.processes {
		wg.Go(func() {
			failed := p.close()
			mu.Lock()
			err = errors.Join(err, failed)
			mu.Unlock()
		})
	}
	wg.Wait()
	if w.db != nil {
		w.db.Close()
	}
	for _, s := range w.stores() {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}
	if w.mounted != "" {
		err = errors.Join(err, syscall.Unmount(w.mounted, 0))
	}
	return err
}

// admin is a client of Kafka for what operators do.
func (w *World) admin() (*kadm.Client, error) {
	return kadm.NewOptClient(kgo.SeedBrokers(w.kafka.current().URL))
}

// logf tells the run's story.
func (w *World) logf(format string, args ...any) {
	fmt.Fprintf(w.out, "%6.1fs  %s\n", time.Since(w.begin).Seconds(), fmt.Sprintf(format, args...))
}

// Fired notes the proof that the fault fired.
func (w *World) Fired(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	w.fired = append(w.fired, what)
	w.logf("fired: %s", what)
}

// faultLog is where the program writes which of its faults fired.
func (w *World) faultLog() string { return filepath.Join(w.dir, "faults.log") }

// planted waits until the fault at that point has fired, for the nth time in this world.
func (w *World) planted(ctx context.Context, point string, nth int) error {
	return w.eventually(ctx, "the fault at "+point+" fires", func() (bool, error) {
		text, err := os.ReadFile(w.faultLog())
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
		return strings.Count("\n"+string(text), "\n"+point+" ") >= nth, nil
	})
}

// eventuallyMax is how long anything may take that is only a matter of time. It is generous: the machine may be busy.
const eventuallyMax = 4 * time.Minute

// eventually polls until f says yes. It returns f's last error when that takes too long.
func (w *World) eventually(ctx context.Context, what string, f func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, eventuallyMax)
	defer cancel()
	for {
		ok, err := f()
		if ok && err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting until %s: %w", what, errors.Join(ctx.Err(), err))
		}
		sleep(ctx, 20*time.Millisecond)
	}
}
