//go:build synctests

package schedules

import (
	"context"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/shopspring/decimal"
	"github.com/twmb/franz-go/pkg/kgo"
)

// place is where a record stands in usage.v1.
type place struct {
	partition int32
	offset    int64
}

// naive knows what must become of everything that was sent.
type naive struct {
	w     *world
	facts map[string]*fact // by account/source/id
	junk  map[place]bool
	sums  map[balance]*big
}

// balance is a scope in a cycle, which begins at that Unix second.
type balance struct{ scope, cycle int64 }

type big struct {
	credits decimal.Decimal
	events  int64
}

// fact is what is known of an identity.
type fact struct {
	event
	identity [16]byte
	copies   []place // as they were sent, in no transaction that was aborted
	allowed  bool    // a replay was authorized
}

func (n *naive) fact(e *event) *fact {
	if n.facts == nil {
		n.facts, n.junk = map[string]*fact{}, map[place]bool{}
	}
	key := e.account + "/" + e.source + "/" + e.id
	if n.facts[key] == nil {
		n.facts[key] = &fact{event: *e, identity: n.w.ground.hasher.Sum(e.account, e.source, e.id)}
	}
	return n.facts[key]
}

func (n *naive) sent(e *event, r *kgo.Record) {
	f := n.fact(e)
	if e.junk != "" {
		n.junk[place{r.Partition, r.Offset}] = true
		return
	}
	f.copies = append(f.copies, place{r.Partition, r.Offset})
}

func (n *naive) allowed(e *event) { n.fact(e).allowed = true }

// inTime is whether a copy that arrived then is neither too late nor too early.
func (f *fact) inTime(arrived time.Time) bool {
	return !f.time.Before(arrived.Add(-24*time.Hour)) && !f.time.After(arrived.Add(10*time.Minute))
}

// counts is whether the event is to be charged, or recorded, exactly once: someone who could be told saw it in time.
func (f *fact) counts(records map[place]*kgo.Record) bool {
	if f.junk != "" || f.account == "nobody" || f.model == "unknown" && f.source != "watch" {
		return false
	}
	for _, c := range f.copies {
		if f.inTime(records[c].Timestamp) || f.allowed && !f.time.After(records[c].Timestamp) {
			return true
		}
	}
	return false
}

// credits are Σ quantity × price ÷ per × 100, rounded once, half to even.
func (f *fact) credits() decimal.Decimal {
	d := decimal.RequireFromString
	in, out := d("0.00000125"), d("0.00001")
	if f.model == "odd" {
		in, out = d("0.000000005000000049"), d("0.0012345678901")
		if !f.time.Before(dearer) {
			in, out = d("0.000015"), d("0.000000000123")
		}
	}
	return in.Mul(decimal.NewFromInt(f.input)).Add(out.Mul(decimal.NewFromInt(f.output))).Mul(decimal.NewFromInt(100)).RoundBank(6)
}

// path is whom it debits, and in which cycle.
func (f *fact) path(scopes map[string]int64) (debits []int64, cycle int64) {
	names := map[string][]string{
		"acme/ada/core": {"acme/account/acme", "acme/organization/eng", "acme/team/core", "acme/membership/ada@core", "acme/user/ada"},
		"acme/ada/":     {"acme/account/acme", "acme/organization/eng", "acme/team/core", "acme/membership/ada@core", "acme/user/ada"},
		"acme/ada/ops":  {"acme/account/acme", "acme/organization/eng", "acme/team/core", "acme/membership/ada@core", "acme/user/ada"}, // she is not in ops
		"acme/bob/":     {"acme/account/acme", "acme/organization/eng", "acme/team/core", "acme/membership/bob@core", "acme/user/bob"},
		"acme/bob/ops":  {"acme/account/acme", "acme/team/ops", "acme/membership/bob@ops", "acme/user/bob"},
		"acme//core":    {"acme/account/acme", "acme/organization/eng", "acme/team/core"},
		"acme/nobody/":  {"acme/account/acme"},
		"beta/cy/solo":  {"beta/account/beta", "beta/team/solo", "beta/membership/cy@solo", "beta/user/cy"},
	}[f.account+"/"+f.user+"/"+f.team]
	for _, name := range names {
		id := scopes[name]
		if id == 0 {
			panic("no scope " + name)
		}
		debits = append(debits, id)
	}
	zone, err := time.LoadLocation(map[string]string{"acme": "Europe/Berlin", "beta": "America/New_York"}[f.account])
	if err != nil {
		panic(err)
	}
	y, m, d := f.time.In(zone).Date()
	return debits, time.Date(y, m, d, 0, 0, 0, 0, zone).Unix()
}

// debit adds a charge to the sums that must come out.
func (n *naive) debit(f *fact) {
	if n.sums == nil {
		n.sums = map[balance]*big{}
	}
	debits, cycle := f.path(n.w.ground.scopes)
	for _, id := range debits {
		k := balance{id, cycle}
		if n.sums[k] == nil {
			n.sums[k] = &big{}
		}
		n.sums[k].credits = n.sums[k].credits.Add(f.credits())
		n.sums[k].events++
	}
}

// records reads usage.v1 back, committed records only.
func (n *naive) records() (map[place]*kgo.Record, error) {
	ctx := context.Background()
	cl, err := kgo.NewClient(n.w.client(kgo.ConsumeTopics(topics.Usage), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ends, err := n.w.admin.ListEndOffsets(ctx, topics.Usage)
	if err != nil {
		return nil, err
	}
	all, left := map[place]*kgo.Record{}, map[int32]int64{}
	for _, o := range ends[topics.Usage] {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	}
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read back: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all[place{r.Partition, r.Offset}] = r
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return all, nil
}

// text is a sum as it is compared.
func (b *big) text() string {
	return fmt.Sprintf("%s of %d events", b.credits.StringFixed(6), b.events)
}

func text(s balances.Sum) string {
	return fmt.Sprintf("%s of %d events", credit.Amount(s.Credits), s.Events)
}
