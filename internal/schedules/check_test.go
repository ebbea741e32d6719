//go:build synctests

package schedules

import (
	"context"

	"github.com/alchemi/cockpit/ingest/quarantine"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/credit"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/twmb/franz-go/pkg/kgo"
)

// check compares what the workers left with what must be.
func (n *naive) check() {
	records, err := n.records()
	if err != nil {
		n.w.fail("%v", err)
		return
	}
	verdicts := n.journal()
	for at := range records {
		if _, ok := verdicts[at]; !ok {
			n.w.fail("the record at %v is in no journal row: it is lost", at)
		}
	}
	for at, v := range verdicts {
		if records[at] == nil {
			n.w.fail("the journal says %s of %v, where no committed record is", v.Decision, at)
		}
	}
	n.each(records, verdicts)
	n.quarantine(verdicts)
	n.balances()
}

// journal reads all rows, whose ranges must be contiguous.
func (n *naive) journal() map[place]body.Entry {
	verdicts := map[place]body.Entry{}
	next := map[int32]int64{}
	for _, r := range n.w.journal.Rows() {
		partition := r.Partition.Partition
		if r.From != next[partition] {
			n.w.fail("a journal row of partition %d begins at %d and not at %d", partition, r.From, next[partition])
		}
		next[partition] = r.To
		var b body.Body
		if err := body.Decode(r.Body, r.From, &b); err != nil {
			n.w.fail("decode: %v", err)
		}
		for _, e := range b.Entries {
			at := place{partition, e.Position}
			if _, twice := verdicts[at]; twice || e.Position < r.From || e.Position >= r.To {
				n.w.fail("position %v stands twice, or outside its row [%d, %d)", at, r.From, r.To)
			}
			verdicts[at] = e
		}
	}
	return verdicts
}

// each looks at what became of every identity.
func (n *naive) each(records map[place]*kgo.Record, verdicts map[place]body.Entry) {
	by := map[[16]byte]map[body.Decision][]place{}
	for at, v := range verdicts {
		if by[v.Identity] == nil {
			by[v.Identity] = map[body.Decision][]place{}
		}
		by[v.Identity][v.Decision] = append(by[v.Identity][v.Decision], at)
	}
	for at := range n.junk {
		if v := verdicts[at]; v.Decision != body.Quarantined {
			n.w.fail("what can't be read, at %v, is %q", at, v.Decision)
		}
	}
	known := map[[16]byte]bool{{}: true}
	for key, f := range n.facts {
		known[f.identity] = true
		if f.junk != "" {
			continue
		}
		got := by[f.identity]
		n.one(key, f, got, f.counts(records), verdicts)
	}
	for id, got := range by {
		if !known[id] {
			n.w.fail("an identity that nobody sent is %v", got)
		}
	}
}

func (n *naive) one(key string, f *fact, got map[body.Decision][]place, counts bool, verdicts map[place]body.Entry) {
	kind, other := body.Charged, body.Observed
	if f.source == "watch" {
		kind, other = other, kind
	}
	want := 0
	if counts {
		want = 1
	}
	if len(got[kind]) != want || len(got[other]) != 0 {
		n.w.fail("%s (%d copies, of %s) is %s %d times and must be %d times: %v", key, len(f.copies), f.time, kind, len(got[kind]), want, got)
		return
	}
	if len(f.copies) > 0 && len(got) == 1 && len(got[body.Moved]) > 0 {
		n.w.fail("%s was moved, and is not at home: %v", key, got)
	}
	if !counts {
		if len(got[body.Duplicate]) > 0 {
			n.w.fail("%s is a duplicate of nothing: %v", key, got)
		}
		return
	}
	v := verdicts[got[kind][0]]
	if kind == body.Charged {
		n.debit(f)
		if amount := credit.Amount(v.Charge.Credits).String(); amount != f.credits().StringFixed(6) {
			n.w.fail("%s cost %s credits and must cost %s", key, amount, f.credits().StringFixed(6))
		}
	}
	if v.TimeMicros != f.time.UnixMicro() {
		n.w.fail("%s is journalled with another time", key)
	}
}

// quarantine must hold each record that the journal says is in it, with the same reason.
func (n *naive) quarantine(verdicts map[place]body.Entry) {
	topicID := n.w.topicID()
	reasons := map[place]string{}
	if err := quarantine.Each(context.Background(), n.w.client(), func(it quarantine.Item) error {
		if it.Source.TopicID == topicID {
			reasons[place{it.Source.Partition, it.Source.Offset}] = it.Reason.String()
		}
		return nil
	}); err != nil {
		n.w.fail("read the quarantine: %v", err)
	}
	for at, v := range verdicts {
		if v.Decision == body.Quarantined && reasons[at] == "" {
			n.w.fail("%v is quarantined (%s), and its record is not in the quarantine", at, v.Reason)
		}
	}
}

// balances are the sum of the journal.
func (n *naive) balances() {
	adder := balances.NewAdder()
	for _, r := range n.w.journal.Rows() {
		var b body.Body
		if err := body.Decode(r.Body, r.From, &b); err != nil {
			n.w.fail("decode: %v", err)
		}
		if err := adder.Add(&b); err != nil {
			n.w.fail("add up: %v", err)
		}
	}
	got := map[balance]string{}
	for key, page := range adder.Sums {
		for slot, sum := range page {
			if sum != (balances.Sum{}) {
				got[balance{key.Page*balances.PageScopes + int64(slot), key.CycleStart}] = text(sum)
			}
		}
	}
	for k, want := range n.sums {
		if got[k] != want.text() {
			n.w.fail("the balance of scope %d in the cycle of %d is %q and must be %s", k.scope, k.cycle, got[k], want.text())
		}
		delete(got, k)
	}
	for k, sum := range got {
		n.w.fail("scope %d has a balance in the cycle of %d, %s, and must have none", k.scope, k.cycle, sum)
	}
}
