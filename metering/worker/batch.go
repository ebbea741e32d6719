package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/quarantine"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/internal/faultpoint"
	"github.com/alchemi/cockpit/metering/decide"
	"github.com/alchemi/cockpit/metering/dedupe"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/schemas/events"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Headers that a moved record carries. They are information: what counts is looked up (lookup.go).
const (
	headerMoves        = "cockpit-moves"
	headerSrcTopicID   = "src_topic_id"
	headerSrcPartition = "src_partition"
	headerSrcOffset    = "src_offset"
)

// batch takes records to one journal row. Its buffers are kept from one batch to the next.
type batch struct {
	p       *partition
	decoder decode.Decoder
	decider decide.Decider
	encoder body.Encoder
	records []*kgo.Record
	body    body.Body
	data    []byte
	out     []*kgo.Record // quarantine and moves
	doubts  []doubt
	usage   events.Usage
	guard   events.Guardrail
	group   group
}

func newBatch(p *partition, w *dedupe.Window) *batch {
	return &batch{p: p, decider: decide.Decider{Hasher: p.s.cfg.Hasher, Window: w,
		Limits: decide.Limits{TooLate: p.s.cfg.WindowSpan, TooEarly: p.s.cfg.TooEarly}}}
}

// do takes b.records to the journal. An error means that the worker must start over; nothing of the batch was written, or
// what was is known to the journal.
func (b *batch) do(ctx context.Context) error {
	first, last := b.records[0], b.records[len(b.records)-1]
	ctx, span := otel.Tracer("github.com/alchemi/cockpit/metering/worker").Start(ctx, "batch", trace.WithAttributes(attribute.String("topic", b.p.tp.topic),
		attribute.Int("partition", int(b.p.tp.partition)), attribute.Int64("from", first.Offset), attribute.Int("records", len(b.records))))
	defer span.End()
	if first.Offset < b.p.lease.Next {
		return fmt.Errorf("polled offset %d, which is below the position %d", first.Offset, b.p.lease.Next)
	}
	faultpoint.Hit("worker.after-poll")
	b.decide()
	if err := b.resolveDoubts(ctx); err != nil {
		return err
	}
	if err := b.decider.Err(); err != nil {
		return err
	}
	if err := b.publish(ctx); err != nil {
		return err
	}
	faultpoint.Hit("worker.after-publish")
	row := b.row(last.Offset + 1)
	if err := b.commit(ctx, row); err != nil {
		return err
	}
	faultpoint.Hit("worker.after-commit")
	b.decider.Window.Advance(last.Timestamp.UnixMicro())
	b.p.s.cfg.Stats.committed(row, first.Timestamp)
	b.p.s.client.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{b.p.tp.topic: {b.p.tp.partition: {Epoch: last.LeaderEpoch, Offset: row.To}}})
	return nil
}

// passOver journals a batch of records that unpacks to more than fits memory: as one event, too large.
func (b *batch) passOver(ctx context.Context, e *kgo.ErrDecompressTooLarge) error {
	rec := &kgo.Record{Topic: b.p.tp.topic, Partition: b.p.tp.partition, Offset: e.Offset}
	detail := fmt.Sprintf("records [%d, %d) unpack to more than 64 MiB", e.Offset, e.NextOffset)
	b.begin()
	entry := body.Entry{Decision: body.Quarantined, Position: max(e.Offset, b.p.lease.Next), Reason: events.TooLarge}
	b.quarantine(rec, &entry, detail, "")
	b.body.Entries = append(b.body.Entries, entry)
	if err := b.publish(ctx); err != nil {
		return err
	}
	row := b.row(e.NextOffset)
	if err := b.commit(ctx, row); err != nil {
		return err
	}
	b.p.s.cfg.Stats.committed(row, time.Now())
	return errStartOver // which seeks behind it
}

func (b *batch) begin() {
	b.body.Entries, b.body.Paths = b.body.Entries[:0], b.body.Paths[:0]
	b.out, b.doubts = b.out[:0], b.doubts[:0]
	b.decider.Snapshot = b.p.s.cfg.Directory.Current()
	b.decider.Begin(&b.body)
}

func (b *batch) decide() {
	b.begin()
	if b.p.tp.topic == topics.Guardrail {
		for _, rec := range b.records {
			if !rec.Attrs.IsControl() {
				v, account, bad := b.verdict(rec, nil)
				b.take(rec, &v, account, bad)
			}
		}
		return
	}
	for some := range slices.Chunk(b.records, decide.Together) {
		b.decideTogether(some)
	}
}

// group is usage events that are decided together.
type group struct {
	decoders [decide.Together]decode.Decoder // one each: an event's texts are good until its decoder's next
	usages   [decide.Together]events.Usage
	bad      [decide.Together]*decode.Rejection
	good     [decide.Together]*events.Usage // the usages without those that are bad
	arrivals [decide.Together]decide.Arrival
	verdicts [decide.Together]decide.Verdict
}

func (b *batch) decideTogether(records []*kgo.Record) {
	g := &b.group
	good := 0
	for i, rec := range records {
		if rec.Attrs.IsControl() {
			continue
		}
		if g.bad[i] = g.decoders[i].Usage(rec, &g.usages[i]); g.bad[i] == nil {
			g.good[good], g.arrivals[good] = &g.usages[i], b.arrival(rec)
			good++
		}
	}
	b.decider.Usages(g.good[:good], g.arrivals[:good], g.verdicts[:good])
	good = 0
	for i, rec := range records {
		switch {
		case rec.Attrs.IsControl():
		case g.bad[i] != nil:
			b.take(rec, &decide.Verdict{}, g.usages[i].Account, g.bad[i])
		default:
			b.take(rec, &g.verdicts[good], g.usages[i].Account, nil)
			good++
		}
	}
}

// take adds what became of a record.
func (b *batch) take(rec *kgo.Record, v *decide.Verdict, account string, bad *decode.Rejection) {
	switch {
	case bad != nil:
		v.Entry = body.Entry{Decision: body.Quarantined, Position: rec.Offset, Reason: bad.Reason, Account: b.decider.Snapshot.AccountID(account)}
		b.quarantine(rec, &v.Entry, bad.Detail, account)
	case v.Doubt:
		b.doubts = append(b.doubts, doubt{rec: rec, index: len(b.body.Entries), entry: v.Entry})
	default:
		b.accept(rec, v, account)
	}
	b.body.Entries = append(b.body.Entries, v.Entry)
}

func (b *batch) arrival(rec *kgo.Record) decide.Arrival {
	return decide.Arrival{Position: rec.Offset, RecordMicros: rec.Timestamp.UnixMicro(), Moves: moves(rec),
		Partition: b.p.tp.partition, PartitionsHere: b.p.lease.Partitions}
}

// verdict decodes and decides one record.
func (b *batch) verdict(rec *kgo.Record, answer *decide.Answer) (v decide.Verdict, account string, bad *decode.Rejection) {
	at := b.arrival(rec)
	if b.p.tp.topic == topics.Guardrail {
		if bad = b.decoder.Guardrail(rec, &b.guard); bad == nil {
			v = b.decider.Guardrail(&b.guard, at, answer)
		}
		return v, b.guard.Account, bad
	}
	if bad = b.decoder.Usage(rec, &b.usage); bad == nil {
		v = b.decider.Usage(&b.usage, at, answer)
	}
	return v, b.usage.Account, bad
}

// accept adds what a verdict publishes.
func (b *batch) accept(rec *kgo.Record, v *decide.Verdict, account string) {
	switch v.Entry.Decision {
	case body.Quarantined:
		b.quarantine(rec, &v.Entry, v.Detail, account)
	case body.Moved:
		b.out = append(b.out, moved(rec, v.Entry.Home, b.p.lease.Partition.TopicID))
	}
}

func (b *batch) quarantine(rec *kgo.Record, e *body.Entry, detail, account string) {
	b.out = append(b.out, quarantine.Record(rec, quarantine.Rejected{TopicID: b.p.lease.Partition.TopicID, Reason: e.Reason, Detail: detail, Account: account, Identity: e.Identity}))
}

// moves is how often the record says it was moved.
func moves(rec *kgo.Record) int {
	for i := range rec.Headers {
		if rec.Headers[i].Key == headerMoves {
			n, err := strconv.Atoi(string(rec.Headers[i].Value))
			if err != nil || n < 0 {
				return decide.MovesMax
			}
			return n
		}
	}
	return 0
}

// moved is the record as it is produced to its home.
func moved(rec *kgo.Record, home int32, topicID string) *kgo.Record {
	out := &kgo.Record{Topic: rec.Topic, Partition: home, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		switch h.Key {
		case headerMoves, headerSrcTopicID, headerSrcPartition, headerSrcOffset:
		default:
			out.Headers = append(out.Headers, h)
		}
	}
	out.Headers = append(out.Headers,
		kgo.RecordHeader{Key: headerMoves, Value: strconv.AppendInt(nil, int64(moves(rec)+1), 10)},
		kgo.RecordHeader{Key: headerSrcTopicID, Value: []byte(topicID)},
		kgo.RecordHeader{Key: headerSrcPartition, Value: strconv.AppendInt(nil, int64(rec.Partition), 10)},
		kgo.RecordHeader{Key: headerSrcOffset, Value: strconv.AppendInt(nil, rec.Offset, 10)})
	return out
}

// publish produces quarantine and moves and waits until all are acknowledged. What a crash makes it repeat is recognized
// by its source coordinates.
func (b *batch) publish(ctx context.Context) error {
	todo := b.out
	return b.p.s.retry(ctx, "publish quarantine and moves", func(ctx context.Context) error {
		var failed []*kgo.Record
		var first error
		for _, r := range b.p.s.producer.ProduceSync(ctx, todo...) {
			if r.Err != nil {
				failed = append(failed, r.Record)
				first = r.Err
				b.p.s.producer.ForceMetadataRefresh() // a home may be a partition that it does not know yet
			}
		}
		todo = failed
		return first
	})
}

func (b *batch) row(to int64) *journal.Row {
	row := &journal.Row{LogID: b.p.lease.LogID, From: b.p.lease.Next, To: to, Kind: journal.Batch, ID: uuid.New()}
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range b.body.Entries {
		e := &b.body.Entries[i]
		switch e.Decision {
		case body.Charged:
			row.Counts.Charged++
		case body.Duplicate:
			row.Counts.Duplicate++
		case body.Observed, body.Skipped:
			row.Counts.Observed++
		case body.Quarantined:
			row.Counts.Quarantined++
		case body.Moved:
			row.Counts.Moved++
		}
		if e.Decision.HasCharge() {
			low, high = min(low, e.TimeMicros), max(high, e.TimeMicros)
		}
	}
	if low <= high {
		row.MinTime, row.MaxTime = time.UnixMicro(low), time.UnixMicro(high)
	}
	b.data = b.encoder.Append(b.data[:0], row.From, &b.body)
	row.Body = b.data
	return row
}

// commit writes the row. An outcome that is not known is resolved by the row's id.
func (b *batch) commit(ctx context.Context, row *journal.Row) error {
	// A batch that was begun is finished, also while the worker is told to stop: but not for ever.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := b.p.s.cfg.Journal.Commit(ctx, &b.p.lease, row)
	if err == nil || errors.Is(err, journal.ErrFenced) {
		return err
	}
	b.p.log.Warn("the outcome of a commit is not known", "error", err)
	var written bool
	if err := b.p.s.retry(ctx, "resolve a commit", func(ctx context.Context) (err error) {
		written, err = b.p.s.cfg.Journal.Resolve(ctx, &b.p.lease, row.ID)
		return err
	}); err != nil {
		return err
	}
	if !written || b.p.lease.Next != row.To {
		return errStartOver
	}
	return nil
}
