package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// event is a usage or guardrail event as encoding/json reads it.
type event struct {
	ID, Source string
	Data       struct {
		Account, Section, User, Team, Model string
		Quantities                          map[string]*int64
		CostUSD                             string `json:"cost_usd"`
	}
}

type position struct{ log, at int64 }

type dayKey struct {
	account, model int64
	day            string
}

type daySum struct {
	events        int64
	credits, cost *big.Int
}

// fate is what became of an identity.
type fate struct {
	final     int32 // charged, observed or recorded
	duplicate int32
	moved     int32
}

// events checks I2, I4 and I7, and adds up the journal on the way.
func (v *verification) events(ctx context.Context) error {
	fates := map[[16]byte]*fate{}
	held, err := v.quarantine(ctx)
	if err != nil {
		return err
	}
	for _, l := range v.logs {
		if err := v.log(ctx, l, fates, held); err != nil {
			return err
		}
	}
	if err := v.corrections(ctx); err != nil {
		return err
	}
	i2, i7 := v.results["I2"], v.results["I7"]
	for id, f := range fates {
		i2.Checked++
		if f.final > 1 {
			i2.fail("identity %x was charged or recorded %d times", id, f.final)
		}
		if f.final == 0 && f.duplicate > 0 {
			i7.fail("identity %x is called a duplicate of nothing", id)
		}
	}
	return nil
}

// log goes through one log, the journal and Kafka side by side.
func (v *verification) log(ctx context.Context, l *logState, fates map[[16]byte]*fate, held map[position]bool) error {
	rows, err := v.tx.Query(ctx, `SELECT from_pos, to_pos, kind, (extract(epoch FROM recorded_at) * 1000000)::bigint, body FROM journal WHERE offsets_id = $1 ORDER BY from_pos`, l.id)
	if err != nil {
		return err
	}
	var kafka *reader
	if l.topic != "corrections" {
		if kafka, err = v.read(ctx, l); err != nil {
			rows.Close()
			return err
		}
		defer kafka.close()
	}
	defer rows.Close()
	var from, to, at int64
	var kind string
	var body []byte
	for rows.Next() {
		if err := rows.Scan(&from, &to, &kind, &at, &body); err != nil {
			return err
		}
		decisions, err := decode(body, from)
		if err != nil {
			return fmt.Errorf("log %d at %d: %w", l.id, from, err)
		}
		for i := range decisions {
			decisions[i].decided = at
		}
		records := map[int64]*kgo.Record{}
		if kafka != nil && kind == "batch" {
			if records, err = kafka.upTo(ctx, to); err != nil {
				return err
			}
		}
		v.row(l, from < l.folded, from < l.rolled, decisions, records, fates, held)
	}
	return rows.Err()
}

// row checks one journal row.
func (v *verification) row(l *logState, folded, rolled bool, decisions []decision, records map[int64]*kgo.Record, fates map[[16]byte]*fate, held map[position]bool) {
	i7 := v.results["I7"]
	for i := range decisions {
		d := &decisions[i]
		i7.Checked++
		debit(v.sums, d)
		if folded {
			debit(v.folded, d)
		}
		if rolled && d.path != nil && l.topic != "guardrail.v1" {
			v.day(d)
		}
		rec := records[d.position]
		delete(records, d.position)
		if d.kind == quarantined && !held[position{l.id, d.position}] {
			i7.fail("%s/%d@%d was quarantined and is not in usage.dlq.v1", l.topic, l.partition, d.position)
		}
		if d.kind == reversal || d.kind == recharge {
			v.corrected = append(v.corrected, *d)
			continue
		}
		if d.kind != quarantined {
			f := fates[topicIdentity(l.topic, d.identity)]
			if f == nil {
				f = &fate{}
				fates[topicIdentity(l.topic, d.identity)] = f
			}
			switch d.kind {
			case charged, observed, recorded:
				f.final++
			case duplicate:
				f.duplicate++
			case moved:
				f.moved++
			}
		}
		if d.kind == charged && rec != nil {
			v.charge(l, d, rec)
		}
	}
	for at, rec := range records {
		if !rec.Attrs.IsControl() {
			i7.fail("%s/%d@%d is in Kafka and was not decided", l.topic, l.partition, at)
		}
	}
}

// topicIdentity keeps the identities of topics apart.
func topicIdentity(topic string, id [16]byte) [16]byte {
	if topic == "guardrail.v1" {
		sum := sha256.Sum256(append([]byte(topic), id[:]...))
		copy(id[:], sum[:])
	}
	return id
}

// day adds up what ClickHouse must have.
func (v *verification) day(d *decision) {
	k := dayKey{d.path.account, d.model, time.UnixMicro(d.micros).UTC().Format(time.DateOnly)}
	s := v.daily[k]
	if s.credits == nil {
		s.credits, s.cost = new(big.Int), new(big.Int)
	}
	s.events++
	s.credits.Add(s.credits, big.NewInt(d.credits))
	s.cost.Add(s.cost, big.NewInt(d.costs))
	v.daily[k] = s
}

// charge checks a charge against the event itself.
func (v *verification) charge(l *logState, d *decision, rec *kgo.Record) {
	i4 := v.results["I4"]
	i4.Checked++
	e, err := readEvent(rec)
	if err != nil {
		i4.fail("%s/%d@%d was charged and can't be read: %v", l.topic, l.partition, d.position, err)
		return
	}
	if e == nil {
		i4.Checked-- // protobuf: the day's sums check it
		return
	}
	if err := v.dir.chain(e, d); err != nil {
		v.results["I1"].fail("%s/%d@%d: %v", l.topic, l.partition, d.position, err)
	}
	want, err := v.dir.priced(e, d)
	if err != nil {
		i4.fail("%s/%d@%d: %v", l.topic, l.partition, d.position, err)
		return
	}
	credits, cost := decimal.New(d.credits, -6), decimal.New(d.costs, -12)
	if want.price != d.price { // a worker may not have had a price that was recorded just before
		before := *d
		before.decided -= slack
		if again, err := v.dir.priced(e, &before); err == nil {
			want = again
		}
	}
	if !want.credits.Equal(credits) || !want.cost.Equal(cost) || want.price != d.price || want.factor != d.factor {
		i4.fail("%s/%d@%d: charged %s credits (USD %s, price %d, factor %d) and should be %s (USD %s, price %d, factor %d)",
			l.topic, l.partition, d.position, credits, cost, d.price, d.factor, want.credits, want.cost, want.price, want.factor)
	}
}

// corrections checks that each reversal takes back exactly what it names.
func (v *verification) corrections(ctx context.Context) error {
	i4 := v.results["I4"]
	for i := range v.corrected {
		d := &v.corrected[i]
		i4.Checked++
		var from int64
		var body []byte
		err := v.tx.QueryRow(ctx, `SELECT from_pos, body FROM journal WHERE offsets_id = $1 AND from_pos <= $2 AND to_pos > $2`, d.originLog, d.originPosition).Scan(&from, &body)
		if errors.Is(err, pgx.ErrNoRows) {
			i4.fail("the correction at %d corrects nothing (%d@%d)", d.position, d.originLog, d.originPosition)
			continue
		}
		if err != nil {
			return err
		}
		decisions, err := decode(body, from)
		if err != nil {
			return err
		}
		found := false
		for j := range decisions {
			o := &decisions[j]
			found = found || o.position == d.originPosition && o.identity == d.identity && (o.kind == charged || o.kind == recharge) &&
				(d.kind == recharge || o.credits == -d.credits && o.costs == -d.costs)
		}
		if !found {
			i4.fail("the %s at %d does not match the charge at %d@%d", decisionNames[d.kind], d.position, d.originLog, d.originPosition)
		}
	}
	return nil
}

// readEvent reads an event in structured or binary mode; nil where the data is protobuf.
func readEvent(rec *kgo.Record) (*event, error) {
	e := &event{}
	binaryMode, media := false, ""
	for _, h := range rec.Headers {
		switch {
		case h.Key == "ce_id":
			e.ID, binaryMode = string(h.Value), true
		case h.Key == "ce_source":
			e.Source = string(h.Value)
		case strings.EqualFold(h.Key, "content-type"):
			media = string(h.Value)
		}
	}
	if strings.Contains(media, "protobuf") {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(rec.Value))
	if binaryMode && !strings.Contains(media, "cloudevents") {
		return e, dec.Decode(&e.Data)
	}
	return e, dec.Decode(e)
}

// reader reads one partition of Kafka in order.
type reader struct {
	cl   *kgo.Client
	next int64
	rest []*kgo.Record
	gone bool
}

func (v *verification) read(ctx context.Context, l *logState) (*reader, error) {
	cl, err := kgo.NewClient(append(v.Kafka[:len(v.Kafka):len(v.Kafka)], kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: {l.partition: kgo.NewOffset().AtStart()}}), kgo.MaxDecompressBatchBytes(64<<20))...)
	if err != nil {
		return nil, err
	}
	admin := kadm.NewClient(cl)
	details, err := admin.ListTopics(ctx, l.topic)
	if err != nil {
		cl.Close()
		return nil, err
	}
	r := &reader{cl: cl, gone: details[l.topic].ID.String() != l.topicID}
	starts, err := admin.ListStartOffsets(ctx, l.topic)
	if o, ok := starts.Lookup(l.topic, l.partition); ok {
		r.next = o.Offset
	}
	return r, err
}

// upTo returns the records below a position that were not returned before.
func (r *reader) upTo(ctx context.Context, to int64) (map[int64]*kgo.Record, error) {
	out := map[int64]*kgo.Record{}
	for {
		for len(r.rest) > 0 && r.rest[0].Offset < to {
			out[r.rest[0].Offset] = r.rest[0]
			r.rest = r.rest[1:]
		}
		if r.gone || r.next >= to {
			return out, nil
		}
		fetches := r.cl.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			var tooLarge *kgo.ErrDecompressTooLarge
			if !errors.As(e.Err, &tooLarge) {
				return nil, e.Err
			}
			r.next = tooLarge.NextOffset
			r.cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{e.Topic: {e.Partition: {Epoch: -1, Offset: r.next}}})
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			r.rest = append(r.rest, rec)
			r.next = rec.Offset + 1
		})
	}
}

func (r *reader) close() { r.cl.Close() }

// quarantine reads which events are in usage.dlq.v1, by their source.
func (v *verification) quarantine(ctx context.Context) (map[position]bool, error) {
	held := map[position]bool{}
	logs := map[string]int64{}
	for _, l := range v.logs {
		logs[fmt.Sprintf("%s/%d", l.topicID, l.partition)] = l.id
	}
	err := v.whole(ctx, "usage.dlq.v1", func(rec *kgo.Record) {
		headers := map[string]string{}
		for _, h := range rec.Headers {
			headers[h.Key] = string(h.Value)
		}
		at, err := strconv.ParseInt(headers["src_offset"], 10, 64)
		if id := logs[headers["src_topic_id"]+"/"+headers["src_partition"]]; id != 0 && err == nil && headers["reason"] != "" {
			held[position{id, at}] = true
		}
	})
	return held, err
}

// whole calls f for every record that a topic has now.
func (v *verification) whole(ctx context.Context, topic string, f func(*kgo.Record)) error {
	cl, err := kgo.NewClient(append(v.Kafka[:len(v.Kafka):len(v.Kafka)], kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if s, ok := starts.Lookup(topic, o.Partition); ok && s.Offset < o.Offset {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			if end, ok := left[rec.Partition]; ok && rec.Offset+1 >= end {
				delete(left, rec.Partition)
			}
			f(rec)
		})
	}
	return nil
}
