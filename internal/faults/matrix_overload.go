//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/twmb/franz-go/pkg/kgo"
)

func overloads() []Case {
	return []Case{
		{Name: "overload/kafka", Row: rowOverload, set: func(c *config) {
			c.metering, c.env = 1, []string{"COCKPIT_BATCH_EVENTS=200"}
			c.faults["metering-1"] = "worker.after-publish:*:sleep=800ms"
		}, run: overloadKafka},
		{Name: "overload/collector", Row: rowOverload, Short: true, set: func(c *config) { c.faults["ingest"] = "ingest.before-produce:*:sleep=2s" }, run: overloadCollector},
	}
}

// memoryMax is how much memory a process may have, whatever waits: 512 MiB of the matrix, of which some is the runtime's.
const memoryMax = 640 << 20

// throttled is what metering can do at most in the case below: 200 events a batch, of 4 partitions, every 800 ms.
const throttled = 1000 // events/s

// overloadKafka sends ten times what metering can do, by Kafka, to a metering that is held back. Its memory stays bounded,
// and when the flood ends and it is let go, the backlog drains.
func overloadKafka(ctx context.Context, w *World, s Scale) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.current().URL), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MaxBufferedRecords(20_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	sent := int64(0)
	var failed atomic.Pointer[error]
	begin := time.Now()
	flood := s.duration(12*time.Second, 30*time.Second)
	for time.Since(begin) < flood && ctx.Err() == nil {
		for range 1000 {
			m := usual(fmt.Sprint("flood-", sent))
			cl.Produce(ctx, &kgo.Record{Topic: topics.Usage, Key: []byte(m.key()), Value: m.value()}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
			sent++
		}
		if ahead := time.Duration(sent)*time.Second/(10*throttled) - time.Since(begin); ahead > 0 {
			sleep(ctx, ahead)
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("produce: %w", *err)
	}
	rate := float64(sent) / time.Since(begin).Seconds()
	behind, err := w.behind(ctx)
	if err != nil {
		return err
	}
	if rate > 5*throttled && behind > sent/2 {
		w.Fired("%d events at %.0f/s to a metering that does %d/s at most: %d wait", sent, rate, throttled, behind)
	}
	held := w.metering[0]
	memory, err := held.memoryMax()
	if err == nil && memory > memoryMax {
		err = fmt.Errorf("metering had %d MiB", memory>>20)
	}
	w.logf("metering had at most %d MiB", memory>>20)
	if err := errors.Join(err, held.plant("")); err != nil { // it is let go
		return err
	}
	return w.settles(ctx, sent)
}

const (
	overClients = 20
	overEvents  = 200
	overPadding = 20_000 // bytes an event
)

// overloadCollector sends more than the collector may hold to one whose Kafka is slow. It refuses with 429 and a time to
// wait, answers nothing with 5xx, stays within its memory, and takes everything in the end.
func overloadCollector(ctx context.Context, w *World, s Scale) error {
	o := over{w: w, end: time.Now().Add(s.duration(8*time.Second, 20*time.Second)), statuses: map[int]int{}}
	var wg sync.WaitGroup
	for c := range overClients {
		wg.Go(func() { o.client(ctx, c) })
	}
	wg.Wait()
	memory, err := w.ingest.memoryMax()
	w.logf("answers %v; ingest had at most %d MiB", o.statuses, memory>>20)
	refused := o.statuses[http.StatusTooManyRequests]
	switch {
	case err != nil:
		return err
	case o.statuses[http.StatusAccepted]+refused != o.requests || o.unhinted > 0:
		return fmt.Errorf("of %d requests some were answered otherwise than with 202 or 429: %v; %d of 429 had no Retry-After", o.requests, o.statuses, o.unhinted)
	case memory > memoryMax:
		return fmt.Errorf("ingest had %d MiB", memory>>20)
	}
	if refused > 0 {
		w.Fired("%d of %d requests were refused with 429", refused, o.requests)
	}
	return w.settles(ctx, int64(o.statuses[http.StatusAccepted]*overEvents))
}

// over is an overload of the collector.
type over struct {
	w   *World
	end time.Time

	mu                 sync.Mutex
	statuses           map[int]int
	requests, unhinted int
}

// client sends requests one after the other; what is refused is sent again.
func (o *over) client(ctx context.Context, c int) {
	padding := strings.Repeat("x", overPadding)
	for n := 0; time.Now().Before(o.end) && ctx.Err() == nil; n++ {
		list := make([]json.RawMessage, overEvents)
		for i := range list {
			list[i] = usual(fmt.Sprintf("over-%d-%d-%d", c, n, i)).value(func(e map[string]any) { e["data"].(map[string]any)["padding"] = padding })
		}
		body, err := json.Marshal(list)
		if err != nil {
			panic("BUG: events that are no JSON: " + err.Error())
		}
		for o.post(body) == http.StatusTooManyRequests && time.Now().Before(o.end) {
			sleep(ctx, 200*time.Millisecond)
		}
	}
}

func (o *over) post(body []byte) (status int) {
	status, header, err := o.w.post(body)
	if err != nil {
		status = 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests++
	o.statuses[status]++
	if status == http.StatusTooManyRequests && header.Get("Retry-After") == "" {
		o.unhinted++
	}
	return status
}
