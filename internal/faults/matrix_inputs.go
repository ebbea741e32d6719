//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/twmb/franz-go/pkg/kgo"
)

func inputs() []Case {
	return []Case{
		{Name: "inputs/bad-events", Row: rowBad, Short: true, run: badEvents},
		{Name: "inputs/duplicates-disorder-lateness", Row: rowDisorder, set: func(c *config) { c.senders = 1 }, run: disorder},
	}
}

// made is a usage event that a case makes up.
type made struct {
	id, account, section, source, user, model string
	at                                        time.Time
	tokens                                    int64
}

func (m made) key() string { return m.account + "/" + m.source + "/" + m.id }

func (m made) data() map[string]any {
	return map[string]any{"account": m.account, "section": m.section, "user": m.user, "model": m.model, "quantities": map[string]int64{"input_tokens": m.tokens}}
}

func (m made) value(change ...func(map[string]any)) []byte {
	e := map[string]any{"specversion": "1.0", "id": m.id, "source": m.source, "type": events.TypeUsage, "time": m.at.UTC().Format(time.RFC3339Nano), "data": m.data()}
	for _, f := range change {
		f(e)
	}
	text, err := json.Marshal(e)
	if err != nil {
		panic("BUG: an event that is no JSON: " + err.Error())
	}
	return text
}

func usual(id string) made {
	return made{id: id, account: "acme", section: "copilot", source: "alchemi-web", user: "u-42", model: "gpt-5", at: time.Now(), tokens: 100}
}

// producers are clients as one meets them: by age, partitioner and compression.
func (w *World) producers() (list []*kgo.Client, err error) {
	for _, opts := range [][]kgo.Opt{
		{kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchCompression(kgo.ZstdCompression())},
		{kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck())},
		{kgo.RecordPartitioner(kgo.StickyPartitioner()), kgo.ProducerBatchCompression(kgo.GzipCompression())},
	} {
		cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(w.kafka.current().URL), kgo.ProducerBatchMaxBytes(100<<20), kgo.BrokerMaxWriteBytes(200<<20))...)
		if err != nil {
			return list, err
		}
		list = append(list, cl)
	}
	return list, nil
}

// broken are records that can't be charged, whatever the directory says, each with the only reason for it.
func broken(n int) map[events.Reason][]*kgo.Record {
	whole, made := usual(fmt.Sprint("bad-", n)).value(), 0
	bad := func(change func(event, data map[string]any)) []byte {
		made++
		return usual(fmt.Sprintf("bad-%d-%d", n, made)).value(func(e map[string]any) { change(e, e["data"].(map[string]any)) })
	}
	with := func(name string, v any) []byte { return bad(func(_, data map[string]any) { data[name] = v }) }
	at := func(t time.Time) []byte {
		return bad(func(e, _ map[string]any) { e["time"] = t.UTC().Format(time.RFC3339) })
	}
	values := map[events.Reason][][]byte{
		events.Malformed: {nil, whole[:50], []byte(strings.Repeat("[", 10_000)), append([]byte{0xff, 0xfe}, whole...), []byte(`{"data":` + strings.Repeat(`{"a":`, 10_000))},
		events.TooLarge:  {[]byte(strings.Repeat(" ", 10<<20)), with("labels", map[string]string{"x": strings.Repeat("x", 1<<20)})},
		events.Schema: {with("quantities", nil), with("user", ""), with("quantities", map[string]any{"input_tokens": "many"}), with("account", 7),
			with("quantities", map[string]any{"input_tokens": -1})},
		events.Overflow:       {with("quantities", map[string]any{"output_tokens": int64(1) << 53, "input_tokens": int64(1) << 53})},
		events.TooLate:        {at(time.Now().Add(-25 * time.Hour))},
		events.TooEarly:       {at(time.Now().Add(time.Hour))},
		events.UnknownAccount: {with("account", "nobody")},
		events.UnknownSection: {with("section", "nothing")},
		events.UnknownModel:   {with("model", "none")},
	}
	records := map[events.Reason][]*kgo.Record{}
	for reason, list := range values {
		for _, v := range list {
			records[reason] = append(records[reason], &kgo.Record{Topic: topics.Usage, Value: v})
		}
	}
	return records
}

// binary is the event in binary mode, as older SDKs send it.
func binary(m made) *kgo.Record {
	data, err := json.Marshal(m.data())
	if err != nil {
		panic("BUG: data that is no JSON: " + err.Error())
	}
	return &kgo.Record{Topic: topics.Usage, Key: []byte("any"), Value: data, Headers: []kgo.RecordHeader{{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte(m.id)},
		{Key: "ce_source", Value: []byte(m.source)}, {Key: "ce_type", Value: []byte(events.TypeUsage)}, {Key: "ce_time", Value: []byte(m.at.UTC().Format(time.RFC3339Nano))},
		{Key: "content-type", Value: []byte("application/json")}}}
}

// badEvents mixes what can't be charged with what can, of producers of every kind.
func badEvents(ctx context.Context, w *World, s Scale) error {
	if _, err := w.send(ctx); err != nil {
		return err
	}
	producers, err := w.producers()
	if err != nil {
		return err
	}
	want, good := map[string]int{}, int64(0)
	for n := range s.times(4, 30) {
		cl := producers[n%len(producers)]
		var records []*kgo.Record
		for reason, list := range broken(n) {
			want[reason.String()] += len(list)
			records = append(records, list...)
		}
		for i := range 20 {
			m := usual(fmt.Sprintf("good-%d-%d", n, i))
			r := &kgo.Record{Topic: topics.Usage, Value: m.value()}
			if i%2 == 0 {
				r = binary(m)
			}
			records = append(records, r)
			good++
		}
		w.rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		// This one unpacks to more than fits memory.
		if err := producers[0].ProduceSync(ctx, &kgo.Record{Topic: topics.Usage, Value: make([]byte, 90<<20)}).FirstErr(); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		want[events.TooLarge.String()]++
	}
	for _, cl := range producers {
		cl.Close()
	}
	if err := w.recovers(ctx, "the last bad event", metered); err != nil {
		return err
	}
	if err := w.settles(ctx, good); err != nil {
		return err
	}
	return w.quarantined(ctx, want)
}

// quarantined compares `cockpit dlq list` with what must be there, and that is what proves that the bad events came.
func (w *World) quarantined(ctx context.Context, want map[string]int) error {
	out, err := w.do(ctx, "dlq", "list", "--json")
	if err != nil {
		return err
	}
	got := map[string]int{}
	for line := range strings.Lines(string(out)) {
		var row struct {
			Reason string
			Count  int
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			return fmt.Errorf("dlq list: %w: %s", err, line)
		}
		got[row.Reason] += row.Count
	}
	for _, f := range w.flows { // each stray batch has one event that is cut off
		want[events.Malformed.String()] += int(f.strays.Load()) / trafficBatch
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("in quarantine are %v, and should be %v", got, want)
	}
	w.Fired("quarantine has what was sent: %v", got)
	return nil
}

// use is something that was used, once.
type use struct {
	at     time.Time
	tokens int64
}

// disorder sends the same usage for two accounts, each in an order of its own, each event one to five times, over a day
// back and the end of daily cycles. Each cycle of each account must come to what was used in it.
func disorder(ctx context.Context, w *World, s Scale) error {
	producers, err := w.producers()
	if err != nil {
		return err
	}
	users := map[string]string{"acme": "u-42", "globex": "g-4"}
	uses := make([]use, s.times(400, 4000))
	for i := range uses {
		uses[i] = use{time.Now().Add(-time.Duration(w.rand.Int64N(int64(23 * time.Hour)))), 1 + w.rand.Int64N(5000)}
	}
	var streams [][]*kgo.Record
	copies := 0
	for _, account := range []string{"acme", "globex"} {
		stream := w.shuffled(account, users[account], uses)
		copies += len(stream)
		streams = append(streams, stream)
	}
	for len(streams[0])+len(streams[1]) > 0 {
		for i := range streams {
			n := min(len(streams[i]), 1+w.rand.IntN(200))
			cl := producers[w.rand.IntN(len(producers))]
			if err := cl.ProduceSync(ctx, streams[i][:n]...).FirstErr(); err != nil {
				return fmt.Errorf("produce: %w", err)
			}
			streams[i] = streams[i][n:]
		}
	}
	for _, cl := range producers {
		cl.Close()
	}
	if err := w.settles(ctx, int64(2*len(uses))); err != nil {
		return err
	}
	return w.cyclesAre(ctx, uses, copies-2*len(uses))
}

// shuffled is the usage as events of that user, each one to five times, in any order.
func (w *World) shuffled(account, user string, uses []use) (stream []*kgo.Record) {
	for i, u := range uses {
		m := made{id: fmt.Sprint("use-", i), account: account, section: "console", source: "litellm", user: user, model: "gpt-4o", at: u.at, tokens: u.tokens}
		value := m.value(func(e map[string]any) { e["data"].(map[string]any)["cost_usd"] = fmt.Sprintf("0.%06d", u.tokens) })
		for range 1 + w.rand.IntN(5) {
			stream = append(stream, &kgo.Record{Topic: topics.Usage, Key: []byte(m.key()), Value: value})
		}
	}
	w.rand.Shuffle(len(stream), func(i, j int) { stream[i], stream[j] = stream[j], stream[i] })
	return stream
}

// cyclesAre compares the accounts' cycles with what was used in them: a token is a micro-credit.
func (w *World) cyclesAre(ctx context.Context, uses []use, repeated int) error {
	rows, err := w.db.Query(ctx, `SELECT a.key, c.start_at, c.end_at, b.used, (SELECT sum(duplicate) FROM journal) FROM balances b JOIN scopes s ON s.account_id = b.account_id AND s.id = b.scope_id AND s.kind = 'account'
		JOIN sections x ON x.id = s.section_id AND x.key = 'console' JOIN accounts a ON a.account_id = b.account_id
		JOIN cycles c ON c.account_id = b.account_id AND c.section_id = s.section_id AND c.start_at = b.cycle_start`)
	if err != nil {
		return err
	}
	defer rows.Close()
	cycles, duplicates := 0, int64(0)
	for ; rows.Next(); cycles++ {
		var account string
		var start, end time.Time
		var used, want int64
		if err := rows.Scan(&account, &start, &end, &used, &duplicates); err != nil {
			return err
		}
		for _, u := range uses {
			if at := u.at.Truncate(time.Microsecond); !at.Before(start) && at.Before(end) {
				want += u.tokens
			}
		}
		if used != want {
			return fmt.Errorf("%s used %d in the cycle from %v, and should have used %d", account, used, start, want)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	// There may be more: what Kafka acknowledged and the collector did not hear of is produced again.
	if cycles < 3 || duplicates < int64(repeated) {
		return fmt.Errorf("%d cycles and %d duplicates, and %d were sent", cycles, duplicates, repeated)
	}
	w.Fired("%d copies in two orders over the end of a cycle came to the same in %d cycles", repeated, cycles)
	return nil
}
