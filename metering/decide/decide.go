// Package decide is the pure heart of metering: what becomes of an event, as a function of the event, the directory's
// snapshot and the identities seen before. It has no I/O and no clock.
//
// Invariants: every event gets exactly one decision; an identity is charged or observed at most once; an event whose price
// is not known is never charged as zero but quarantined; credits are exact. What memory cannot tell (events older than the
// window's floor, or later than the window's span by Kafka's clock) is not decided but returned as a doubt, and decided
// again with what the stores answered.
package decide

import (
	"errors"
	"time"

	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/metering/dedupe"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/price"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
)

// creditsMax is the most that one event may cost (10⁹ credits): what is more is a mistake, and thousands of such events fit
// into a balance.
const creditsMax = 1_000_000_000 * credit.One

// MovesMax is how often a record may be moved towards its home before it is quarantined as misrouted.
const MovesMax = 3

// Limits are the bounds of an event's own time against its record's timestamp.
type Limits struct {
	TooLate  time.Duration
	TooEarly time.Duration
}

// Arrival is what Kafka knows of an event.
type Arrival struct {
	Position       int64
	RecordMicros   int64 // the record's timestamp, Unix µs
	Moves          int   // how often it says it was moved
	PartitionsHere int32 // in this generation
	Partition      int32
}

// Verdict is a decision with the text that quarantine keeps.
type Verdict struct {
	Entry  journal.Entry
	Detail string
	Doubt  bool // ask the stores, and decide again with Answer
}

// Answer is what the stores know of a doubtful event.
type Answer struct {
	Decided    bool // the identity was decided before
	Authorized bool // a replay, or proof that it came in time and was moved
}

// Decider decides the events of one partition. It is not safe for concurrent use.
type Decider struct {
	Hasher   *identity.Hasher
	Limits   Limits
	Window   *dedupe.Window
	Snapshot *directory.Snapshot

	body   *journal.Body
	paths  map[pathKey]int
	old    map[[16]byte]struct{} // identities of this batch that are older than the window's floor
	result directory.Resolution
	err    error

	requests   []directory.Request // of events whose turn is to come, and their identities
	identities []dedupe.Hash
	touched    uint64 // keeps what is read ahead
}

type pathKey struct {
	path  *directory.Path
	cycle int64
}

// Begin starts a batch, whose paths are added to body.
func (d *Decider) Begin(body *journal.Body) {
	d.body = body
	if d.paths == nil {
		d.paths, d.old = map[pathKey]int{}, map[[16]byte]struct{}{}
	}
	clear(d.paths)
	clear(d.old)
	d.err = nil
}

// Err is what kept the window from answering, or from remembering, since Begin. The verdicts are worth nothing then: a batch
// with an error must not be committed, and the window must be made anew.
func (d *Decider) Err() error { return d.err }

// Together is how many events Usages is best given at once.
const Together = 16

// Usages decides usage events, one behind the other, into as many verdicts. It is Usage of each, but what the events wait for
// in memory, in places far apart, they wait for together.
func (d *Decider) Usages(us []*events.Usage, at []Arrival, out []Verdict) {
	d.requests, d.identities = d.requests[:0], d.identities[:0]
	for _, u := range us {
		d.requests = append(d.requests, usageRequest(u))
		d.identities = append(d.identities, d.Hasher.Sum(u.Account, u.Source, u.ID))
	}
	d.touched += d.Snapshot.Ahead(d.requests)
	d.Window.Ahead(d.identities)
	for i, u := range us {
		out[i] = Verdict{Entry: journal.Entry{Identity: d.identities[i]}}
		d.usage(u, &d.requests[i], &at[i], nil, &out[i])
	}
}

// Usage decides a usage event. answer is nil at first.
func (d *Decider) Usage(u *events.Usage, at Arrival, answer *Answer) Verdict {
	r := usageRequest(u)
	v := Verdict{Entry: journal.Entry{Identity: d.Hasher.Sum(u.Account, u.Source, u.ID)}}
	d.usage(u, &r, &at, answer, &v)
	return v
}

func usageRequest(u *events.Usage) directory.Request {
	return directory.Request{Source: u.Source, Account: u.Account, Section: u.Section, User: u.User, Team: u.Team, Model: u.Model, TimeMicros: u.TimeMicros}
}

func (d *Decider) usage(u *events.Usage, r *directory.Request, at *Arrival, answer *Answer, v *Verdict) {
	if !d.open(u.ID, r, at, answer, v) {
		return
	}
	d.Snapshot.Resolve(r, &d.result)
	if d.result.Reason != 0 {
		d.reject(r, v, d.result.Reason, d.result.Detail)
		return
	}
	credits, cost, reason, detail := d.price(u)
	if reason != 0 {
		d.reject(r, v, reason, detail)
		return
	}
	v.Entry.Decision = journal.Charged
	if d.result.Observe {
		v.Entry.Decision, credits = journal.Observed, 0
	}
	d.keep(v, credits, cost)
}

// Guardrail decides a guardrail event: recorded, never charged.
func (d *Decider) Guardrail(g *events.Guardrail, at Arrival, answer *Answer) Verdict {
	r := directory.Request{Source: g.Source, Account: g.Account, Section: g.Section, User: g.User, Team: g.Team, TimeMicros: g.TimeMicros, NoModel: true}
	v := Verdict{Entry: journal.Entry{Identity: d.Hasher.Sum(g.Account, g.Source, g.ID)}}
	if !d.open(g.ID, &r, &at, answer, &v) {
		return v
	}
	d.Snapshot.Resolve(&r, &d.result)
	if d.result.Reason != 0 {
		d.reject(&r, &v, d.result.Reason, d.result.Detail)
		return v
	}
	v.Entry.Decision = journal.Skipped
	d.keep(&v, 0, 0)
	return v
}

// open makes the decisions that need no directory. It returns false when the verdict, which has the identity, is final, or a doubt.
func (d *Decider) open(id string, r *directory.Request, at *Arrival, answer *Answer, v *Verdict) bool {
	v.Entry.Position, v.Entry.TimeMicros = at.Position, r.TimeMicros
	if r.TimeMicros > at.RecordMicros+d.Limits.TooEarly.Microseconds() {
		d.reject(r, v, events.TooEarly, "its time is ahead of the time at which it arrived")
		return false
	}
	late := r.TimeMicros < at.RecordMicros-d.Limits.TooLate.Microseconds()
	if answer == nil && (late || r.TimeMicros < d.Window.Floor()) {
		v.Doubt = true
		return false
	}
	if late && !answer.Authorized {
		d.reject(r, v, events.TooLate, "it arrived more than a day after its time")
		return false
	}
	home := int32(identity.Home(r.Account, r.Source, id, int(at.PartitionsHere)))
	if home != at.Partition {
		if at.Moves >= MovesMax {
			d.reject(r, v, events.Misrouted, "it was moved towards its home three times and did not get there")
			return false
		}
		v.Entry.Decision, v.Entry.Home = journal.Moved, home
		return false
	}
	if _, inBatch := d.old[v.Entry.Identity]; inBatch || answer != nil && answer.Decided || d.seen(&v.Entry) {
		v.Entry.Decision = journal.Duplicate
		return false
	}
	return true
}

func (d *Decider) seen(e *journal.Entry) bool {
	seen, err := d.Window.Contains(e.Identity, e.TimeMicros)
	if err != nil {
		d.err = err
	}
	return seen
}

// keep remembers the identity and adds the path.
func (d *Decider) keep(v *Verdict, credits credit.Amount, cost credit.Cost) {
	if v.Entry.TimeMicros < d.Window.Floor() {
		d.old[v.Entry.Identity] = struct{}{}
	} else if fresh, err := d.Window.Add(v.Entry.Identity, v.Entry.TimeMicros); err != nil {
		d.err = err
	} else if !fresh {
		panic("BUG: an identity that the window did not contain was not fresh")
	}
	v.Entry.Charge = journal.Charge{
		Path: d.path(v.Entry.TimeMicros), Membership: d.result.Member, User: d.result.User, Model: d.result.ModelID, Price: d.result.PriceID, Factor: d.result.FactorID,
		Flags: d.result.Flags, Credits: int64(credits), Cost: int64(cost),
	}
}

func (d *Decider) path(micros int64) int {
	start, _ := d.result.Cycle(micros)
	key := pathKey{d.result.Path, start}
	if i, ok := d.paths[key]; ok {
		return i
	}
	i := len(d.body.Paths)
	d.paths[key] = i
	d.body.Paths = append(d.body.Paths, journal.Path{Account: d.result.AccountID, Section: d.result.SectionID, CycleStart: start, Scopes: d.result.Path.Scopes})
	return i
}

// reject quarantines. A rejected identity stays unknown, so that the event can be charged when it comes again.
func (d *Decider) reject(r *directory.Request, v *Verdict, reason events.Reason, detail string) {
	v.Entry.Decision, v.Entry.Reason, v.Detail = journal.Quarantined, reason, detail
	v.Entry.Account = d.Snapshot.AccountID(r.Account)
}

func (d *Decider) price(u *events.Usage) (credits credit.Amount, cost credit.Cost, reason events.Reason, detail string) {
	var err error
	switch r := &d.result; {
	case r.Free:
	case r.Observe && (r.Price == nil && !r.Reported || r.Reported && u.CostUSD == ""): // it needs no price, and its cost is not known
	case r.Reported:
		if u.CostUSD == "" {
			return 0, 0, events.UnpricedModel, "the model charges its reported cost, and the event has no cost_usd"
		}
		credits, cost, err = price.Reported(u.CostUSD, r.Factor)
	default:
		credits, cost, err = r.Price.Charge(&u.Quantities.N, u.Quantities.Present, r.Factor)
	}
	if errors.Is(err, credit.ErrOverflow) || credits > creditsMax {
		return 0, 0, events.Overflow, "it would cost more than 1,000,000,000 credits"
	}
	if err != nil {
		return 0, 0, events.Schema, err.Error()
	}
	return credits, cost, 0, ""
}
