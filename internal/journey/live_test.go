package journey_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/balances"
)

// Balances in memory say what a read of the stores says, whether they began with an empty checkpoint or a full one, and
// whatever the fold does meanwhile.
func TestLiveBalancesFollowTheJournal(t *testing.T) {
	t.Parallel()
	d := deploys(t, 3)
	stats, stop := d.work()
	defer stop()
	first, err := balances.OpenLive(t.Context(), d.pool)
	d.must(err)
	followers := []*balances.Live{first}
	sent := int64(0)
	for round := range 3 {
		for range 50 {
			d.send(usage(fmt.Sprint("e-", sent)))
			sent++
		}
		d.eventually(func() bool { return stats.Charged.Load() == sent }, func() string { return fmt.Sprint(stats.Charged.Load(), " charged") })
		if round == 1 {
			_, err := d.folder.Once(t.Context())
			d.must(err)
		}
		another, err := balances.OpenLive(t.Context(), d.pool)
		d.must(err)
		followers = append(followers, another)
		want, err := balances.Read(t.Context(), d.pool, "acme", "copilot", time.Now())
		d.must(err)
		for i, l := range followers {
			begin := time.Now()
			_, err := l.Poll(t.Context())
			d.must(err)
			for _, b := range want.Balances {
				tree := balances.TreeKey{Account: want.AccountID, Section: want.SectionID, CycleStart: want.CycleStart.Unix()}
				got, asOf := l.Used(tree, b.ID)
				if got.Credits != b.Used || got.Events != b.Events {
					t.Errorf("round %d, follower %d: %s %s used %s in %d events, want %s in %d", round, i, b.Kind, b.Key, got.Credits, got.Events, b.Used, b.Events)
				}
				if asOf.Before(begin) {
					t.Errorf("as of %v, and was polled at %v", asOf, begin)
				}
			}
		}
	}
}
