package journal

import "github.com/alchemi/cockpit/schemas/events"

// Decision is what became of an event.
type Decision uint8

// Decisions. Their numbers are part of the format.
const (
	Charged     Decision = 1 // debited to every scope of its path
	Duplicate   Decision = 2 // its identity was decided before
	Observed    Decision = 3 // recorded, not charged: the source only observes
	Quarantined Decision = 4 // published to usage.dlq.v1 with a reason
	Moved       Decision = 5 // produced to its home partition; no final decision
	Reversal    Decision = 6 // a correction's negative of an earlier charge
	Recharge    Decision = 7 // a correction's new charge
	Skipped     Decision = 8 // a guardrail event: recorded, never charged
)

// HasIdentity says whether events with this decision carry an identity in the body. Of a quarantined event it is zero
// when it could not be read.
func (d Decision) HasIdentity() bool { return d >= Charged && d <= Skipped }

// HasCharge says whether events with this decision carry a time and a charge (zero amounts where nothing is charged).
func (d Decision) HasCharge() bool {
	return d == Charged || d == Observed || d == Reversal || d == Recharge || d == Skipped
}

// HasOrigin says whether events with this decision name the charge that they correct.
func (d Decision) HasOrigin() bool { return d == Reversal || d == Recharge }

// Remembered says whether events with this decision make later ones of the same identity duplicates.
func (d Decision) Remembered() bool { return d == Charged || d == Observed || d == Skipped }

// String is the word that tables and logs show.
func (d Decision) String() string {
	names := [...]string{"", "charged", "duplicate", "observed", "quarantined", "moved", "reversal", "recharge", "recorded"}
	if int(d) < len(names) {
		return names[d]
	}
	return ""
}

// Path is where in the tree a charge debits, and in which cycle: Scopes from the account's root down to the parent of the
// membership. Members of a team share it, so that a body has few.
type Path struct {
	Account    int64
	Section    int64
	CycleStart int64 // Unix seconds
	Scopes     []int64
}

// Charge is the metering of one event. Credits are micro-credits (10⁻⁶), Cost is 10⁻¹² USD; both are negative in a reversal.
type Charge struct {
	Path       int   // index into Body.Paths
	Membership int64 // the scope below the path that is debited as well; 0: none
	User       int64 // the user's scope, which is beside the tree and debited too; 0: none
	Model      int64
	Price      int64 // model_prices row; 0 where the model is free, the cost reported, or nothing is charged
	Factor     int64 // credits_factors row
	Flags      events.Flag
	Credits    int64
	Cost       int64
}

// Entry is one event's decision.
type Entry struct {
	Decision   Decision
	Position   int64
	Identity   [16]byte
	TimeMicros int64         // the event's own time, Unix µs; of decisions that HasCharge
	Charge     Charge        // of decisions that HasCharge
	Reason     events.Reason // of Quarantined
	Account    int64         // of Quarantined: 0 when not known
	Home       int32         // of Moved
	Origin     Origin        // of decisions that HasOrigin
}

// Origin is where a corrected charge stands in the journal.
type Origin struct {
	OffsetsID int64
	Position  int64
}

// Body is the decisions of one journal row, by position.
type Body struct {
	Paths   []Path
	Entries []Entry

	scopes []int64 // what Decode made Paths of
	users  []int64 // of a body of version 1, by path
}

// Scopes appends the scopes of the tree that a charge of the body debits, from the account's root down.
func (b *Body) Scopes(to []int64, c *Charge) []int64 {
	to = append(to, b.Paths[c.Path].Scopes...)
	if c.Membership != 0 {
		to = append(to, c.Membership)
	}
	return to
}
