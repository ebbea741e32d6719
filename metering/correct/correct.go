// Package correct makes corrections: charges that the directory of today would make otherwise are taken back and made anew,
// as journal rows with an author and a reason. A charge itself never changes.
//
// A correction decides events again. Rates: the price, terms and factor that the directory now has for the event's own
// time (a price is added in the past by `cockpit correct -f`). Whom: the path that the directory now gives, so that usage of
// an unknown key goes to the user who has that key as an identity by now. Each corrected event has two entries in the log of
// corrections, a reversal of its last charge and a new charge; the next correction of the same event reverses that one.
//
// Corrections are appended under the same fence as batches, so two at once can't both correct an event: the second starts
// over and finds nothing left to do. They read the whole journal of the time in question, and the events from wherever
// Events has them.
package correct

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/metering/price"
	"github.com/alchemi/cockpit/schemas/events"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What a correction decides again.
const (
	Rates = "rates"
	Whom  = "whom"
)

// ErrUnresolved says that the directory of today would not charge an event at all, or not at a price.
var ErrUnresolved = errors.New("the directory refuses an event that was charged")

// rowEvents is how many events one correction row takes.
const rowEvents = 10_000

// Request says what to correct.
type Request struct {
	What           string  // Rates or Whom
	Account        int64   // 0: all; required for Whom
	Section        int64   // 0: all
	Model          int64   // 0: all
	User           *string // only charges of events that name this key; nil: all
	From, To       time.Time
	Below          map[int64]int64 // only charges below these positions of their logs; nil: all
	Author, Reason string
	DryRun         bool
}

// Events gives charged events by where their charges stand in the journal. What is not known is missing.
type Events interface {
	Charged(ctx context.Context, at []body.Origin) (map[body.Origin]events.Usage, error)
}

// Summary is what a correction changed.
type Summary struct {
	Looked    int           `json:"looked_at"`
	Corrected int           `json:"corrected"`
	Unknown   int           `json:"unknown"` // whose events are nowhere any more
	Credits   credit.Amount `json:"credits"` // new charges less old ones
}

// Corrector makes corrections.
type Corrector struct {
	Pool     *pgxpool.Pool
	Journal  *journal.Postgres
	Snapshot *directory.Snapshot
	Events   Events
}

// last is the charge of an event that counts.
type last struct {
	origin body.Origin // of the event itself, by which Events knows it
	at     body.Origin // of the charge
	entry  body.Entry
	path   body.Path
}

// Run corrects, and starts over when another correction came between.
func (c *Corrector) Run(ctx context.Context, r Request) (s Summary, err error) {
	if r.What != Rates && r.What != Whom || r.Reason == "" || r.Author == "" || !r.From.Before(r.To) || r.What == Whom && r.Account == 0 {
		return s, errors.New("a correction names what (rates or whom), a time, an author and a reason; of whom, also an account")
	}
	for {
		s, err = c.once(ctx, r)
		if !errors.Is(err, journal.ErrFenced) {
			return s, err
		}
	}
}

func (c *Corrector) once(ctx context.Context, r Request) (s Summary, err error) {
	lease, err := c.Journal.Take(ctx, journal.Partition{Topic: journal.CorrectionsTopic}, 1, 0)
	if err != nil {
		return s, err
	}
	charges, err := c.charges(ctx, r)
	if err != nil {
		return s, err
	}
	for len(charges) > 0 {
		n := min(len(charges), rowEvents)
		if err := c.row(ctx, r, &lease, charges[:n], &s); err != nil {
			return s, err
		}
		charges = charges[n:]
	}
	return s, nil
}

// row corrects some events in one journal row.
func (c *Corrector) row(ctx context.Context, r Request, lease *journal.Lease, charges []last, s *Summary) error {
	origins := make([]body.Origin, len(charges))
	for i := range charges {
		origins[i] = charges[i].origin
	}
	known, err := c.Events.Charged(ctx, origins)
	if err != nil {
		return fmt.Errorf("read charged events: %w", err)
	}
	b := body.Body{}
	row := &journal.Row{LogID: lease.LogID, From: lease.Next, To: lease.Next, Kind: journal.Correction, ID: uuid.New(), Author: r.Author, Reason: r.Reason}
	for i := range charges {
		old := &charges[i]
		u, ok := known[old.origin]
		if ok && r.User != nil && u.User != *r.User {
			continue
		}
		s.Looked++
		if !ok {
			s.Unknown++
			continue
		}
		next, path, err := c.decide(r, old, &u)
		if err != nil {
			return fmt.Errorf("the charge at %d of log %d: %w", old.at.Position, old.at.OffsetsID, err)
		}
		if next == old.entry.Charge && slices.Equal(path.Scopes, old.path.Scopes) {
			continue
		}
		s.Corrected++
		s.Credits += credit.Amount(next.Credits - old.entry.Charge.Credits)
		reversed := old.entry.Charge
		reversed.Path, reversed.Credits, reversed.Cost = len(b.Paths), -reversed.Credits, -reversed.Cost
		next.Path = len(b.Paths) + 1
		b.Paths = append(b.Paths, old.path, path)
		for _, e := range []body.Entry{{Decision: body.Reversal, Charge: reversed}, {Decision: body.Recharge, Charge: next}} {
			e.Position, e.Identity, e.TimeMicros, e.Origin = row.To, old.entry.Identity, old.entry.TimeMicros, old.at
			b.Entries = append(b.Entries, e)
			row.To++
		}
		at := time.UnixMicro(old.entry.TimeMicros)
		if row.MinTime.IsZero() || at.Before(row.MinTime) {
			row.MinTime = at
		}
		if at.After(row.MaxTime) {
			row.MaxTime = at
		}
	}
	if r.DryRun || row.To == row.From {
		return nil
	}
	var encoder body.Encoder
	row.Body = encoder.Append(nil, row.From, &b)
	return c.Journal.Commit(ctx, lease, row)
}

// decide is the charge as it would be made now.
func (c *Corrector) decide(r Request, old *last, u *events.Usage) (next body.Charge, path body.Path, err error) {
	next, path = old.entry.Charge, old.path
	request := directory.Request{Source: u.Source, Account: u.Account, Section: u.Section, User: u.User, Team: u.Team, Model: u.Model, TimeMicros: old.entry.TimeMicros,
		NoModel: r.What == Whom} // it was priced
	var res directory.Resolution
	c.Snapshot.Resolve(&request, &res)
	if res.Reason != 0 {
		return next, path, fmt.Errorf("%w: %v: %s", ErrUnresolved, res.Reason, res.Detail)
	}
	if r.What == Whom {
		next.Flags = res.Flags
		path.Scopes, next.Membership, next.User = res.Path.Scopes, res.Member, res.User
		return next, path, nil
	}
	var credits credit.Amount
	var cost credit.Cost
	next.Model, next.Price, next.Factor = res.ModelID, res.PriceID, res.FactorID
	switch {
	case res.Free:
	case res.Reported:
		credits, cost, err = price.Reported(u.CostUSD, res.Factor)
	default:
		credits, cost, err = res.Price.Charge(&u.Quantities.N, u.Quantities.Present, res.Factor)
	}
	next.Credits, next.Cost = int64(credits), int64(cost)
	return next, path, err
}
