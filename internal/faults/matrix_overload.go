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
		{Name: "overload/kafka", Row: rowOverload, Short: true, set: func(c *config) {
			c.metering, c.env = 1, []string{"COCKPIT_BATCH_EVENTS=200"}
			c.faults["metering-1"] = "worker.after-publish:*:sleep=100ms"
		}, run: overloadKafka},
		{Name: "overload/collector", Row: rowOverload, Short: true, set: func(c *config) { c.faults["ingest"] = "ingest.before-produce:*:sleep=500ms" }, run: overloadCollector},
	}
}

// memoryMax is how much memory a process may have, whatever waits: 512 MiB of the matrix, of which some is the runtime's.
const memoryMax = 640 << 20

// throttled is what metering can do in the case below: 200 events a batch and 4 partitions, 10 batches a second.
const throttled = 8000 // events/s

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
	flood := s.duration(12*time.Second, 60*time.Second)
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
	if behind > sent/2 {
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

// overloadCollector sends more than the collector may hold to one whose Kafka is slow. It refuses with 429 and a time to
// wait, answers nothing with 5xx, stays within its memory, and takes everything in the end.
func overloadCollector(ctx context.Context, w *World, s Scale) error {
	const clients, perRequest = 40, 1000
	var wg sync.WaitGroup
	var statuses sync.Map
	var accepted, refused, unhinted atomic.Int64
	count := func(status int) {
		n, _ := statuses.LoadOrStore(status, &atomic.Int64{})
		n.(*atomic.Int64).Add(1)
	}
	padding := strings.Repeat("x", 4000)
	end := time.Now().Add(s.duration(8*time.Second, 60*time.Second))
	for c := range clients {
		wg.Go(func() {
			for n := 0; time.Now().Before(end) && ctx.Err() == nil; n++ {
				list := make([]json.RawMessage, perRequest)
				for i := range list {
					list[i] = usual(fmt.Sprintf("over-%d-%d-%d", c, n, i)).value(func(e map[string]any) { e["data"].(map[string]any)["trace_id"] = padding })
				}
				body, err := json.Marshal(list)
				if err != nil {
					panic("BUG: events that are no JSON: " + err.Error())
				}
				for ctx.Err() == nil {
					status, header, err := w.post(body)
					if err != nil {
						status = 0
					}
					count(status)
					if status == http.StatusAccepted {
						accepted.Add(perRequest)
						break
					}
					if status == http.StatusTooManyRequests {
						refused.Add(1)
						if header.Get("Retry-After") == "" {
							unhinted.Add(1)
						}
					}
					sleep(ctx, time.Duration(200+len(body)%300)*time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	seen := map[int]int64{}
	bad := int64(0)
	statuses.Range(func(status, n any) bool {
		seen[status.(int)] = n.(*atomic.Int64).Load()
		if status.(int) >= 500 || status.(int) == 0 {
			bad += seen[status.(int)]
		}
		return true
	})
	memory, err := w.ingest.memoryMax()
	w.logf("answers %v; ingest had at most %d MiB", seen, memory>>20)
	switch {
	case err != nil:
		return err
	case bad > 0 || unhinted.Load() > 0:
		return fmt.Errorf("%d answers were 5xx or none, %d of 429 had no Retry-After", bad, unhinted.Load())
	case memory > memoryMax:
		return fmt.Errorf("ingest had %d MiB", memory>>20)
	}
	if refused.Load() > 0 {
		w.Fired("%d requests were refused with 429", refused.Load())
	}
	return w.settles(ctx, accepted.Load())
}
