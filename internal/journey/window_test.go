package journey_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/worker"
	"github.com/twmb/franz-go/pkg/kadm"
)

// limit sets how many identities a window may hold.
func limit(n int) func(*worker.Config) {
	return func(c *worker.Config) { c.WindowEventsMax = n }
}

// past sends usage whose records have the event's time as their timestamp, so that Kafka's clock is the test's.
func (d *deployment) past(when time.Time, ids ...string) {
	d.t.Helper()
	for _, id := range ids {
		r := usage(id, at(when))
		r.Timestamp = when
		d.send(r)
	}
}

func (d *deployment) clockOfProducers() {
	d.t.Helper()
	clock := "CreateTime"
	_, err := kadm.NewClient(d.producer).AlterTopicConfigs(d.t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "message.timestamp.type", Value: &clock}}, topics.Usage)
	d.must(err)
}

func names(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint(prefix, i))
	}
	return ids
}

// At its limit a worker stands still and charges nothing that it could not remember; it goes on by itself when Kafka's clock
// is past the window's hours, and every repeat is a duplicate then, whether memory or the journal knows it.
func TestAFullWindowStandsStillUntilTheClockIsPast(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	d.clockOfProducers()
	begin := time.Now().Add(-40 * time.Hour)
	stats, stop := d.work(limit(20))
	d.past(begin, names("e-", 30)...)
	d.eventually(func() bool { return stats.Full() == 1 }, func() string { return "standing still" })
	d.past(begin, names("e-", 30)...) // all of them again
	d.charged(20, stats.Charged.Load)
	stop()
	// Nor can a worker that takes over load more than it may hold.
	stats, stop = d.work(limit(10))
	d.eventually(func() bool { return stats.Full() == 1 }, func() string { return "standing still" })
	d.charged(0, stats.Charged.Load)
	d.past(begin.Add(27*time.Hour), "later")
	d.eventually(func() bool { return stats.Duplicate.Load() == 30 }, func() string { return fmt.Sprint(stats.Duplicate.Load(), " duplicates") })
	d.charged(11, stats.Charged.Load)
	if n := stats.Full(); n != 0 {
		t.Errorf("%d windows are full", n)
	}
	stop()
	if got := d.used("acme", "copilot", "team", "support"); got != "3.875000" {
		t.Errorf("used %s by 31 events of 0.125", got)
	}
}

// Without a worker being started anew, too: of the window that it has, the hours that are past are dropped.
func TestAFullWindowGoesOnByItself(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	d.clockOfProducers()
	begin := time.Now().Add(-40 * time.Hour).Truncate(time.Hour)
	stats, stop := d.work(limit(20))
	d.past(begin, names("a-", 10)...)
	d.past(begin.Add(time.Hour), names("b-", 10)...)
	d.charged(20, stats.Charged.Load)
	d.past(begin.Add(time.Hour), "c")
	d.eventually(func() bool { return stats.Full() == 1 }, func() string { return "standing still" })
	d.past(begin.Add(25*time.Hour), "d") // 24 h past the first hour, but not the second
	d.past(begin, names("a-", 10)...)
	d.past(begin.Add(time.Hour), names("b-", 10)...)
	d.eventually(func() bool { return stats.Duplicate.Load() == 20 }, func() string { return fmt.Sprint(stats.Duplicate.Load(), " duplicates") })
	d.charged(22, stats.Charged.Load)
	if n := stats.Full(); n != 0 {
		t.Errorf("%d windows are full", n)
	}
	stop()
}

// A copy whose time is another is a copy: the identity says so.
func TestACopyWithAnotherTimeIsADuplicate(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	stats, stop := d.work()
	now := time.Now()
	d.send(usage("e", at(now)), usage("e", at(now.Add(-5*time.Hour))), usage("e", at(now.Add(-time.Hour))))
	d.eventually(func() bool { return stats.Duplicate.Load() == 2 }, func() string { return fmt.Sprint(stats.Duplicate.Load(), " duplicates") })
	d.charged(1, stats.Charged.Load)
	stop()
	stats, _ = d.work() // and of what the journal says
	d.send(usage("e", at(now.Add(-3*time.Hour))))
	d.eventually(func() bool { return stats.Duplicate.Load() == 1 }, func() string { return fmt.Sprint(stats.Charged.Load(), " charged") })
}

// More room is given by starting it with a higher limit.
func TestAFullWindowGoesOnWithAHigherLimit(t *testing.T) {
	t.Parallel()
	d := deploys(t, 1)
	d.clockOfProducers()
	begin := time.Now().Add(-40 * time.Hour)
	stats, stop := d.work(limit(20))
	d.past(begin, append(names("e-", 30), names("e-", 30)...)...)
	d.eventually(func() bool { return stats.Full() == 1 }, func() string { return "standing still" })
	d.charged(20, stats.Charged.Load)
	stop()
	stats, stop = d.work(limit(1000))
	d.eventually(func() bool { return stats.Duplicate.Load() == 30 }, func() string { return fmt.Sprint(stats.Duplicate.Load(), " duplicates") })
	d.charged(10, stats.Charged.Load)
	stop()
}
