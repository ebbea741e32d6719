package provisioning

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/pause"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Config is what a Service needs.
type Config struct {
	Issuer       string
	URL          string   // of ZITADEL's API; empty: the issuer
	Key          []byte   // the service user's key file
	Project      string   // whose roles count
	Platform     string   // the platform's organization; it owns the project
	Instance     string   // whose events are taken; empty: those of any that knows the secret
	Secrets      []string // of webhooks; none: events are not taken
	PrivateHosts []string // that may be private, besides the issuer's own
	Pool         *pgxpool.Pool
	Audit        *audit.Log
	Log          *slog.Logger
	Now          func() time.Time
	Metrics      *Metrics // nil: nobody counts
	Pace         Pace     // the zero Pace is the one to run with
}

// Metrics count what is tried, and what comes.
type Metrics struct{ rows, events *prometheus.CounterVec }

// NewMetrics returns metrics at zero.
func NewMetrics() *Metrics {
	return &Metrics{
		rows:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cockpit_provisioning_rows_total", Help: "Rows of provisioning that were tried at ZITADEL, by kind and outcome."}, []string{"kind", "outcome"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cockpit_provisioning_events_total", Help: "Events of ZITADEL that came, by outcome."}, []string{"outcome"}),
	}
}

// Collectors are all of them.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.rows, m.events}
}

// Pace is how patient a Service is. Zero fields are those of pace.
type Pace struct {
	Idle       time.Duration // between two looks when nothing is to be done
	Backoff    time.Duration // before what failed is tried again; twice as long each time
	BackoffMax time.Duration // while ZITADEL is away
	RowMax     time.Duration // of one row
	Refused    time.Duration // of one that is failed
	Lease      time.Duration // how long a row is one process's
	Settle     time.Duration // how far reads may lag behind writes
	Reconcile  time.Duration // between two comparisons with lists
}

var pace = Pace{Idle: time.Second, Backoff: time.Second, BackoffMax: time.Minute, RowMax: 5 * time.Minute, Refused: time.Hour, Lease: 2 * time.Minute,
	Settle: 2 * time.Minute, Reconcile: time.Hour}

func (p Pace) or(d Pace) Pace {
	for _, f := range []struct {
		set *time.Duration
		to  time.Duration
	}{{&p.Idle, d.Idle}, {&p.Backoff, d.Backoff}, {&p.BackoffMax, d.BackoffMax}, {&p.RowMax, d.RowMax}, {&p.Refused, d.Refused}, {&p.Lease, d.Lease},
		{&p.Settle, d.Settle}, {&p.Reconcile, d.Reconcile}} {
		if *f.set == 0 {
			*f.set = f.to
		}
	}
	return p
}

const (
	claimMax   = 20 // rows of a kind at once
	atOnce     = 4  // calls
	awayMax    = 3  // failures in a row by which ZITADEL is away
	refusedMax = 5  // refusals after which a row is failed
)

// Service brings about what is wanted, takes events, and compares with lists.
type Service struct {
	cfg Config
	api *remote

	mu    sync.Mutex
	away  int           // failures in a row
	pause time.Duration // before the next try, while it is away

	back chan struct{} // tells that it was away, and is no more
}

// New returns a Service.
func New(cfg Config) (*Service, error) {
	a, err := newRemote(cfg.Issuer, cfg.URL, cfg.Key, cfg.PrivateHosts)
	if err != nil {
		return nil, err
	}
	cfg.Pace = cfg.Pace.or(pace)
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	return &Service{cfg: cfg, api: a, back: make(chan struct{}, 1)}, nil
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.work(ctx) })
	g.Go(func() error { return s.compare(ctx) })
	return g.Wait()
}

// compare compares with lists now and then, and soon after ZITADEL was away: what it tells once got lost meanwhile.
func (s *Service) compare(ctx context.Context) error {
	for {
		wait := s.cfg.Pace.Reconcile
		_, err := postgres.Alone(ctx, s.cfg.Pool, "cockpit provisioning reconcile", func(*pgxpool.Conn) error { return s.Reconcile(ctx, true, func(Difference) {}) })
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("comparing with ZITADEL's lists", "error", err)
			wait = min(wait, s.cfg.Pace.RowMax)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.back:
			pause.For(ctx, 2*s.cfg.Pace.Settle)
		case <-time.After(wait):
		}
	}
}

func (s *Service) work(ctx context.Context) error {
	for {
		n, err := s.Once(ctx)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("provisioning", "error", err)
		}
		wait := s.waits()
		if wait == 0 && (n == 0 || err != nil) {
			wait = s.cfg.Pace.Idle
		}
		if !pause.For(ctx, wait) {
			return nil
		}
	}
}

// Once tries what is due, in order: organizations, users, roles. While ZITADEL is away it is one row of all. It returns how
// many it tried.
func (s *Service) Once(ctx context.Context) (n int, err error) {
	for _, of := range []func(context.Context, int) ([]task, error){s.dueOrganizations, s.dueUsers, s.dueGrants} {
		limit := claimMax
		if s.waits() > 0 {
			limit = 1
		}
		tasks, err := of(ctx, limit)
		if err != nil {
			return n, err
		}
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(atOnce)
		for _, t := range tasks {
			g.Go(func() error { return s.try(ctx, t) })
		}
		if err := g.Wait(); err != nil {
			return n, err
		}
		n += len(tasks)
		if s.waits() > 0 && n > 0 {
			break
		}
	}
	return n, nil
}

// claim leases rows to this process. What is wanted of them is read by another statement, whose snapshot is newer: in this one
// asked could be newer than what was asked for. Those whose lease somebody ended meanwhile are not read.
func (s *Service) claim(ctx context.Context, sql string, limit int) (ids []int64, lease time.Time, err error) {
	rows, err := s.cfg.Pool.Query(ctx, sql, limit, s.cfg.Pace.Lease)
	if err == nil {
		ids, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (id int64, err error) { return id, r.Scan(&id, &lease) })
	}
	if err != nil {
		err = fmt.Errorf("claim what is due: %w", err)
	}
	return ids, lease, err
}

// task is a row that this process has for a while.
type task interface {
	about() *row
	bring(ctx context.Context, s *Service) error // does what is missing, and keeps in the task how far it came
	save(ctx context.Context, s *Service, o outcome) error
}

// row is what all rows have.
type row struct {
	kind     string
	id       int64
	asked    int64
	attempts int
	lease    time.Time
}

func (r *row) about() *row { return r }

// outcome is what becomes of a row.
type outcome struct {
	State    string // pending, synced or failed
	Reason   string
	Attempts int
	In       time.Duration // when it is tried again
	Done     int64         // of asked; -1: as it was
}

// errLater says that it is not the time yet.
type errLater struct {
	in     time.Duration
	reason string
}

func (e errLater) Error() string { return e.reason }

// refusal is what can't be as it is wanted, until somebody changes something.
type refusal string

func (r refusal) Error() string { return string(r) }

func (s *Service) try(ctx context.Context, t task) error {
	r := t.about()
	err := t.bring(ctx, s)
	if ctx.Err() != nil {
		return ctx.Err() // the lease ends by itself
	}
	o := outcome{State: "synced", Done: r.asked}
	var later errLater
	label := "synced"
	switch {
	case err == nil:
		s.answers()
	case errors.As(err, &later):
		label = "later"
		o = outcome{State: "pending", Reason: later.reason, Attempts: r.attempts, In: later.in, Done: -1}
	case errors.Is(err, errAway):
		label = "away"
		s.failed(err)
		o = outcome{State: "pending", Reason: short(err.Error()), Attempts: r.attempts + 1, In: grown(s.cfg.Pace.Backoff, r.attempts, s.cfg.Pace.RowMax), Done: -1}
	case refusedBy(err) || errors.As(err, new(refusal)):
		label = "refused"
		s.answers()
		o = outcome{State: "pending", Reason: short(err.Error()), Attempts: r.attempts + 1, In: grown(s.cfg.Pace.Backoff, r.attempts, s.cfg.Pace.RowMax), Done: -1}
		if o.Attempts >= refusedMax {
			o.State, o.In = "failed", s.cfg.Pace.Refused
		}
	default: // ours: the database
		return fmt.Errorf("%s %d: %w", r.kind, r.id, err)
	}
	if o.State == "failed" || label == "refused" {
		s.cfg.Log.Warn("ZITADEL refuses", "kind", r.kind, "id", r.id, "reason", o.Reason)
	}
	s.cfg.Metrics.rows.WithLabelValues(r.kind, label).Inc()
	return t.save(ctx, s, o)
}

// grown is d doubled n times, at most limit.
func grown(d time.Duration, n int, limit time.Duration) time.Duration {
	for range n {
		if d *= 2; d >= limit {
			return limit
		}
	}
	return min(d, limit)
}

// answers notes that ZITADEL is there.
func (s *Service) answers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pause > 0 {
		s.cfg.Log.Info("ZITADEL is there again")
		select {
		case s.back <- struct{}{}:
		default: // it is known
		}
	}
	s.away, s.pause = 0, 0
}

// failed notes that it is not. After a few in a row, one row is tried now and then.
func (s *Service) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away++
	var said *answerError
	if errors.As(err, &said) && said.After > 0 {
		s.away = max(s.away, awayMax)
		s.pause = max(s.pause, said.After)
		return
	}
	if s.away < awayMax {
		return
	}
	if s.pause == 0 {
		s.cfg.Log.Warn("ZITADEL is away", "error", err)
	}
	s.pause = grown(s.cfg.Pace.Backoff, s.away-awayMax, s.cfg.Pace.BackoffMax)
}

// waits is how long to wait before the next try; 0: ZITADEL is there.
func (s *Service) waits() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pause
}

// ignoreNone makes nothing of a row that is not there.
func ignoreNone(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}
