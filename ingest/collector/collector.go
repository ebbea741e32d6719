package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/gin-gonic/gin"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrUnauthenticated says that a bearer token opens nothing.
var ErrUnauthenticated = errors.New("the service key is not known, revoked or expired")

// Principal is who sends.
type Principal struct {
	KeyID       int64
	AllAccounts bool     // it may send for whichever its sources may
	Accounts    []string // otherwise: keys of the accounts that it may send for
	Sources     []Grant
}

// Grant is a source that a principal may send as.
type Grant struct {
	Source      string
	Sections    []string
	AllAccounts bool
	Accounts    []string
}

// Authenticator knows principals by their bearer token.
type Authenticator interface {
	// Authenticate returns ErrUnauthenticated when the token opens nothing.
	Authenticate(ctx context.Context, token string) (Principal, error)
}

const (
	bodyMax    = 5 << 20
	eventsMax  = 1000
	retryAfter = "1"
)

// Config is what a collector needs.
type Config struct {
	Producer     *kgo.Client // made with ProducerOptions
	Authenticate Authenticator
	Log          *slog.Logger
	InFlightMax  int64         // bytes of requests that wait for Kafka; default 64 MiB
	Timeout      time.Duration // of an acknowledgement; default 10 s
}

// Collector is the handler. Make it with New.
type Collector struct {
	cfg      Config
	inFlight atomic.Int64

	Accepted, Rejected atomic.Int64 // events
	Refused            atomic.Int64 // requests that were answered 429 or 503
}

// New returns a collector.
func New(cfg Config) *Collector {
	if cfg.InFlightMax == 0 {
		cfg.InFlightMax = 64 << 20
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	return &Collector{cfg: cfg}
}

// Register adds the collector's routes.
func (c *Collector) Register(r gin.IRouter) {
	r.POST("/v1/events", c.guarded(bodyMax, c.events))
	r.POST("/v1/events/litellm", c.guarded(litellmMax, c.litellm))
}

// Result is what became of one event of a request.
type Result struct {
	Index  int    `json:"index"`
	Status string `json:"status"` // accepted or rejected
	ID     string `json:"id,omitempty"`
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Answer is the body of 202, and of 400 when no event of the request was taken.
type Answer struct {
	Accepted int      `json:"accepted"`
	Rejected int      `json:"rejected"`
	Results  []Result `json:"results"`
}

// problem answers with RFC 9457 problem details.
func problem(g *gin.Context, status int, code, detail string) {
	g.Abort()
	g.Header("Content-Type", "application/problem+json")
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		g.Header("Retry-After", retryAfter)
	}
	text, err := json.Marshal(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "detail": detail,
		"request_id": g.Writer.Header().Get("X-Request-Id")})
	if err != nil {
		panic("BUG: problem details that are no JSON: " + err.Error())
	}
	g.Status(status)
	_, _ = g.Writer.Write(text)
}

// guarded authenticates, reserves room for the body and reads it.
func (c *Collector) guarded(limit int64, next func(*gin.Context, Principal, []byte)) gin.HandlerFunc {
	return func(g *gin.Context) {
		token, ok := strings.CutPrefix(g.GetHeader("Authorization"), "Bearer ")
		if !ok {
			problem(g, http.StatusUnauthorized, "unauthenticated", "send a service key as Authorization: Bearer ck_…")
			return
		}
		p, err := c.cfg.Authenticate.Authenticate(g.Request.Context(), token)
		if errors.Is(err, ErrUnauthenticated) {
			problem(g, http.StatusUnauthorized, "unauthenticated", err.Error())
			return
		}
		if err != nil {
			c.cfg.Log.Warn("authenticating", "error", err)
			c.unavailable(g, "service keys can't be looked up now")
			return
		}
		size := g.Request.ContentLength
		if size < 0 || size > limit {
			size = limit
		}
		if c.inFlight.Add(size) > c.cfg.InFlightMax {
			c.inFlight.Add(-size)
			c.Refused.Add(1)
			problem(g, http.StatusTooManyRequests, "too_many_events", "more events wait for Kafka than fit; send again later")
			return
		}
		defer c.inFlight.Add(-size)
		body, err := read(http.MaxBytesReader(g.Writer, g.Request.Body, limit), g.Request.ContentLength, limit)
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			problem(g, http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("a request has at most %d bytes", limit))
			return
		}
		if err != nil {
			problem(g, http.StatusBadRequest, "malformed", "the body could not be read: "+err.Error())
			return
		}
		next(g, p, body)
	}
}

// read reads a body whose length was announced, or not (-1).
func read(from io.Reader, length, limit int64) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, min(max(length, 0), limit)+bytes.MinRead)) // room to find the end without growing
	_, err := b.ReadFrom(from)
	return b.Bytes(), err
}

func (c *Collector) unavailable(g *gin.Context, detail string) {
	c.Refused.Add(1)
	problem(g, http.StatusServiceUnavailable, "unavailable", detail)
}

// events takes one event, a batch or an array of events, or one in binary mode.
func (c *Collector) events(g *gin.Context, p Principal, body []byte) {
	r := c.request(p)
	media, _, _ := strings.Cut(g.ContentType(), ";")
	binary := g.GetHeader("Ce-Specversion") != "" || g.GetHeader("Ce-Id") != ""
	switch {
	case binary:
		r.addBinary(g.Request.Header, media, body)
	case media == "application/cloudevents+json":
		r.add(body)
	case media == "application/cloudevents-batch+json", media == "application/json", media == "":
		items, err := decode.Split(body, eventsMax)
		if err != nil {
			if media == "application/cloudevents-batch+json" || !json.Valid(body) {
				problem(g, http.StatusBadRequest, "malformed", "the body is no JSON array of events: "+err.Error())
				return
			}
			items = [][]byte{body} // one event, sent as plain JSON
		}
		if len(items) > eventsMax {
			problem(g, http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("a request has at most %d events", eventsMax))
			return
		}
		r.expect(len(items))
		for _, item := range items {
			r.add(item)
		}
	default:
		problem(g, http.StatusUnsupportedMediaType, "unsupported_media_type",
			"send application/cloudevents+json, application/cloudevents-batch+json, a JSON array, or binary mode (ce- headers)")
		return
	}
	c.answer(g, r)
}

// answer produces what was taken and answers with what became of each event.
func (c *Collector) answer(g *gin.Context, r *request) {
	if err := r.produce(g.Request.Context()); err != nil {
		c.cfg.Log.Warn("producing", "error", err)
		c.unavailable(g, "Kafka did not acknowledge the events; send all of them again")
		return
	}
	a := Answer{Results: r.results}
	for i := range r.results {
		if r.results[i].Status == accepted {
			a.Accepted++
		} else {
			a.Rejected++
		}
	}
	c.Accepted.Add(int64(a.Accepted))
	c.Rejected.Add(int64(a.Rejected))
	status := http.StatusAccepted
	if a.Accepted == 0 && a.Rejected > 0 {
		status = http.StatusBadRequest
	}
	g.Data(status, "application/json; charset=utf-8", appendAnswer(make([]byte, 0, 64*(1+len(a.Results))), &a))
}
