//go:build synctests

package schedules

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/decide"
	"github.com/alchemi/cockpit/metering/dedupe"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/metering/journal/journaltest"
	"github.com/alchemi/cockpit/schemas/events"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"pgregory.net/rapid"
)

// books meters a stream with the real decider, window and adder, without Kafka.
type books struct {
	t       *rapid.T
	g       *ground
	journal journaltest.Memory
	lease   journal.Lease
	decider decide.Decider
}

func (b *books) must(err error) {
	if err != nil {
		b.t.Fatal(err)
	}
}

// restart begins with nothing but the journal.
func (b *books) restart() {
	ctx := b.t.Context()
	var err error
	b.lease, err = b.journal.Take(ctx, journal.Partition{ClusterID: "c", TopicID: "id", Topic: "usage.v1"}, 1, 0)
	b.must(err)
	if b.decider.Window != nil {
		b.decider.Window.Close()
	}
	w := dedupe.New(24*time.Hour, 1<<20, dedupe.Scratch(""))
	newest, ok, err := b.journal.Newest(ctx, b.lease)
	b.must(err)
	if ok {
		w.Advance(newest.UnixMicro())
		b.must(b.journal.Identities(ctx, b.lease, time.UnixMicro(w.Floor()), func(id [16]byte, micros int64) {
			_, err := w.Add(id, micros)
			b.must(err)
		}))
	}
	b.decider = decide.Decider{Hasher: b.g.hasher, Window: w, Snapshot: b.g.snapshot, Limits: decide.Limits{TooLate: 24 * time.Hour, TooEarly: 10 * time.Minute}}
}

// batch decides the events at the lease's position and commits them, unless it crashes before.
func (b *books) batch(of []event, crash bool) {
	from := b.lease.Next
	var out body.Body
	b.decider.Begin(&out)
	us, at, verdicts := make([]*events.Usage, len(of)), make([]decide.Arrival, len(of)), make([]decide.Verdict, len(of))
	for i := range of {
		e := &of[i]
		us[i] = &events.Usage{ID: e.id, Source: e.source, Account: e.account, Section: "copilot", User: e.user, Team: e.team, Model: e.model, TimeMicros: e.time.UnixMicro()}
		us[i].Quantities.Set(events.InputTokens, e.input)
		us[i].Quantities.Set(events.OutputTokens, e.output)
		at[i] = decide.Arrival{Position: from + int64(i), RecordMicros: begin.UnixMicro(), PartitionsHere: 1}
	}
	b.decider.Usages(us, at, verdicts)
	for i, v := range verdicts {
		if v.Doubt {
			asked := map[[16]byte]bool{v.Entry.Identity: false}
			b.must(b.journal.Decided(b.t.Context(), "usage.v1", asked, of[i].time, of[i].time))
			v = b.decider.Usage(us[i], at[i], &decide.Answer{Decided: asked[v.Entry.Identity]})
		}
		b.must(b.decider.Err())
		out.Entries = append(out.Entries, v.Entry)
	}
	if crash {
		b.restart()
		return
	}
	var enc body.Encoder
	low, high := of[0].time, of[0].time
	for i := range of {
		if of[i].time.Before(low) {
			low = of[i].time
		}
		if of[i].time.After(high) {
			high = of[i].time
		}
	}
	b.must(b.journal.Commit(b.t.Context(), &b.lease, &journal.Row{From: from, To: from + int64(len(of)), Kind: journal.Batch, ID: uuid.New(), MinTime: low, MaxTime: high,
		Body: enc.Append(nil, from, &out)}))
	b.decider.Window.Advance(begin.UnixMicro())
}

// used is every balance, from the journal.
func (b *books) used() map[balance]balances.Sum {
	adder := balances.NewAdder()
	for _, r := range b.journal.Rows() {
		var x body.Body
		b.must(body.Decode(r.Body, r.From, &x))
		b.must(adder.Add(&x))
	}
	got := map[balance]balances.Sum{}
	for key, page := range adder.Sums {
		for slot, sum := range page {
			if sum != (balances.Sum{}) {
				got[balance{key.Page*balances.PageScopes + int64(slot), key.CycleStart}] = sum
			}
		}
	}
	return got
}

// Whatever the order, however often an event comes, wherever batches are cut and whenever a worker crashes, the balances are
// those of exact arithmetic over the distinct events, and children add up to their parents.
func TestBalancesDependOnNothingButTheEvents(t *testing.T) {
	t.Parallel()
	g := stand(t)
	rapid.Check(t, func(t *rapid.T) {
		c := composer{Rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "events"), 3))}
		n := naive{w: &world{ground: g}}
		var stream []event
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			c.steps = append(c.steps, step{})
			e := c.event(&step{do: stray})
			f := fact{event: e}
			if e.account != "nobody" && e.model != "unknown" && e.source == "app" && f.inTime(begin) {
				n.debit(&f)
			}
			stream = append(stream, slices.Repeat([]event{e}, rapid.IntRange(1, 3).Draw(t, "copies"))...)
		}
		stream = rapid.Permutation(stream).Draw(t, "order")
		b := books{t: t, g: g}
		b.restart()
		for b.lease.Next < int64(len(stream)) {
			rest := stream[b.lease.Next:]
			b.batch(rest[:rapid.IntRange(1, len(rest)).Draw(t, "cut")], rapid.IntRange(0, 3).Draw(t, "crash") == 0)
		}
		got := b.used()
		for k, want := range n.sums {
			if text(got[k]) != want.text() {
				t.Fatalf("scope %d used %s, want %s", k.scope, text(got[k]), want.text())
			}
		}
		if len(got) != len(n.sums) {
			t.Fatalf("%d balances, want %d", len(got), len(n.sums))
		}
		children(t, g, got)
		b.decider.Window.Close()
	})
}

// children checks parents whose usage is all of their children's, in every cycle.
func children(t *rapid.T, g *ground, got map[balance]balances.Sum) {
	for parent, of := range map[string][]string{
		"acme/organization/eng": {"acme/team/core"},
		"acme/team/ops":         {"acme/membership/bob@ops"},
		"acme/user/ada":         {"acme/membership/ada@core"},
		"acme/user/bob":         {"acme/membership/bob@core", "acme/membership/bob@ops"},
		"beta/account/beta":     {"beta/team/solo"},
		"beta/team/solo":        {"beta/membership/cy@solo"},
	} {
		cycles := map[int64]decimal.Decimal{}
		for k, sum := range got {
			for _, child := range of {
				if k.scope == g.scopes[child] {
					cycles[k.cycle] = cycles[k.cycle].Add(decimal.NewFromInt(int64(sum.Credits)))
				}
			}
		}
		for k, sum := range got {
			if k.scope == g.scopes[parent] && !cycles[k.cycle].Equal(decimal.NewFromInt(int64(sum.Credits))) {
				t.Fatalf("%s used %s, and its children %s", parent, sum.Credits, cycles[k.cycle].Shift(-6))
			}
		}
	}
}
