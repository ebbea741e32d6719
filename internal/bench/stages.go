package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/alchemi/cockpit/ingest/decode"
	"github.com/alchemi/cockpit/ingest/identity"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/decide"
	"github.com/alchemi/cockpit/metering/dedupe"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The events of stages are in memory; a batch of them is a journal row, and every user's turn comes twice.
const (
	stagesBatch   = 1 << 14
	stagesBatches = 13
	stagesRounds  = 9
)

// stages is a table: the processor's time of each step that an event takes in our own process, without Kafka and Postgres. Of
// many batches the quickest counts, which others on the machine disturbed least.
func stages(ctx context.Context, r *runner) (gate, error) {
	s, err := r.directory(ctx)
	if err != nil {
		return gate{}, err
	}
	g := gate{once: true, settings: fmt.Sprintf("batches of %d events, %d accounts × %d users; the quickest batch of %d, one goroutine",
		stagesBatch, r.o.Accounts, r.o.Users, stagesBatches*stagesRounds)}
	for _, st := range (&staged{}).steps() {
		g.measures = append(g.measures, measure{what: st.what, unit: "ns/event"})
	}
	g.ours = func(ctx context.Context) ([]float64, error) { return s.stages(ctx, r.o) }
	return g, nil
}

func (s *stores) stages(ctx context.Context, o Options) ([]float64, error) {
	url, err := s.database(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := postgres.Open(ctx, url, postgres.RoleMetering)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	follower, err := directory.Follow(ctx, pool, slog.New(slog.DiscardHandler), time.Hour)
	if err != nil {
		return nil, err
	}
	st := staged{hasher: identity.NewHasher([16]byte{1}), snapshot: follower.Current(), decoded: make([]events.Usage, stagesBatch), resolved: make([]directory.Resolution, stagesBatch)}
	for n := range stagesBatches * stagesBatch {
		r, err := usual(n, o)
		if err != nil {
			return nil, err
		}
		r.Offset, r.Timestamp = int64(n), time.Now()
		st.records = append(st.records, r)
	}
	return st.measure()
}

// staged is what the steps hand on, a batch at a time.
type staged struct {
	hasher   *identity.Hasher
	snapshot *directory.Snapshot
	records  []*kgo.Record // of all batches
	batch    []*kgo.Record
	decoder  decode.Decoder
	decoded  []events.Usage
	resolved []directory.Resolution
	decider  decide.Decider
	usages   []*events.Usage // of those that are decided together
	arrivals []decide.Arrival
	verdicts [decide.Together]decide.Verdict
	body     journal.Body
	encoder  journal.Encoder
	row      []byte
	read     journal.Body
	adder    *balances.Adder
}

type step struct {
	what string
	do   func() error
}

func (s *staged) steps() []step {
	return []step{{"decode", s.decode}, {"identity and home", s.identify}, {"resolve", s.resolve}, {"price", s.price},
		{"decide: those three, window, path", s.decide}, {"encode the row", s.encode}, {"decode the row", s.readRow}, {"add it up", s.add}}
}

func (s *staged) measure() ([]float64, error) {
	steps := s.steps()
	least := make([]float64, len(steps))
	for round := range stagesRounds {
		s.decider = decide.Decider{Hasher: s.hasher, Snapshot: s.snapshot, Limits: decide.Limits{TooLate: 24 * time.Hour, TooEarly: time.Hour},
			Window: dedupe.New(24*time.Hour, math.MaxInt, dedupe.Scratch(os.TempDir()))}
		s.adder = balances.NewAdder()
		for n := range stagesBatches {
			s.batch = s.records[n*stagesBatch : (n+1)*stagesBatch]
			for i, st := range steps {
				begin := time.Now()
				if err := st.do(); err != nil {
					return nil, fmt.Errorf("%s: %w", st.what, err)
				}
				took := float64(time.Since(begin).Nanoseconds()) / stagesBatch
				if round+n == 0 || took < least[i] {
					least[i] = took
				}
			}
		}
		s.decider.Window.Close()
	}
	return least, nil
}

func (s *staged) decode() error {
	for i, r := range s.batch {
		if rejected := s.decoder.Usage(r, &s.decoded[i]); rejected != nil {
			return rejected
		}
	}
	return nil
}

func (s *staged) identify() error {
	for i := range s.decoded {
		u := &s.decoded[i]
		_ = s.hasher.Sum(u.Account, u.Source, u.ID)
		_ = identity.Home(u.Account, u.Source, u.ID, partitions)
	}
	return nil
}

func (s *staged) resolve() error {
	for i := range s.decoded {
		u := &s.decoded[i]
		r := directory.Request{Source: u.Source, Account: u.Account, Section: u.Section, User: u.User, Team: u.Team, Model: u.Model, TimeMicros: u.TimeMicros}
		if s.snapshot.Resolve(&r, &s.resolved[i]); s.resolved[i].Reason != 0 {
			return errors.New(s.resolved[i].Detail)
		}
	}
	return nil
}

func (s *staged) price() error {
	for i := range s.decoded {
		r, q := &s.resolved[i], &s.decoded[i].Quantities
		if _, _, err := r.Price.Charge(&q.N, q.Present, r.Factor); err != nil {
			return err
		}
	}
	return nil
}

func (s *staged) decide() error {
	s.body.Entries, s.body.Paths = s.body.Entries[:0], s.body.Paths[:0]
	s.decider.Begin(&s.body)
	for first := 0; first < len(s.batch); first += decide.Together {
		s.usages, s.arrivals = s.usages[:0], s.arrivals[:0]
		for i := first; i < min(first+decide.Together, len(s.batch)); i++ {
			r := s.batch[i]
			s.usages = append(s.usages, &s.decoded[i])
			s.arrivals = append(s.arrivals, decide.Arrival{Position: r.Offset, RecordMicros: r.Timestamp.UnixMicro(), PartitionsHere: 1})
		}
		s.decider.Usages(s.usages, s.arrivals, s.verdicts[:])
		for i := range s.usages {
			v := &s.verdicts[i]
			if v.Entry.Decision != journal.Charged {
				return fmt.Errorf("an event was %v: %s", v.Entry.Decision, v.Detail)
			}
			s.body.Entries = append(s.body.Entries, v.Entry)
		}
	}
	return s.decider.Err()
}

func (s *staged) encode() error {
	s.row = s.encoder.Append(s.row[:0], s.batch[0].Offset, &s.body)
	return nil
}

func (s *staged) readRow() error { return journal.Decode(s.row, s.batch[0].Offset, &s.read) }

func (s *staged) add() error { return s.adder.Add(&s.read) }
