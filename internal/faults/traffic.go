//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/traffic"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	trafficBatch = 25
	trafficPause = 40 * time.Millisecond // between the batches of one sender
	sendRetry    = 50 * time.Millisecond
	strayEvery   = 5 // batches: how often one goes to Kafka directly, to partitions where it does not belong
)

// flow is traffic that goes on until it is stopped. What was not acknowledged is sent again until it is.
type flow struct {
	w        *World
	mu       sync.Mutex
	accepted map[string]bool // keys that were acknowledged
	statuses map[int]int     // of HTTP answers; 0: none came
	stop     context.CancelFunc
	done     sync.WaitGroup
	strays   atomic.Int64
}

// send begins traffic, and returns when every log moves.
func (w *World) send(ctx context.Context) (*flow, error) {
	targets, err := w.targets(ctx)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	f := &flow{w: w, accepted: map[string]bool{}, statuses: map[int]int{}, stop: stop}
	direct, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.current().URL), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		stop()
		return nil, err
	}
	w.mu.Lock()
	w.flows = append(w.flows, f)
	w.mu.Unlock()
	for i := range w.cfg.senders {
		g := traffic.New(w.rand.Uint64N(1<<40)<<8|uint64(i), targets, traffic.Mix{Duplicates: 5})
		f.done.Go(func() { f.run(running, g, direct) })
	}
	go func() {
		f.done.Wait()
		direct.Close()
	}()
	return f, w.moves(ctx, metered)
}

func (w *World) targets(ctx context.Context) ([]traffic.Target, error) {
	list, err := directory.Targets(ctx, w.db, 0, 0)
	targets := make([]traffic.Target, len(list))
	for i, t := range list {
		targets[i] = traffic.Target(t)
	}
	return targets, err
}

func (f *flow) run(ctx context.Context, g *traffic.Generator, direct *kgo.Client) {
	for n := 1; ctx.Err() == nil; n++ {
		batch := make([]traffic.Event, trafficBatch)
		for i := range batch {
			var err error
			if batch[i], err = g.Next(time.Now()); err != nil {
				panic("BUG: an event that can't be made: " + err.Error())
			}
		}
		if n%strayEvery == 0 {
			f.stray(direct, batch)
		} else {
			f.post(batch)
		}
		sleep(ctx, trafficPause)
	}
}

// post sends the batch over HTTP until it is accepted: also beyond the end of the traffic, since part of it may have been.
func (f *flow) post(batch []traffic.Event) {
	values := make([]json.RawMessage, len(batch))
	for i := range batch {
		values[i] = batch[i].Value
	}
	body, err := json.Marshal(values)
	if err != nil {
		panic("BUG: events that are no JSON: " + err.Error())
	}
	for {
		status, _, err := f.w.post(body)
		f.mu.Lock()
		f.statuses[status]++
		f.mu.Unlock()
		if err == nil && status == http.StatusAccepted {
			f.acknowledged(batch)
			return
		}
		if f.w.closed() {
			return
		}
		time.Sleep(sendRetry)
	}
}

// post sends a body to the collector.
func (w *World) post(body []byte) (status int, header http.Header, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+w.ingest.address+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	res, err := w.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Header, err
}

// stray sends the batch to Kafka, wherever, and something broken with it.
func (f *flow) stray(direct *kgo.Client, batch []traffic.Event) {
	for {
		records := []*kgo.Record{{Topic: topics.Usage, Value: []byte(`{"specversion":"1.0"`)}}
		for i := range batch {
			records = append(records, &kgo.Record{Topic: topics.Usage, Key: []byte(batch[i].Key), Value: batch[i].Value})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := direct.ProduceSync(ctx, records...).FirstErr()
		cancel()
		if err == nil {
			f.strays.Add(int64(len(batch)))
			f.acknowledged(batch)
			return
		}
		if f.w.closed() {
			return
		}
		time.Sleep(sendRetry)
	}
}

func (f *flow) acknowledged(batch []traffic.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range batch {
		f.accepted[batch[i].Key] = true
	}
}

// count is the number of distinct events that were accepted.
func (f *flow) count() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.accepted))
}

// end stops the traffic and waits until what was begun is accepted.
func (f *flow) end() {
	f.stop()
	f.done.Wait()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
