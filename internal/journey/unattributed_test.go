package journey_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/control/unattributed"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/correct"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/rollups"
	"github.com/twmb/franz-go/pkg/kgo"
)

// stranger is a usage event of a key that no user has, 0.125 credits.
func stranger(id, key string) *kgo.Record { return usage(id, set("user", key), set("team", nil)) }

// unknown are the keys that the API lists: events and credits, in all and of the open cycle, and who has them.
func unknown(admin *controltest.Client) map[string]string {
	var page struct{ Items []unattributed.UnknownKey }
	admin.Want(http.StatusOK, http.MethodGet, "/v1/accounts/key:acme/unattributed", "").Into(&page)
	keys := map[string]string{}
	for _, k := range page.Items {
		has := ""
		if k.User != nil {
			has = " " + k.User.Key
		}
		keys[k.Key] = fmt.Sprintf("%d %s, %d %s %v%s", k.Events, k.Credits, k.CycleEvents, k.CycleCredits, k.Sources, has)
	}
	return keys
}

// Usage of a key that nobody has is listed, and an admin says whose it is while more of it comes: all of it is his in the
// end, once, and nothing of another key, though the correction was cut off in the middle; the books are green.
func TestUnattributedUsageIsGivenToAUser(t *testing.T) {
	t.Parallel()
	d := deploys(t, 2)
	url := testkit.ClickHouse(t)
	ch := d.clickhouseAt(url)
	s := controltest.New(t, controltest.Options{Database: d.pool.Config().ConnString(), ClickHouse: url})
	admin := s.As("account_admin:acme")
	stats, stop := d.work()
	go func() { _ = d.follower.Run(t.Context()) }()
	const before, others = 20, 10
	for i := range before {
		d.send(usage(fmt.Sprint("known-", i)), stranger(fmt.Sprint("early-", i), "stranger"))
	}
	for i := range others {
		d.send(stranger(fmt.Sprint("other-", i), "somebody else"))
	}
	d.charged(2*before+others, stats.Charged.Load)
	d.settle(ch)
	if got := unknown(admin); len(got) != 2 || got["stranger"] != "20 2.500000, 20 2.500000 [alchemi-ai]" || got["somebody else"] != "10 1.250000, 10 1.250000 [alchemi-ai]" {
		t.Errorf("%q", got)
	}
	late := d.keepsSending("stranger")
	var a unattributed.Attribution
	admin.Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:acme/attributions",
		`{"key":"stranger","user":"key:u-2","sources":["alchemi-ai"],"correct":true,"reason":"the pilot's ids"}`).Into(&a)
	d.cutOff(s, &a)
	job := unattributed.NewJob(unattributed.Config{Pool: d.pool, ClickHouse: ch, Audit: s.Audit, Log: slog.Default(), Now: s.Now})
	w := d.writer(ch)
	finished := func() {
		t.Helper()
		d.eventually(func() bool { // one turn of each: more comes all the time
			_, err := d.folder.Once(t.Context())
			d.must(err)
			_, err = w.Once(t.Context())
			d.must(err)
			_, err = job.Once(t.Context())
			d.must(err)
			admin.Want(http.StatusOK, http.MethodGet, "/v1/accounts/key:acme/attributions/"+a.ID, "").Into(&a)
			return a.State == "done" || a.State == "failed"
		}, func() string { return fmt.Sprintf("%+v", a) })
	}
	finished()
	more := late()
	d.charged(int64(2*before+others+more), stats.Charged.Load)
	stop()
	d.settle(ch)
	if a.State != "done" || a.Corrected < before || a.Unknown != 0 || a.Looked < a.Corrected {
		t.Errorf("%+v", a)
	}
	amount := fmt.Sprintf("%d.%06d", (before+more)*125/1000, (before+more)*125%1000*1000)
	if got := d.used("acme", "copilot", "user", "u-2"); got != amount {
		t.Errorf("u-2 used %s of %s", got, amount)
	}
	if got := unknown(admin); len(got) != 1 || got["somebody else"] == "" {
		t.Errorf("%q", got)
	}
	if failed := d.verified(ch); len(failed) > 0 {
		t.Errorf("%q", failed)
	}
	was := a
	admin.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/attributions/"+a.ID+"/retry", "").Into(&a)
	finished()
	if a.Corrected != was.Corrected {
		t.Errorf("again: %+v", a)
	}
	if got := d.count(`SELECT count(*) FROM audit_entries WHERE action LIKE 'attribution.%' AND changes::text || reason NOT LIKE '%stranger%'`); got != 4 {
		t.Errorf("%d entries on record", got)
	}
}

// keepsSending sends usage of a key until it is told to stop, which returns how many events that was.
func (d *deployment) keepsSending(key string) (stop func() int) {
	sent, enough := make(chan int), make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-enough:
				sent <- n
				return
			case <-time.After(100 * time.Millisecond):
				d.producer.ProduceSync(d.t.Context(), stranger(fmt.Sprint("late-", n), key))
			}
		}
	}()
	return func() int { close(enough); return <-sent }
}

// cutOff corrects some of what is asked for, and says no more: as a process that dies in the middle.
func (d *deployment) cutOff(s *controltest.Server, a *unattributed.Attribution) {
	d.t.Helper()
	snapshot, err := metering.Load(d.t.Context(), d.pool, d.ids().Account)
	d.must(err)
	ch := s.ClickHouse
	c := correct.Corrector{Pool: d.pool, Journal: d.store, Snapshot: snapshot, Events: &rollups.Charged{ClickHouse: ch, Postgres: d.pool}}
	below := map[int64]int64{}
	var log, next int64
	d.must(d.pool.QueryRow(d.t.Context(), `SELECT offsets_id, max(to_pos) / 2 FROM journal GROUP BY 1 ORDER BY 2 DESC LIMIT 1`).Scan(&log, &next))
	below[log] = next
	key := a.Key
	some, err := c.Run(d.t.Context(), correct.Request{What: correct.Whom, Account: d.ids().Account, User: &key, Below: below, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour),
		Author: "per_1", Reason: fmt.Sprintf("%s (attribution %s)", a.Reason, a.ID)})
	d.must(err)
	if some.Corrected == 0 {
		d.t.Error("nothing was cut off")
	}
	_, err = d.pool.Exec(d.t.Context(), `UPDATE attributions SET state = 'running'`)
	d.must(err)
}

func (d *deployment) ids() directory.IDs {
	d.t.Helper()
	ids, err := directory.Lookup(d.t.Context(), d.pool, "acme", "copilot", "gpt-5")
	d.must(err)
	return ids
}
