package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	batchEvents   = 100 // of a request
	senders       = 128 // connections of the collector's clients
	differentOnes = 200 // batches that are made beforehand, and sent again and again
)

// collecting is P10. The collector is a process of its own, with its real router, its listener and a service key. The
// baseline produces the same bytes (key, value and header) as fast as franz-go can: it waits for acknowledgements of all
// replicas only at its end.
func collecting(ctx context.Context, r *runner) (gate, error) {
	o := r.o
	o.Events = 0
	shared, err := r.directory(ctx)
	if err != nil {
		return gate{}, err
	}
	s, err := shared.other(ctx, o, "collector", true)
	if err != nil {
		return gate{}, err
	}
	g := gate{measures: perSecond(0.4, 0.6), close: s.close}
	url, err := s.database(ctx)
	if err != nil {
		s.close()
		return g, err
	}
	c, err := newClient(ctx, url)
	if err == nil {
		c.program, err = s.serve(ctx, url, "", "ingest")
	}
	if err != nil {
		s.close()
		return g, err
	}
	g.close = func() { _ = c.program.Stop(); s.close() }
	g.ours = one(func(ctx context.Context) (float64, error) { return c.send(ctx, r.o.Events) })
	g.baseline = one(func(ctx context.Context) (float64, error) { return c.produce(ctx, s.kafka.URL, r.o.Events) })
	g.settings = fmt.Sprintf("%d events; collector: batches of %d, %d connections, each waits for its answer; baseline: one client, asynchronous, lz4, acks=all", r.o.Events, batchEvents, senders)
	return g, nil
}

// client sends batches that were made beforehand.
type client struct {
	program *program
	key     string
	http    *http.Client
	bodies  [][]byte
	ids     [][]int // of each body: where the numbers of its ids stand
	records []*kgo.Record
}

// newClient makes a key and the batches; the program is still to be started.
func newClient(ctx context.Context, postgresURL string) (*client, error) {
	c := &client{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}}
	var err error
	if c.key, err = key(ctx, postgresURL); err != nil {
		return nil, err
	}
	for i := range differentOnes {
		body, ids := []byte("["), []int(nil)
		for k := range batchEvents {
			r, err := usual(i*batchEvents+k, Options{Accounts: 1000, Users: 100})
			if err != nil {
				return nil, err
			}
			if k > 0 {
				body = append(body, ',')
			}
			ids = append(ids, len(body)+bytes.Index(r.Value, []byte(idPrefix))+len(idPrefix))
			body = append(body, r.Value...)
			r.Headers = []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}}
			c.records = append(c.records, r)
		}
		c.bodies, c.ids = append(c.bodies, append(body, ']')), append(c.ids, ids)
	}
	return c, nil
}

// send posts that many events, and returns how many were acknowledged a second.
func (c *client) send(ctx context.Context, n int) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range senders {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i*batchEvents >= int64(n) || ctx.Err() != nil {
					return
				}
				if err := c.post(ctx, c.bodies[i%differentOnes]); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	sent := (n + batchEvents - 1) / batchEvents * batchEvents
	return float64(sent) / time.Since(begin).Seconds(), nil
}

// post sends one batch, and waits until it is acknowledged. Refused ones are sent again.
func (c *client) post(ctx context.Context, body []byte) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.program.url+"/v1/events", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+c.key)
		req.Header.Set("Content-Type", "application/cloudevents-batch+json")
		res, err := c.http.Do(req)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		switch {
		case err != nil:
			return err
		case res.StatusCode == http.StatusTooManyRequests:
			time.Sleep(10 * time.Millisecond)
		case res.StatusCode != http.StatusAccepted || !bytes.Contains(answer, []byte(`"rejected":0,`)):
			return fmt.Errorf("the collector answered %s: %.300s", res.Status, answer)
		default:
			return nil
		}
	}
}

// produce is the baseline.
func (c *client) produce(ctx context.Context, brokers string, n int) (float64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	if err := cl.Ping(ctx); err != nil {
		return 0, err
	}
	var failed atomic.Pointer[error]
	begin := time.Now()
	for i := range n {
		r := c.records[i%len(c.records)]
		cl.Produce(ctx, &kgo.Record{Topic: topics.Usage, Key: r.Key, Value: r.Value, Headers: r.Headers}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	err = cl.Flush(ctx)
	took := time.Since(begin)
	if first := failed.Load(); first != nil {
		err = errors.Join(err, *first)
	}
	return float64(n) / took.Seconds(), err
}
