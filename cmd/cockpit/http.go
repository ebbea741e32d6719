package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

const drainTimeout = 15 * time.Second

// server is the HTTP server. Routes of modules are mounted when their stores are there; before, they answer 503.
type server struct {
	p        *program
	http     *http.Server
	mux      *http.ServeMux
	listener net.Listener
	modules  atomic.Pointer[http.Handler]
	stopped  chan struct{}
}

// listen binds the address and prepares what is served from the first moment on.
func (p *program) listen() (*server, string, error) {
	l, err := net.Listen("tcp", p.cfg.Listen)
	if err != nil {
		return nil, "", fmt.Errorf("listen on %s (COCKPIT_LISTEN): %w", p.cfg.Listen, err)
	}
	p.cfg.Listen = l.Addr().String()
	mux := http.NewServeMux()
	s := &server{p: p, mux: mux, listener: l, stopped: make(chan struct{})}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics(), promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if m := s.modules.Load(); m != nil {
			(*m).ServeHTTP(w, r)
			return
		}
		w.Header().Set("Retry-After", "1")
		http.Error(w, *whyNot(p), http.StatusServiceUnavailable)
	})
	s.http = &http.Server{Handler: otelhttp.NewHandler(mux, "http", otelhttp.WithFilter(traced)), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	return s, p.cfg.Listen, nil
}

// traced says whether a request gets a span: probes and scrapes do not.
func traced(r *http.Request) bool {
	return r.URL.Path != "/healthz" && r.URL.Path != "/readyz" && r.URL.Path != "/metrics"
}

// whyNot is why the program is not ready; it says so itself when it is.
func whyNot(p *program) *string {
	if why := p.lacking.Load(); why != nil {
		return why
	}
	ready := "ready"
	return &ready
}

// ready tells whether everything works now: started, and Postgres and Kafka answer.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	why := s.p.lacking.Load()
	if why == nil {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := errors.Join(s.p.pool.Ping(ctx), s.p.producer.Ping(ctx)); err != nil {
			text := "a store can't be reached: " + err.Error()
			why = &text
		} else if n := s.p.stats.Paused(); n > 0 {
			text := fmt.Sprintf("%d logs are paused until an operator accepts a loss (cockpit offsets show)", n)
			why = &text
		} else if n := s.p.stats.Full(); n > 0 {
			text := fmt.Sprintf("the dedupe windows of %d logs are full (COCKPIT_WINDOW_EVENTS); they go on when their oldest hour is past", n)
			why = &text
		}
	}
	if why != nil {
		http.Error(w, *why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// serve answers until ctx ends, and then finishes what was begun.
func (s *server) serve(ctx context.Context) error {
	defer close(s.stopped)
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		return s.http.Shutdown(ctx)
	}
}

// drained waits until no request is answered any more, so that the stores can be closed.
func (s *server) drained(context.Context) error {
	<-s.stopped
	return nil
}

// metrics are the program's, each with its meaning as help.
func (p *program) metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), p.requests)
	r.MustRegister(p.inStep.Collectors()...)
	for _, m := range []struct {
		name, help string
		value      func() int64
	}{
		{"cockpit_events_charged_total", "Usage events that were charged.", p.stats.Charged.Load},
		{"cockpit_events_duplicate_total", "Events whose identity had been decided before.", p.stats.Duplicate.Load},
		{"cockpit_events_observed_total", "Events that were recorded and not charged: of sources that only observe, and guardrail events.", p.stats.Observed.Load},
		{"cockpit_events_quarantined_total", "Events that could not be charged and are in usage.dlq.v1.", p.stats.Quarantined.Load},
		{"cockpit_events_moved_total", "Records that were moved to their home partition.", p.stats.Moved.Load},
		{"cockpit_journal_rows_total", "Batches that were committed to the journal.", p.stats.Batches.Load},
		{"cockpit_store_retries_total", "Tries against a store that failed.", p.stats.Retries},
		{"cockpit_worker_restarts_total", "Times that a worker started over from the journal.", p.stats.Restarts},
		{"cockpit_commits_refused_total", "Batches that were refused because another worker had taken their log, or it was paused.", p.stats.Refused},
		{"cockpit_http_events_accepted_total", "Events that the collector took.", func() int64 {
			if p.collect == nil {
				return 0
			}
			return p.collect.Accepted.Load()
		}},
		{"cockpit_rollup_events_total", "Events that were written to ClickHouse.", func() int64 {
			if p.rollup == nil {
				return 0
			}
			return p.rollup.Events()
		}},
		{"cockpit_alerts_published_total", "Alerts that were published to alerts.v1.", func() int64 {
			if p.dispatch == nil {
				return 0
			}
			return p.dispatch.Sent()
		}},
	} {
		value := m.value
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.name, Help: m.help}, func() float64 { return float64(value()) }))
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cockpit_lag_records", Help: "Records in Kafka that were not polled yet."},
		func() float64 { return float64(p.stats.Lag()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cockpit_logs_paused", Help: "Partitions that wait for an operator (cockpit offsets)."},
			func() float64 { return float64(p.stats.Paused()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cockpit_windows_full", Help: "Partitions that stand still because their dedupe window is full."},
			func() float64 { return float64(p.stats.Full()) }))
	return r
}
