//go:build synctests

package schedules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/journal/journaltest"
	"github.com/alchemi/cockpit/metering/worker"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// settleMax is how long (virtual) a healed world may take until everything is drained.
const settleMax = 3 * time.Minute

// endMax is how long (virtual) a process may take to end, however it is told to.
const endMax = 10 * time.Minute

// world is what a schedule happens to.
type world struct {
	ground   *ground
	schedule *schedule
	network  kfake.VirtualNetwork
	cluster  *kfake.Cluster
	journal  journaltest.Memory
	producer *kgo.Client
	admin    *kadm.Client
	going    sync.WaitGroup // what thaws, and commits that are late
	naive    naive

	partitions, before int32 // of usage.v1 now, and before it grew last
	processes          []*process

	stranded bool // the broker keeps partitions for a process that is dead

	mu       sync.Mutex
	failures []string
	notes    []string
}

// strandedMax is how often a schedule may be stranded: kfake sometimes never expires a member that died while it joined, and
// keeps partitions for it that nobody gets any more. That says nothing of metering, so it is played again.
const strandedMax = 4

// play lets a schedule happen, and returns what went wrong.
func play(t *testing.T, g *ground, s *schedule) (failures []string, trace []string) {
	stranded := true
	for try := 0; stranded && try < strandedMax; try++ {
		failures, trace, stranded = playOnce(t, g, s)
	}
	return failures, trace
}

// playOnce does so in a bubble of its own.
func playOnce(t *testing.T, g *ground, s *schedule) (failures []string, trace []string, stranded bool) {
	synctest.Test(t, func(*testing.T) {
		time.Sleep(time.Until(begin)) // bubbles begin in 2000
		w := &world{ground: g, schedule: s, partitions: s.partitions, before: s.partitions}
		w.naive.w = w
		if err := w.open(); err != nil {
			failures = []string{err.Error()}
			return
		}
		for range s.workers {
			w.join()
		}
		for i := range s.steps {
			time.Sleep(time.Until(begin.Add(s.steps[i].at)))
			w.note("%s", &s.steps[i])
			w.do(&s.steps[i])
		}
		w.settle()
		w.close()
		failures, trace, stranded = w.failures, w.notes, w.stranded
	})
	return failures, trace, stranded
}

func (w *world) open() (err error) {
	w.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(w.network.Listen), kfake.ClusterID("virtual"),
		kfake.GroupMinSessionTimeout(time.Second), kfake.BrokerConfigs(map[string]string{"log.retention.ms": "-1"}))
	if err != nil {
		return err
	}
	w.producer, err = kgo.NewClient(w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return err
	}
	w.admin = kadm.NewClient(w.producer)
	_, err = topics.Ensure(context.Background(), w.admin, w.partitions)
	return err
}

// client is the options of a client that no fault reaches.
func (w *world) client(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.network.DialContext), kgo.MetadataMinAge(10 * time.Millisecond), kgo.DisableClientMetrics()}, more...)
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}

// note keeps what happened, for who reads a failure.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := fmt.Sprintf("%12s ", time.Since(begin)) + fmt.Sprintf(format, args...)
	w.notes = append(w.notes, n)
	if os.Getenv("TRACE") != "" {
		fmt.Fprintln(os.Stderr, n)
	}
}

// worker is the n-th process that is alive, or nil.
func (w *world) worker(n int) *process {
	var alive []*process
	for _, p := range w.processes {
		if p.alive() {
			alive = append(alive, p)
		}
	}
	if len(alive) == 0 {
		return nil
	}
	return alive[n%len(alive)]
}

func (w *world) do(s *step) {
	switch s.do {
	case send, stray, old, allow:
		w.produce(w.producer, s)
		return
	case abort, commit:
		w.transact(s)
		return
	case join:
		w.join()
		return
	case grow:
		w.grow()
		return
	}
	p := w.worker(s.n)
	if p == nil {
		return
	}
	switch s.do {
	case leave:
		p.stop()
	case kill:
		if s.point == "" {
			p.kill()
			return
		}
		p.mu.Lock()
		p.deadly = s.point
		p.mu.Unlock()
	case freeze:
		p.freeze(s.hold)
	case cut:
		if s.kafka {
			p.cut(s.hold, 0)
		} else {
			p.cut(0, s.hold)
		}
	case fault:
		p.mu.Lock()
		p.commits = append(p.commits, s.outcomes...)
		p.mu.Unlock()
	}
}

func (w *world) grow() {
	if _, err := w.admin.CreatePartitions(context.Background(), 1, topics.Usage); err != nil {
		w.fail("grow: %v", err)
	}
	w.before, w.partitions = w.partitions, w.partitions+1
	w.producer.ForceMetadataRefresh()
	time.Sleep(50 * time.Millisecond)
}

// record is the event as it is sent.
func (w *world) record(s *step, i int) *kgo.Record {
	e := &s.events[i]
	if e.junk != "" {
		return &kgo.Record{Topic: topics.Usage, Value: []byte(e.junk), Partition: int32(i) % w.partitions}
	}
	data := map[string]any{"account": e.account, "section": "copilot", "user": e.user, "team": e.team, "model": e.model,
		"quantities": map[string]int64{"input_tokens": e.input, "output_tokens": e.output}}
	for _, k := range []string{"user", "team"} {
		if data[k] == "" {
			delete(data, k)
		}
	}
	value, err := json.Marshal(map[string]any{"specversion": "1.0", "id": e.id, "source": e.source, "type": "cockpit.usage.v1", "time": e.time.Format(time.RFC3339Nano), "data": data})
	if err != nil {
		panic(err)
	}
	r := &kgo.Record{Topic: topics.Usage, Value: value}
	switch s.do {
	case stray:
		r.Partition = int32((int64(i) + s.at.Microseconds()) % int64(w.partitions))
	case old:
		r.Partition = int32(identity.Home(e.account, e.source, e.id, int(w.before)))
	default:
		r.Partition = int32(identity.Home(e.account, e.source, e.id, int(w.partitions)))
	}
	if e.forged {
		for k, v := range map[string]string{"cockpit-replay": "true", "replay": "true", "cockpit-moves": "1", "src_topic_id": w.topicID(), "src_partition": "0", "src_offset": "0"} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
		}
	}
	return r
}

func (w *world) topicID() string {
	details, err := w.admin.ListTopics(context.Background(), topics.Usage)
	if err != nil {
		w.fail("list topics: %v", err)
	}
	return details[topics.Usage].ID.String()
}

func (w *world) produce(cl *kgo.Client, s *step) {
	var records []*kgo.Record
	for i := range s.events {
		r := w.record(s, i)
		records = append(records, r)
		if s.do == allow {
			e := &s.events[i]
			w.journal.Authorize(w.ground.hasher.Sum(e.account, e.source, e.id))
			w.naive.allowed(e)
		}
	}
	if err := cl.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		w.fail("produce: %v", err)
		return
	}
	if s.do != abort {
		for i, r := range records {
			w.naive.sent(&s.events[i], r)
		}
	}
}

// transact sends the events in a transaction.
func (w *world) transact(s *step) {
	cl, err := kgo.NewClient(w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(fmt.Sprint("t-", s.at)))...)
	if err == nil {
		defer cl.Close()
		err = cl.BeginTransaction()
	}
	if err != nil {
		w.fail("begin a transaction: %v", err)
		return
	}
	w.produce(cl, s)
	time.Sleep(time.Duration(s.n) * 100 * time.Millisecond) // it stands open
	if err := cl.EndTransaction(context.Background(), kgo.TransactionEndTry(s.do == commit)); err != nil {
		w.fail("end a transaction: %v", err)
	}
}

// settle heals everything and waits until all is drained.
func (w *world) settle() {
	for _, p := range w.processes {
		p.heal()
	}
	if w.worker(0) == nil {
		w.join()
	}
	w.note("settling")
	stable := 0
	for deadline := time.Now().Add(settleMax); stable < 2; time.Sleep(500 * time.Millisecond) {
		behind, err := w.behind()
		if err != nil {
			w.fail("look at the topics: %v", err)
			return
		}
		if stable++; len(behind) > 0 {
			stable = 0
		}
		if time.Now().After(deadline) {
			w.fail("it does not settle: %s; %s", strings.Join(behind, ", "), w.group())
			return
		}
	}
}

// group says who has which partitions, as the broker sees it.
func (w *world) group() string {
	groups, err := w.admin.DescribeGroups(context.Background(), worker.Group)
	if err != nil {
		return err.Error()
	}
	text := "the group is " + groups[worker.Group].State
	for _, m := range groups[worker.Group].Members {
		if c, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range c.Topics {
				text += fmt.Sprintf(", %s has %v", m.ClientID, t.Partitions)
			}
			w.stranded = w.stranded || len(c.Topics) > 0 && w.dead(m.ClientID)
			if len(c.Topics) == 0 {
				text += fmt.Sprintf(", %s has nothing", m.ClientID)
			}
		}
	}
	return text
}

func (w *world) dead(name string) bool {
	return slices.ContainsFunc(w.processes, func(p *process) bool { return strings.HasSuffix(name, "@"+p.name) && !p.alive() })
}

// behind names the partitions that are not read to their ends.
func (w *world) behind() (behind []string, err error) {
	ends, err := w.admin.ListEndOffsets(context.Background(), topics.Usage)
	if err != nil {
		return nil, errors.Join(err, ends.Error())
	}
	next := map[int32]int64{}
	for _, l := range w.journal.Logs() {
		next[l.Partition.Partition] = l.Next
	}
	ends.Each(func(o kadm.ListedOffset) {
		if at := next[o.Partition]; at < o.Offset {
			behind = append(behind, fmt.Sprintf("partition %d is at %d of %d", o.Partition, at, o.Offset))
		}
	})
	return behind, nil
}

// close ends all workers, looks at what they left, and ends the rest.
func (w *world) close() {
	for _, p := range w.processes {
		p.stop()
	}
	for _, p := range w.processes {
		select {
		case <-p.done:
		case <-time.After(endMax): // the bubble can't end without it
			panic(fmt.Sprintf("SEED=%d: process %s does not end:\n%s\n%s", w.schedule.seed, p.name, w.schedule, strings.Join(w.notes, "\n")))
		}
	}
	w.going.Wait()
	if len(w.failures) == 0 {
		w.naive.check()
	}
	w.producer.Close()
	w.cluster.Close()
	synctest.Wait()
}
