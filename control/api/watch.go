package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/jackc/pgx/v5"
)

const (
	watchMax     = 5 * time.Minute // then a watcher comes again, and is authenticated again
	watchEvery   = 500 * time.Millisecond
	commentEvery = 15 * time.Second // less than proxies wait for
	watchersMax  = 500              // of one process
	watchRetryMs = 1000
)

// Watched is embedded by the inputs of operations that tell what becomes of an object.
type Watched struct {
	Seconds int `query:"seconds" minimum:"1" maximum:"300" default:"300" doc:"how long at most; then ask again, as an EventSource does by itself"`
}

// AtMost is how long the caller wants to hear.
func (w Watched) AtMost() time.Duration { return time.Duration(w.Seconds) * time.Second }

// watched is the input of such an operation.
type watched[I any] interface {
	*I
	AtMost() time.Duration
}

// Watch registers an operation that tells by server-sent events what an object is, and each time that it has changed, until it
// changes no more, or the caller has heard enough. look reads it, in a transaction of its own, and says whether that was the
// last; between two looks a watcher holds nothing of the database. Each event has the name event and the object as JSON.
func Watch[I any, P watched[I], T any](a *API, op Operation, event string, look func(context.Context, *Call, *I) (now *T, last bool, err error)) {
	op.Method, op.timeout = http.MethodGet, watchMax+requestTimeout
	described := a.prepare(&op)
	described.Responses = map[string]*huma.Response{"200": {Description: "Events named " + event + ", each with the object as it is then.", Content: map[string]*huma.MediaType{
		"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeArray, Items: a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, event)}}}}}
	huma.Register(a.huma, described, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		c := callOf(ctx)
		w := &watcher{api: a, event: event, look: func(ctx context.Context) (text []byte, last bool, err error) {
			err = a.cfg.Stores.InTx(ctx, c.accountID(), pgx.ReadOnly, func(tx pgx.Tx) error {
				var now *T
				c.Tx = tx
				if now, last, err = look(ctx, c, in); err != nil {
					return err
				}
				text, err = json.Marshal(now)
				return err
			})
			return text, last, err
		}}
		first, last, err := w.look(ctx)
		if err != nil {
			return nil, a.problem(ctx, c.RequestID, err)
		}
		if a.watchers.Add(1) > watchersMax {
			a.watchers.Add(-1)
			return nil, a.problem(ctx, c.RequestID, NewProblem(http.StatusTooManyRequests, CodeRateLimited, "Too many are watching; ask now and then instead.").With("Retry-After", "5"))
		}
		return &huma.StreamResponse{Body: func(h huma.Context) {
			defer a.watchers.Add(-1)
			ctx, cancel := context.WithTimeout(ctx, P(in).AtMost())
			defer cancel()
			w.tell(ctx, h, first, last)
		}}, nil
	})
}

type watcher struct {
	api   *API
	event string
	look  func(context.Context) (text []byte, last bool, err error)
}

// tell sends what the object is now, and then each change, until the last, ctx ends, or the caller has gone. While the
// database is away it waits, and any other error ends it: the caller asks again, and is told.
func (w *watcher) tell(ctx context.Context, h huma.Context, now []byte, last bool) {
	h.SetHeader("Content-Type", "text/event-stream")
	h.SetHeader("Cache-Control", "no-store")
	h.SetHeader("X-Accel-Buffering", "no") // or nginx keeps events to itself
	h.SetStatus(http.StatusOK)
	out := humagin.Unwrap(h).Writer
	send := func(format string, args ...any) bool {
		_, err := fmt.Fprintf(out, format, args...)
		out.Flush()
		return err == nil
	}
	if !send("retry: %d\nevent: %s\ndata: %s\n\n", watchRetryMs, w.event, now) {
		return
	}
	next, quiet := time.NewTicker(watchEvery), time.NewTicker(commentEvery)
	defer next.Stop()
	defer quiet.Stop()
	for !last {
		select {
		case <-ctx.Done():
			return
		case <-w.api.stopping:
			return
		case <-quiet.C:
			if !send(": still there\n\n") {
				return
			}
		case <-next.C:
			var text []byte
			var err error
			text, last, err = w.look(ctx)
			if away(err) {
				continue
			}
			if err != nil {
				return
			}
			if !bytes.Equal(text, now) && !send("event: %s\ndata: %s\n\n", w.event, text) {
				return
			}
			now = text
		}
	}
}
