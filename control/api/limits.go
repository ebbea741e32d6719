package api

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"
)

const (
	bodyMax         = 1 << 20
	depthMax        = 64
	requestTimeout  = 30 * time.Second
	fileTimeout     = 15 * time.Minute // of an answer that is streamed
	requestIDHeader = "X-Request-Id"
	requestIDMax    = 64
	callersMax      = 100_000 // whose rates are remembered
)

// identify gives each request its id: the caller's own where it is well-formed, and a new one otherwise.
func identify(g *gin.Context) {
	id := g.GetHeader(requestIDHeader)
	if !wellFormed(id) {
		id = rand.Text()
	}
	g.Header(requestIDHeader, id)
	g.Next()
}

func wellFormed(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == '"' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= requestIDMax
}

// bound limits a request's size and depth. The body is read here, once; how long that may take, the server says.
func (a *API) bound(g *gin.Context) {
	switch {
	case g.Request.Body == nil || g.Request.Body == http.NoBody:
	case a.uploads[uploadRoute(g.Request.Method, g.FullPath())]:
		boundUpload(g)
	default:
		body, err := io.ReadAll(http.MaxBytesReader(g.Writer, g.Request.Body, bodyMax))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			a.stop(g, NewProblem(http.StatusRequestEntityTooLarge, "too_large", "A request has at most 1 MiB."))
			return
		case err != nil:
			a.stop(g, NewProblem(http.StatusBadRequest, CodeInvalid, "The body could not be read."))
			return
		case tooDeep(body):
			a.stop(g, NewProblem(http.StatusUnprocessableEntity, "too_deep", "The body is nested deeper than "+strconv.Itoa(depthMax)+"."))
			return
		}
		g.Request.Body = io.NopCloser(bytes.NewReader(body))
	}
	g.Next()
}

// stop answers a request that came no further than gin.
func (a *API) stop(g *gin.Context, err error) {
	p := a.problem(g.Request.Context(), g.Writer.Header().Get(requestIDHeader), err)
	for name, values := range p.header {
		g.Writer.Header()[name] = values
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic("BUG: a problem that is no JSON: " + err.Error())
	}
	g.Abort()
	g.Data(p.Status, p.ContentType(""), append(text, '\n'))
}

// tooDeep says whether JSON is nested deeper than depthMax. What is no JSON is not its business.
func tooDeep(body []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > depthMax {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// rates bound how often each caller, and all callers of an account, may ask. They are kept in memory: a process of its own
// has rates of its own.
type rates struct {
	mu       sync.Mutex
	limiters map[string]*rate.Limiter
}

func newRates() rates { return rates{limiters: map[string]*rate.Limiter{}} }

// take counts a request, or says when the next one may come. perSecond may be taken twice at once.
func (r *rates) take(caller string, perSecond int, now time.Time) error {
	if perSecond <= 0 {
		return nil
	}
	r.mu.Lock()
	l := r.limiters[caller]
	if l == nil {
		if len(r.limiters) >= callersMax {
			clear(r.limiters) // those who are at their limit get one second's requests more
		}
		l = rate.NewLimiter(rate.Limit(perSecond), 2*perSecond)
		r.limiters[caller] = l
	} else if l.Limit() != rate.Limit(perSecond) {
		l.SetLimitAt(now, rate.Limit(perSecond))
		l.SetBurstAt(now, 2*perSecond)
	}
	r.mu.Unlock()
	reservation := l.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	reservation.CancelAt(now)
	return NewProblem(http.StatusTooManyRequests, CodeRateLimited, "Too many requests: at most "+strconv.Itoa(perSecond)+" a second.").
		With("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}

// views remembers which views were put on record in this hour.
type views struct {
	mu   sync.Mutex
	hour int64
	seen map[string]bool
}

func (v *views) first(view string, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if hour := now.Unix() / 3600; hour != v.hour || v.seen == nil {
		v.hour, v.seen = hour, map[string]bool{}
	}
	if v.seen[view] {
		return false
	}
	v.seen[view] = true
	return true
}

func (v *views) forget(view string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.seen, view)
}
