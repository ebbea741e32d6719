package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/outgoing"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// event is what a SIEM reads.
type event struct {
	SpecVersion, ID, Type, Subject string
	Data                           struct {
		Chain, Seq    int64
		Hash          []byte
		PreviousHash  []byte `json:"previous_hash"`
		Entry         audit.Record
		Head          audit.Head
		ChangesSHA256 []byte `json:"changes_sha256"`
		ChangesBytes  int    `json:"changes_bytes"`
	}
}

// memory is a sink that takes a few events at a time, and then fails.
type memory struct {
	takes  int
	events []event
}

var errFull = errors.New("the sink takes no more")

func (m *memory) Deliver(_ context.Context, events []audit.Event) (int, error) {
	for i, e := range events {
		if m.takes == 0 {
			return i, errFull
		}
		m.takes--
		var read event
		if err := json.Unmarshal(e.Body, &read); err != nil {
			return i, err
		}
		m.events = append(m.events, read)
	}
	return len(events), nil
}

func (w *world) exporter(name string, sink audit.Sink) *audit.Exporter {
	return audit.NewExporter(w.platform, name, sink, slog.New(slog.DiscardHandler))
}

// whole fails where events are not all of the log, each chain in order.
func (w *world) whole(t *testing.T, events []event, want int) {
	t.Helper()
	last := map[int64]event{}
	for _, e := range events {
		before := last[e.Data.Chain]
		if e.Data.Seq != before.Data.Seq+1 || string(e.Data.PreviousHash) != string(before.Data.Hash) || e.SpecVersion != "1.0" || e.Type != "cockpit.audit.v1" || e.Subject != e.Data.Entry.ID ||
			!w.keys.Genuine(&e.Data.Head) || e.Data.Head.Seq < e.Data.Seq || e.Data.Entry.Actor.Name == "" || (e.Data.Chain == 0) != (e.Data.Entry.Account == "") {
			t.Fatalf("%+v comes after %+v", e, before)
		}
		last[e.Data.Chain] = e
	}
	if len(events) != want {
		t.Errorf("%d events, want %d", len(events), want)
	}
}

// A sink gets every sealed entry in order, once where it never fails, whoever starts again with it; each sink on its own.
func TestExportGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	slow, quick := &memory{}, &memory{takes: 1000}
	for round := range 8 {
		w.write(t, 10)
		w.seal(t)
		slow.takes = round
		_, err := w.exporter("slow", slow).Once(t.Context())
		if err != nil && !errors.Is(err, errFull) {
			t.Fatal(err)
		}
		if n, err := w.exporter("quick", quick).Once(t.Context()); n != 10 || err != nil {
			t.Fatal(n, err)
		}
	}
	slow.takes = 1000
	for {
		n, err := w.exporter("slow", slow).Once(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	w.whole(t, slow.events, 80)
	w.whole(t, quick.events, 80)
}

// Changes that are too long for a record leave as their hash; what stands behind them is not held up.
func TestLongChangesLeaveAsTheirHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	e := w.entry(0)
	e.Changes = []audit.Change{{Field: "x", After: []byte(`"` + strings.Repeat("x", 2<<20) + `"`)}}
	if err := pgx.BeginFunc(t.Context(), w.platform, func(tx pgx.Tx) error { return w.log.Append(t.Context(), tx, e) }); err != nil {
		t.Fatal(err)
	}
	w.write(t, 1)
	w.seal(t)
	m := &memory{takes: 10}
	if n, err := w.exporter("memory", m).Once(t.Context()); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	w.whole(t, m.events, 2)
	if d := m.events[0].Data; d.ChangesBytes < 2<<20 || len(d.ChangesSHA256) != 32 || len(d.Entry.Changes) != 0 || m.events[1].Data.ChangesBytes != 0 {
		t.Errorf("left as %+v", d)
	}
}

// broker is a Kafka with the topics.
func broker(t *testing.T) (*kgo.Client, []kgo.Opt) {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(testkit.Kafka(t))}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if _, err := topics.Ensure(t.Context(), kadm.NewClient(cl), 1); err != nil {
		t.Fatal(err)
	}
	return cl, opts
}

// verifyKafka verifies with the heads that Kafka has.
func (w *world) verifyKafka(t *testing.T, opts []kgo.Opt) []audit.Finding {
	t.Helper()
	kept, err := audit.KafkaHeads(t.Context(), opts, w.keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	var found []audit.Finding
	v := w.verifier(&found)
	v.Kept = kept
	if _, err := v.Verify(t.Context(), w.platform); err != nil {
		t.Fatal(err)
	}
	return found
}

// What Kafka has shows that a log was brought back to an older signed state, also after it went on from there, and also where
// the export was made to believe that nothing is missing.
func TestKafkaShowsTruncation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		more int    // entries that are written after the log was brought back
		sql  string // what else is done to hide it
		want string
	}{
		{"cut off", 0, `SELECT 1`, audit.ChainTruncated},
		{"cut off, and the export's place too", 0, `DELETE FROM audit_exports`, audit.ChainTruncated},
		{"gone on", 40, `DELETE FROM audit_exports`, audit.ChainRewritten},
		{"gone on behind the export's place", 40, `SELECT 1`, audit.ChainRewritten},
	} {
		producer, opts := broker(t)
		w := newWorld(t, 1)
		export := func() {
			t.Helper()
			if _, err := w.exporter(audit.KafkaSink, audit.Kafka(producer)).Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.write(t, 10)
		w.seal(t)
		if found := w.verifyKafka(t, opts); len(found) > 0 {
			t.Errorf("%s: found %v in an empty topic", c.name, found)
		}
		export()
		if _, err := w.owner.Exec(t.Context(), `CREATE TABLE heads AS SELECT * FROM audit_heads`); err != nil {
			t.Fatal(err)
		}
		w.write(t, 10)
		w.seal(t)
		export()
		if found := w.verifyKafka(t, opts); len(found) > 0 {
			t.Errorf("%s: found %v in an untouched log", c.name, found)
		}
		if _, err := w.owner.Exec(t.Context(), `DELETE FROM audit_entries e USING audit_seals s JOIN heads h USING (chain) WHERE s.entry_id = e.id AND s.seq > h.seq;
			DELETE FROM audit_seals s USING heads h WHERE h.chain = s.chain AND s.seq > h.seq; DELETE FROM audit_heads; INSERT INTO audit_heads SELECT * FROM heads; `+c.sql); err != nil {
			t.Fatal(err)
		}
		if found, _ := w.verify(t); len(found) > 0 {
			t.Errorf("%s: found %v without Kafka", c.name, found)
		}
		w.write(t, c.more)
		w.seal(t)
		if c.more > 0 {
			export()
		}
		found := w.verifyKafka(t, opts)
		if len(found) != 2 || found[0].What != c.want || found[1].What != c.want {
			t.Errorf("%s: found %v, want %s in both chains", c.name, found, c.want)
		}
	}
}

// What others write to the topic hides nothing, and is named where it looks like a head. Repetitions are nothing.
func TestWhatOthersWriteToTheTopic(t *testing.T) {
	t.Parallel()
	producer, opts := broker(t)
	w := newWorld(t, 1)
	w.write(t, 10)
	w.seal(t)
	for range 3 { // as after crashes between delivering and remembering
		if _, err := w.exporter(audit.KafkaSink, audit.Kafka(producer)).Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.owner.Exec(t.Context(), `UPDATE audit_exports SET seq = 2`); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		value string
		found int
	}{{"", 0}, {"null", 0}, {"{", 0}, {`{"data":{"chain":0,"seq":9}}`, 0}, {`{"data":{"chain":0,"seq":7,"head":{"chain":0,"seq":1000000,"hash":"AAAA","signature":"AAAA"}}}`, 1}} {
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Audit, Value: []byte(c.value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if found := w.verifyKafka(t, opts); len(found) != c.found || c.found > 0 && found[0].What != audit.HeadForged {
			t.Errorf("record %d: found %v", i, found)
		}
	}
	if _, err := w.owner.Exec(t.Context(), `DELETE FROM audit_seals WHERE chain = 0; DELETE FROM audit_entries WHERE account_id IS NULL; DELETE FROM audit_heads WHERE chain = 0`); err != nil {
		t.Fatal(err)
	}
	if found := w.verifyKafka(t, opts); len(found) < 2 {
		t.Errorf("found %v, want that the platform's chain is gone", found)
	}
}

// A webhook is signed, fails now and then, and gets all of it in order, over restarts of the exporter.
func TestWebhook(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 1)
	var mu sync.Mutex
	var events []event
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requests++
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		var e event
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil || e.ID != r.Header.Get("webhook-id") || r.Header.Get("Content-Type") != "application/cloudevents+json" {
			t.Errorf("%v: %v %s", err, r.Header, body)
		}
		if requests%4 == 3 {
			rw.WriteHeader([]int{http.StatusInternalServerError, http.StatusFound, http.StatusGone, http.StatusTooManyRequests}[requests/4%4])
			return
		}
		events = append(events, e)
		rw.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	w.write(t, 30)
	w.seal(t)
	for range 100 {
		sink, err := audit.Webhook(server.URL, secret, outgoing.New(outgoing.Config{PrivateHosts: []string{"127.0.0.1"}}), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := w.exporter(audit.WebhookSink, sink).Once(t.Context()); n == 0 && err == nil {
			break
		}
	}
	w.whole(t, events, 30)
	if requests != 30+30/3 && requests != 30+30/3-1 {
		t.Errorf("%d requests", requests)
	}
	sink, err := audit.Webhook(server.URL, secret, outgoing.New(outgoing.Config{}), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.exporter("elsewhere", sink).Once(t.Context()); n != 0 || !errors.Is(err, outgoing.ErrRefused) {
		t.Errorf("a private address was asked: %d, %v", n, err)
	}
	for _, bad := range []string{"", "whsec_", "whsec_c2hvcnQ=", "not base64!"} {
		if _, err := audit.Webhook(server.URL, bad, outgoing.New(outgoing.Config{}), time.Now); err == nil {
			t.Errorf("the secret %q was taken", bad)
		}
	}
}

// Two exporters of one sink at once hand out everything; the one that does not lead waits.
func TestTwoExporters(t *testing.T) {
	t.Parallel()
	producer, opts := broker(t)
	w := newWorld(t, 2)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	exporters := []*audit.Exporter{w.exporter(audit.KafkaSink, audit.Kafka(producer)), w.exporter(audit.KafkaSink, audit.Kafka(producer))}
	for _, x := range exporters {
		wg.Go(func() {
			if err := x.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for range 5 {
		w.write(t, 20)
		w.seal(t)
	}
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(topics.Audit))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var events []event
	for len(events) < 100 {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var e event
			if err := json.Unmarshal(r.Value, &e); err != nil {
				t.Error(err)
			}
			events = append(events, e)
		})
	}
	stop()
	wg.Wait()
	w.whole(t, events, 100)
	if a, b := exporters[0].Sent(), exporters[1].Sent(); a != 0 && b != 0 {
		t.Errorf("both led: %d and %d", a, b)
	}
}
