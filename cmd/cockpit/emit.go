package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/traffic"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// emitBatch is how many events go in one request.
const emitBatch = 100

// emitted is what emit ends with.
type emitted struct {
	Sent     int    `json:"sent"`
	Accepted int    `json:"accepted"`
	Rejected int    `json:"rejected"`
	Seconds  string `json:"seconds"`
}

// sender sends a batch and says how many of it were accepted.
type sender func(ctx context.Context, batch []traffic.Event) (accepted int, err error)

func emitCommand(o *options) *cobra.Command {
	var n, rate, accounts, users int
	var seed uint64
	var mix traffic.Mix
	var via, file string
	c := &cobra.Command{Use: "emit", Short: "Send made or recorded events", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, pool, err := o.database(c.Context())
			if err != nil {
				return err
			}
			defer pool.Close()
			if seed == 0 {
				seed = uint64(time.Now().UnixNano())
			}
			next, closeSource, err := eventSource(c.Context(), pool, file, n, seed, accounts, users, mix)
			if err != nil {
				return err
			}
			defer closeSource()
			send, closeSender, err := o.sender(cfg, via)
			if err != nil {
				return err
			}
			defer closeSender()
			total, err := pump(c.Context(), next, send, rate)
			if err != nil {
				return err
			}
			return printRows(c.OutOrStdout(), o, []emitted{total}, "SENT\tACCEPTED\tREJECTED\tSECONDS", func(e emitted) []string {
				return []string{fmt.Sprint(e.Sent), fmt.Sprint(e.Accepted), fmt.Sprint(e.Rejected), e.Seconds}
			})
		}}
	f := c.Flags()
	f.IntVar(&n, "events", 1000, "how many")
	f.IntVar(&rate, "rate", 0, "events a second; 0: as fast as it goes")
	f.Uint64Var(&seed, "seed", 0, "the same seed makes the same events; 0: another each time")
	f.IntVar(&accounts, "accounts", 0, "of the first accounts only; 0: all")
	f.IntVar(&users, "users", 0, "of the first users of each account only; 0: all")
	f.IntVar(&mix.Duplicates, "duplicates", 0, "percent that are sent again")
	f.IntVar(&mix.Invalid, "invalid", 0, "percent that are broken")
	f.IntVar(&mix.Late, "late", 0, "percent that are older than a day")
	f.StringVar(&via, "via", "http", "http or kafka")
	f.StringVar(&file, "file", "", "send the events of this NDJSON file instead; - is standard input")
	return c
}

// eventSource returns what gives the next event; io.EOF at the end.
func eventSource(ctx context.Context, pool *pgxpool.Pool, file string, n int, seed uint64, accounts, users int, mix traffic.Mix) (func() (traffic.Event, error), func(), error) {
	if file == "" {
		g, err := generator(ctx, pool, seed, accounts, users, mix)
		return func() (traffic.Event, error) {
			if n--; n < 0 {
				return traffic.Event{}, io.EOF
			}
			return g.Next(time.Now())
		}, func() {}, err
	}
	in := os.Stdin
	if file != "-" {
		var err error
		if in, err = os.Open(file); err != nil {
			return nil, nil, err
		}
	}
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, 16<<20)
	return func() (traffic.Event, error) {
		for scanner.Scan() {
			line := bytes.TrimSpace(scanner.Bytes())
			if len(line) == 0 {
				continue
			}
			var e struct {
				ID, Source string
				Data       struct{ Account string }
			}
			_ = json.Unmarshal(line, &e) // what is broken is sent as it is
			return traffic.Event{Key: e.Data.Account + "/" + e.Source + "/" + e.ID, Value: bytes.Clone(line)}, nil
		}
		return traffic.Event{}, errors.Join(scanner.Err(), io.EOF)
	}, func() { in.Close() }, nil
}

func generator(ctx context.Context, pool *pgxpool.Pool, seed uint64, accounts, users int, mix traffic.Mix) (*traffic.Generator, error) {
	list, err := directory.Targets(ctx, pool, accounts, users)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("the directory has nobody whose usage could be made up: apply a file first")
	}
	targets := make([]traffic.Target, len(list))
	for i, t := range list {
		targets[i] = traffic.Target(t)
	}
	return traffic.New(seed, targets, mix), nil
}

// pump sends everything, in batches, at most rate a second.
func pump(ctx context.Context, next func() (traffic.Event, error), send sender, rate int) (total emitted, err error) {
	begin := time.Now()
	for done := false; !done && err == nil; {
		size := emitBatch
		if rate > 0 {
			size = min(size, max(1, rate/10))
		}
		var batch []traffic.Event
		for len(batch) < size {
			e, err := next()
			if errors.Is(err, io.EOF) {
				done = true
				break
			}
			if err != nil {
				return total, err
			}
			batch = append(batch, e)
		}
		if len(batch) == 0 {
			break
		}
		var accepted int
		accepted, err = send(ctx, batch)
		total.Sent += len(batch)
		total.Accepted += accepted
		total.Rejected += len(batch) - accepted
		if rate > 0 {
			select {
			case <-time.After(time.Until(begin.Add(time.Duration(total.Sent) * time.Second / time.Duration(rate)))):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	total.Seconds = fmt.Sprintf("%.3f", time.Since(begin).Seconds())
	return total, err
}

func (o *options) sender(cfg *config, via string) (sender, func(), error) {
	switch via {
	case "kafka":
		cl, err := kgo.NewClient(append(cfg.kafka(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.AllowIdempotentProduceCancellation())...)
		return kafkaSender(cl), cl.Close, err
	case "http":
		_, e, err := o.reach()
		if err == nil && e.API == "" {
			err = errors.New("no local dev to send to over HTTP: use --via kafka")
		}
		if err != nil {
			return nil, nil, err
		}
		return httpSender(e), func() {}, nil
	}
	return nil, nil, usageError{fmt.Errorf("--via is http or kafka, not %q", via)}
}

func kafkaSender(cl *kgo.Client) sender {
	return func(ctx context.Context, batch []traffic.Event) (int, error) {
		records := make([]*kgo.Record, len(batch))
		for i, e := range batch {
			records[i] = &kgo.Record{Topic: topics.Usage, Key: []byte(e.Key), Value: e.Value}
			if bytes.Contains(e.Value, []byte(events.TypeGuardrail)) {
				records[i].Topic = topics.Guardrail
			}
		}
		return len(batch), cl.ProduceSync(ctx, records...).FirstErr()
	}
}

func httpSender(e *endpoints) sender {
	return func(ctx context.Context, batch []traffic.Event) (int, error) {
		values := make([]json.RawMessage, 0, len(batch))
		for _, e := range batch {
			if json.Valid(e.Value) {
				values = append(values, e.Value)
			}
		}
		body, err := json.Marshal(values)
		if err != nil {
			return 0, err
		}
		for {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.API+"/v1/events", bytes.NewReader(body))
			if err != nil {
				return 0, err
			}
			req.Header.Set("Authorization", "Bearer "+e.ServiceKey)
			req.Header.Set("Content-Type", "application/cloudevents-batch+json")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return 0, err
			}
			var a struct {
				Accepted int
				Detail   string
			}
			err = json.NewDecoder(res.Body).Decode(&a)
			res.Body.Close()
			switch {
			case res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable:
				select {
				case <-time.After(time.Second):
					continue
				case <-ctx.Done():
					return 0, ctx.Err()
				}
			case res.StatusCode != http.StatusAccepted && res.StatusCode != http.StatusBadRequest:
				return 0, fmt.Errorf("the collector answered %s: %s", res.Status, a.Detail)
			}
			return a.Accepted, err
		}
	}
}
