package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/pause"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/rs/cors"
	"golang.org/x/sync/errgroup"
)

// Authenticator finds out who sends a request. Its errors are Problems, or are mapped as every other.
type Authenticator interface {
	Authenticate(r *http.Request) (*access.Principal, error)
}

// Config is what an API needs. To describe itself, it needs nothing.
type Config struct {
	Stores            Stores
	Authenticator     Authenticator
	Audit             *audit.Log
	Cipher            Cipher
	ClickHouse        driver.Conn // nil: this process reaches none
	Log               *slog.Logger
	Now               func() time.Time
	Version           string
	PublicURL         string                                                 // where browsers reach us, without a path
	RequestsPerSecond int                                                    // of one caller; 0: no limit
	Observe           func(operation string, status int, took time.Duration) // nil: nobody counts
	Origins           []string                                               // of pages elsewhere that may call, besides those of registered clients
}

// API is the control API. Make it with New, register operations, and Mount it.
type API struct {
	cfg        Config
	huma       huma.API
	engine     *gin.Engine
	operations []*Operation
	elsewhere  []*Operation // that are only described here
	rates      rates
	views      views
	origins    origins
	uploads    map[string]bool // routes whose body is a file
	spooling   chan struct{}   // a place for each file that is being sent
	beside     []func(context.Context) error
	watchers   atomic.Int64
	stopping   chan struct{} // closed when Run is told to stop
}

// New returns an API without operations.
func New(cfg Config) *API {
	useProblems()
	gin.SetMode(gin.ReleaseMode)
	a := &API{cfg: cfg, engine: gin.New(), rates: newRates(), uploads: map[string]bool{}, spooling: make(chan struct{}, uploadsMax), stopping: make(chan struct{})}
	a.origins.api = a
	a.engine.HandleMethodNotAllowed = true
	_ = a.engine.SetTrustedProxies(nil) // a list that is empty can't be wrong
	a.engine.Use(identify, gin.CustomRecoveryWithWriter(nil, func(g *gin.Context, what any) {
		a.stop(g, panicked(what))
	}))
	a.engine.NoRoute(func(g *gin.Context) {
		a.stop(g, NewProblem(http.StatusNotFound, CodeNotFound, "There is no such route."))
	})
	a.engine.NoMethod(func(g *gin.Context) {
		a.stop(g, NewProblem(http.StatusMethodNotAllowed, "method_not_allowed", "This route has no such method."))
	})
	a.huma = humagin.NewWithGroup(a.engine, a.engine.Group("", a.bound), description(cfg.Version))
	a.describe()
	return a
}

// Handler answers for all operations, the document and its page, with CORS.
func (a *API) Handler() http.Handler {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			return a.origins.allowed(r.Context(), origin), nil
		},
		AllowedMethods: []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", requestIDHeader},
		ExposedHeaders: []string{"ETag", "Retry-After", requestIDHeader, "Content-Disposition"},
		MaxAge:         600,
	}).Handler(a.engine)
}

// Engine is where routes are mounted that are no operations: signing in, the collector.
func (a *API) Engine() *gin.Engine { return a.engine }

// Operations are those that were registered, for tests that walk over all.
func (a *API) Operations() []*Operation { return a.operations }

// Config is what the API was made with, for the ground's other parts.
func (a *API) Config() Config { return a.cfg }

// Beside makes run a part of Run: work that no request waits for. It returns when its context has ended and it has drained.
func (a *API) Beside(run func(context.Context) error) { a.beside = append(a.beside, run) }

// Run does what no request does, until ctx ends; then watchers are told to come again. It is called once.
func (a *API) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	context.AfterFunc(ctx, func() { close(a.stopping) })
	for _, run := range append(a.beside, a.keepHouse) {
		g.Go(func() error { return run(ctx) })
	}
	return g.Wait()
}

// keepHouse removes old answers now and then.
func (a *API) keepHouse(ctx context.Context) error {
	for {
		if err := a.forgetAnswers(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("removing old answers", "error", err)
		}
		if !pause.For(ctx, housekeepingEvery) {
			return nil
		}
	}
}

const housekeepingEvery = 10 * time.Minute

// problem maps an error to its answer, and logs what is ours.
func (a *API) problem(ctx context.Context, requestID string, err error) *Problem {
	p := problemOf(err)
	p.RequestID = requestID
	if p.cause != nil {
		err = p.cause
	}
	if p.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		a.cfg.Log.ErrorContext(ctx, "a request failed", "request_id", requestID, "status", p.Status, "code", p.Code, "error", err)
	}
	return p
}

// panicked is the error of what a handler panicked with.
func panicked(what any) error {
	return fmt.Errorf("BUG: a handler panicked: %v\n%s", what, debug.Stack())
}
