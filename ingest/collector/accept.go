package collector

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/faultpoint"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	accepted = "accepted"
	rejected = "rejected"
)

// reasonForbidden is a Result's reason when the key does not cover the event.
const reasonForbidden = "not_covered_by_key"

// request is the events of one request.
type request struct {
	c       *Collector
	p       Principal
	decoder decode.Decoder
	usage   events.Usage
	guard   events.Guardrail
	results []Result
	records []*kgo.Record
	room    []kgo.Record // for the records of the events that are expected
}

func (c *Collector) request(p Principal) *request { return &request{c: c, p: p, results: []Result{}} }

// expect makes room for that many events.
func (r *request) expect(n int) {
	r.results, r.records, r.room = make([]Result, 0, n), make([]*kgo.Record, 0, n), make([]kgo.Record, n)
}

// record is a new one.
func (r *request) record() *kgo.Record {
	if len(r.room) == 0 {
		return &kgo.Record{}
	}
	rec := &r.room[0]
	r.room = r.room[1:]
	return rec
}

// What structured events have in common; nobody writes to it.
var (
	structuredHeaders = []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}}
	quotedGuardrail   = []byte(`"` + events.TypeGuardrail + `"`)
)

// add takes a structured event.
func (r *request) add(value []byte) {
	rec := r.record()
	rec.Value, rec.Headers = value, structuredHeaders
	r.take(rec, func() bool { return bytes.Contains(value, quotedGuardrail) })
}

// addBinary takes an event whose context attributes are HTTP headers.
func (r *request) addBinary(h http.Header, media string, body []byte) {
	rec := &kgo.Record{Value: body, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(media)}}}
	for name, values := range h {
		if attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok && len(values) > 0 {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: "ce_" + attribute, Value: []byte(unescapeHeader(values[0]))})
		}
	}
	r.take(rec, func() bool { return h.Get("Ce-Type") == events.TypeGuardrail })
}

// unescapeHeader undoes the percent-encoding of the CloudEvents HTTP binding; a text that is not encoded stays as it is.
func unescapeHeader(v string) string {
	if !strings.Contains(v, "%") {
		return v
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] == '%' && i+2 < len(v) {
			if n, ok := hexByte(v[i+1], v[i+2]); ok {
				out = append(out, n)
				i += 2
				continue
			}
		}
		out = append(out, v[i])
	}
	return string(out)
}

func hexByte(a, b byte) (n byte, ok bool) {
	for _, c := range [2]byte{a, b} {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		n = n<<4 | c
	}
	return n, true
}

// take checks one event and queues it for its home. What is no usage event may be a guardrail event, if it looks like one.
func (r *request) take(rec *kgo.Record, guardrail func() bool) {
	result := Result{Index: len(r.results), Status: rejected}
	rec.Topic = topics.Usage
	bad := r.decoder.Usage(rec, &r.usage)
	source, account, section := r.usage.Source, r.usage.Account, r.usage.Section
	result.ID = r.usage.ID
	if bad != nil && guardrail() {
		rec.Topic = topics.Guardrail
		bad = r.decoder.Guardrail(rec, &r.guard)
		result.ID, source, account, section = r.guard.ID, r.guard.Source, r.guard.Account, r.guard.Section
	}
	result.ID = strings.Clone(result.ID)
	switch {
	case bad != nil:
		result.Reason, result.Detail = bad.Reason.String(), bad.Detail
	case !r.p.covers(source, account, section):
		result.Reason, result.Detail = reasonForbidden, "the service key does not cover this source, account and section"
	default:
		result.Status = accepted
		rec.Key = identity.AppendKey(make([]byte, 0, len(account)+len(source)+len(result.ID)+2), account, source, result.ID)
		r.records = append(r.records, rec)
	}
	r.results = append(r.results, result)
}

// covers says whether the principal may send as that source for that account and section.
func (p *Principal) covers(source, account, section string) bool {
	if !p.AllAccounts && !slices.Contains(p.Accounts, account) {
		return false
	}
	return slices.ContainsFunc(p.Sources, func(g Grant) bool {
		return g.Source == source && slices.Contains(g.Sections, section) && (g.AllAccounts || slices.Contains(g.Accounts, account))
	})
}

// ProducerOptions are what a collector's producer needs beside its brokers. One produce request is in flight to a broker, and
// what comes meanwhile goes with the next: one event waits for nobody, and a thousand requests share few acknowledgements
// (of which each is a flush of a disk). That takes a producer without sequence numbers; what it sends twice for a lost
// acknowledgement is a duplicate, as a client's own retry is, and metering recognizes it.
//
// The producer sends records home by their key, over the partitions that it knows: what goes to an old home, because it
// does not know of new partitions yet, is moved by its worker.
func ProducerOptions() []kgo.Opt {
	return []kgo.Opt{kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MetadataMaxAge(15 * time.Second), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()), kgo.MaxBufferedRecords(200_000)}
}

// produce waits until Kafka has acknowledged everything.
func (r *request) produce(ctx context.Context) error {
	if len(r.records) == 0 {
		return nil
	}
	// A client that goes away does not stop what was begun, since it can't know what was taken.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.cfg.Timeout)
	defer cancel()
	faultpoint.Hit("ingest.before-produce")
	err := r.c.cfg.Producer.ProduceSync(ctx, r.records...).FirstErr()
	faultpoint.Hit("ingest.after-produce")
	return err
}
