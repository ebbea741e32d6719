//go:build synctests

package schedules

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/worker"
	"github.com/twmb/franz-go/pkg/kgo"
)

var errCut = errors.New("the wire is cut")

// process is a worker.Service whose only ways out are wires that a schedule can cut or freeze.
type process struct {
	name   string
	w      *world
	cancel context.CancelFunc
	done   chan struct{}
	stats  worker.Stats

	mu      sync.Mutex
	rand    *rand.Rand
	dead    bool
	leaving bool
	thaw    chan struct{} // closed when a frozen process goes on; nil: it is not frozen
	offline time.Time     // Kafka can't be reached before
	away    time.Time     // nor the journal
	conns   map[net.Conn]bool
	deadly  point     // where it is killed next
	commits []outcome // what becomes of its next commits
}

// latencyMax of one way over a wire.
const latencyMax = 4 * time.Millisecond

func (w *world) join() *process {
	n := len(w.processes)
	p := &process{name: string(rune('A'+n%26)) + string(rune('0'+n/26)), w: w, done: make(chan struct{}), conns: map[net.Conn]bool{},
		rand: rand.New(rand.NewPCG(w.schedule.seed, uint64(n)+100))}
	out := io.Writer(io.Discard)
	if os.Getenv("TRACE") != "" {
		out = os.Stderr
	}
	s := worker.New(worker.Config{
		Kafka: []kgo.Opt{kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(p.dial),
			kgo.RebalanceTimeout(2 * sessionTimeout), kgo.RetryBackoffFn(func(tries int) time.Duration { return time.Duration(min(tries, 10)) * 50 * time.Millisecond }),
			kgo.MetadataMinAge(100 * time.Millisecond), kgo.DisableClientMetrics()},
		Topics: []string{topics.Usage}, Journal: &wire{p: p}, Replays: &wire{p: p}, Directory: w.ground, Address: p.name, Hasher: w.ground.hasher,
		Log: slog.New(slog.NewTextHandler(out, nil)).With("process", p.name), Stats: &p.stats, BatchEventsMax: 1 + w.schedule.batchMax, Retry: 100 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	w.processes = append(w.processes, p)
	go func() {
		defer close(p.done)
		if err := s.Run(ctx); err != nil {
			w.fail("process %s: %v", p.name, err)
		}
	}()
	return p
}

// stop is an orderly end.
func (p *process) stop() {
	p.mu.Lock()
	p.leaving = true
	p.mu.Unlock()
	p.cancel()
}

// kill ends the process where it stands: nothing that it does from now on has an effect.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return
	}
	p.w.note("%s dies", p.name)
	p.dead = true
	p.hangUp()
	if p.thaw != nil {
		close(p.thaw)
		p.thaw = nil
	}
	p.cancel()
}

// hangUp closes all connections; the lock is held.
func (p *process) hangUp() {
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

// freeze stops the process for a while, as SIGSTOP does: what it had begun goes on afterwards as if nothing had been.
func (p *process) freeze(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead || p.thaw != nil {
		return
	}
	thaw := make(chan struct{})
	p.thaw = thaw
	p.w.going.Go(func() {
		time.Sleep(d)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.thaw == thaw {
			p.w.note("%s goes on", p.name)
			close(thaw)
			p.thaw = nil
		}
	})
}

// cut takes Kafka or the journal away from the process for a while.
func (p *process) cut(kafka, journal time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if kafka > 0 {
		p.offline = now.Add(kafka)
		p.hangUp()
	}
	if journal > 0 {
		p.away = now.Add(journal)
	}
}

// heal undoes all faults that last.
func (p *process) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offline, p.away, p.deadly, p.commits = time.Time{}, time.Time{}, "", nil
	if p.thaw != nil {
		close(p.thaw)
		p.thaw = nil
	}
}

// alive is false when the process was killed or told to stop.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead && !p.leaving
}

// pass waits while the process is frozen, and is false when it is dead.
func (p *process) pass() bool {
	for {
		p.mu.Lock()
		thaw, dead := p.thaw, p.dead
		p.mu.Unlock()
		if thaw == nil {
			return !dead
		}
		<-thaw
	}
}

// lag is how long something takes that has the most given.
func (p *process) lag(most time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(p.rand.Int64N(int64(most)))
}

// dial is the way to Kafka.
func (p *process) dial(ctx context.Context, network, address string) (net.Conn, error) {
	time.Sleep(p.lag(latencyMax))
	if !p.pass() {
		return nil, errCut
	}
	p.mu.Lock()
	offline := p.dead || time.Now().Before(p.offline)
	p.mu.Unlock()
	if offline {
		return nil, errCut
	}
	inner, err := p.w.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, p: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		_ = inner.Close()
		return nil, errCut
	}
	p.conns[inner] = true
	return c, nil
}

// conn is a connection to Kafka.
type conn struct {
	net.Conn
	p *process
}

// Read holds what came while the process is frozen.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.p.pass() {
		return 0, errCut
	}
	return n, err
}

// Write takes its time.
func (c *conn) Write(b []byte) (int, error) {
	time.Sleep(c.p.lag(latencyMax))
	if !c.p.pass() {
		return 0, errCut
	}
	return c.Conn.Write(b)
}
