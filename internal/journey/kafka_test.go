package journey_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/ingest/quarantine"
	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// charged waits until that many events were charged, and a little longer for what should not be.
func (d *deployment) charged(want int64, loaded func() int64) {
	d.t.Helper()
	d.eventually(func() bool { return loaded() >= want }, func() string { return fmt.Sprintf("%d of %d charged", loaded(), want) })
	time.Sleep(200 * time.Millisecond)
	if got := loaded(); got != want {
		d.t.Fatalf("%d charged, want %d", got, want)
	}
}

func TestAbortedRecordsAreNotCharged(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	stats, _ := d.work()
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.kafka), kgo.TransactionalID("t"))
	d.must(err)
	defer cl.Close()
	for round, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		d.must(cl.BeginTransaction())
		for i := range 10 {
			d.must(cl.ProduceSync(t.Context(), usage(fmt.Sprintf("%d-%d", round, i))).FirstErr())
		}
		d.must(cl.EndTransaction(t.Context(), end))
	}
	d.send(usage("last"))
	d.charged(11, stats.Charged.Load)
}

// Partitions are added while events flow and old ones are sent again: the identities of the old homes are known in the new.
func TestRepartitioningChargesOnce(t *testing.T) {
	t.Parallel()
	d := deploys(t, 2)
	stats, _ := d.work()
	send := func(from, to int) {
		for i := from; i < to; i++ {
			r := usage(fmt.Sprint("e-", i))
			r.Key = []byte(fmt.Sprint("acme/alchemi-ai/e-", i))
			d.send(r)
		}
	}
	send(0, 100)
	d.charged(100, stats.Charged.Load)
	_, err := kadm.NewClient(d.producer).CreatePartitions(t.Context(), 3, topics.Usage)
	d.must(err)
	d.producer.ForceMetadataRefresh()
	send(0, 200)
	d.eventually(func() bool {
		return d.count(`SELECT count(*) FROM offsets WHERE topic = 'usage.v1' AND partitions = 5 AND generation = 2`) == 5
	}, func() string { return "a new generation" })
	send(0, 200)
	d.eventually(func() bool { return stats.Duplicate.Load() >= 300 }, func() string { return fmt.Sprint(stats.Charged.Load(), " ", stats.Duplicate.Load()) })
	d.charged(200, stats.Charged.Load)
}

func TestALostLogPausesUntilTheLossIsAccepted(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	stats, stop := d.work()
	d.send(usage("a"), usage("b"))
	d.charged(2, stats.Charged.Load)
	stop()
	d.send(usage("lost-1"), usage("lost-2"), usage("kept"))
	admin := kadm.NewClient(d.producer)
	_, err := admin.DeleteRecords(t.Context(), kadm.Offsets{topics.Usage: {0: {Topic: topics.Usage, Partition: 0, At: 4}}})
	d.must(err)
	stats, stop = d.work()
	d.eventually(func() bool { return stats.Paused() == 1 }, func() string { return "paused" })
	if n := stats.Charged.Load(); n != 0 {
		t.Fatalf("%d charged while paused", n)
	}
	lost, err := d.store.AcceptLoss(t.Context(), topics.Usage, 0, 4, "test", "retention was too short")
	d.must(err)
	if lost != 2 {
		t.Fatalf("%d lost", lost)
	}
	d.charged(1, stats.Charged.Load)
	stop()
	ch := d.clickhouse()
	d.settle(ch)
	if failed := d.verified(ch); len(failed) > 0 {
		t.Fatalf("%q", failed)
	}
}

func TestATopicMadeAnewIsPaused(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	stats, stop := d.work()
	d.send(usage("a"), usage("b"), usage("c"))
	d.charged(3, stats.Charged.Load)
	stop()
	admin := kadm.NewClient(d.producer)
	_, err := admin.DeleteTopics(t.Context(), topics.Usage)
	d.must(err)
	_, err = topics.Ensure(t.Context(), admin, 1)
	d.must(err)
	d.producer, err = kgo.NewClient(kgo.SeedBrokers(d.kafka)) // one that knows nothing of the old topic
	d.must(err)
	t.Cleanup(d.producer.Close)
	d.send(usage("after"))
	stats, _ = d.work()
	d.eventually(func() bool { return stats.Paused() == 1 }, func() string { return "paused" })
	_, err = d.store.AcceptLoss(t.Context(), topics.Usage, 0, 0, "test", "made anew on purpose")
	d.must(err)
	d.charged(1, stats.Charged.Load)
}

// No input stops a partition or is lost.
func TestWhateverComesIsDecided(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	stats, stop := d.work()
	good := string(usage("x").Value)
	bad := []*kgo.Record{
		{Value: nil}, {Value: []byte(good[:50])}, {Value: []byte(strings.Repeat("[", 10_000))}, {Value: []byte(strings.Repeat(" ", 10<<20))},
		{Value: []byte(good), Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/protobuf")}, {Key: "ce_id", Value: []byte("\xff")}}},
		usage("far", at(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))), usage("old", at(time.Now().Add(-25*time.Hour))), usage("ancient", at(time.Unix(-1, 0))),
		usage("much", set("quantities", map[string]any{"output_tokens": int64(1) << 53, "input_tokens": int64(1) << 53})), usage("none", set("quantities", nil)),
	}
	for _, r := range bad {
		r.Topic = topics.Usage
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.kafka), kgo.ProducerBatchMaxBytes(100<<20), kgo.BrokerMaxWriteBytes(200<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	d.must(err)
	defer cl.Close()
	d.must(cl.ProduceSync(t.Context(), bad...).FirstErr())
	d.must(cl.ProduceSync(t.Context(), &kgo.Record{Topic: topics.Usage, Value: make([]byte, 90<<20)}).FirstErr()) // unpacks to too much
	d.must(cl.ProduceSync(t.Context(), usage("good")).FirstErr())
	d.charged(1, stats.Charged.Load)
	if n := stats.Quarantined.Load(); n != int64(len(bad)+1) {
		t.Errorf("%d in quarantine, want %d", n, len(bad)+1)
	}
	stop()
	reasons := map[string]int{}
	d.must(quarantine.Each(t.Context(), []kgo.Opt{kgo.SeedBrokers(d.kafka)}, func(it quarantine.Item) error { reasons[it.Reason.String()]++; return nil }))
	if fmt.Sprint(reasons) != "map[malformed:4 overflow:1 schema:1 too_early:1 too_large:2 too_late:2]" {
		t.Errorf("%v", reasons)
	}
	ch := d.clickhouse()
	d.settle(ch)
	if failed := d.verified(ch); len(failed) > 0 {
		t.Fatalf("%q", failed)
	}
}

// What came too late is charged by a replay, once however often it is replayed, also past the window.
func TestReplayChargesOnce(t *testing.T) {
	t.Parallel()
	d := deploys(t, 2)
	stats, stop := d.work()
	late := time.Now().Add(-40 * time.Hour)
	for i := range 5 {
		d.send(usage(fmt.Sprint("late-", i), at(late)))
	}
	d.eventually(func() bool { return stats.Quarantined.Load() == 5 }, func() string { return fmt.Sprint(stats.Quarantined.Load()) })
	for range 3 {
		var items []quarantine.Item
		d.must(quarantine.Each(t.Context(), []kgo.Opt{kgo.SeedBrokers(d.kafka)}, func(it quarantine.Item) error { items = append(items, it); return nil }))
		var permits []journal.Replay
		for _, it := range items {
			permits = append(permits, journal.Replay{TopicID: it.Source.TopicID, Partition: it.Source.Partition, Offset: it.Source.Offset, Identity: it.Identity})
		}
		d.must(d.store.Authorize(t.Context(), "test", permits))
		for _, it := range items {
			d.send(it.Record)
		}
	}
	d.eventually(func() bool { return stats.Duplicate.Load() == 10 }, func() string { return fmt.Sprint(stats.Duplicate.Load()) })
	d.charged(5, stats.Charged.Load)
	stop()
	stats, _ = d.work() // another worker has another window
	d.send(usage("late-1", at(late)))
	d.eventually(func() bool { return stats.Duplicate.Load() == 1 }, func() string { return "a duplicate" })
}
