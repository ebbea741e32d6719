package controltest

import (
	"encoding/binary"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/metering/credit"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/schemas/events"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/google/uuid"
)

// usages numbers identities.
var usages atomic.Uint64

// Charge meters one use of inputTokens as the workers do: it resolves the request with the directory as it is, prices it,
// and commits a row of the journal. It returns what was charged, and fails the test if metering would refuse the event.
func (s *Server) Charge(r metering.Request, inputTokens int64) credit.Amount {
	s.t.Helper()
	fail := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if r.TimeMicros == 0 {
		r.TimeMicros = time.Now().UnixMicro()
	}
	f, err := metering.Follow(s.t.Context(), s.Metering, slog.Default(), time.Hour)
	fail(err)
	var to metering.Resolution
	if f.Current().Resolve(&r, &to); to.Reason != 0 {
		s.t.Fatalf("metering refuses %+v: %s", r, to.Detail)
	}
	n := [events.NumQuantities]int64{events.InputTokens: inputTokens}
	credits, cost, err := to.Price.Charge(&n, 1<<events.InputTokens, to.Factor)
	fail(err)
	store := journal.NewPostgres(s.Metering)
	l, err := store.Take(s.t.Context(), journal.Partition{ClusterID: "test", TopicID: "test", Topic: "usage.v1"}, 1, 0)
	fail(err)
	start, _ := to.Cycle(r.TimeMicros)
	e := body.Entry{Decision: body.Charged, Position: l.Next, TimeMicros: r.TimeMicros, Charge: body.Charge{Membership: to.Member, User: to.User, Model: to.ModelID,
		Price: to.PriceID, Factor: to.FactorID, Flags: to.Flags, Credits: int64(credits), Cost: int64(cost)}}
	binary.BigEndian.PutUint64(e.Identity[:], usages.Add(1))
	b := body.Body{Paths: []body.Path{{Account: to.AccountID, Section: to.SectionID, CycleStart: start, Scopes: to.Path.Scopes}}, Entries: []body.Entry{e}}
	var enc body.Encoder
	at := time.UnixMicro(r.TimeMicros)
	fail(store.Commit(s.t.Context(), &l, &journal.Row{From: l.Next, To: l.Next + 1, Kind: journal.Batch, ID: uuid.New(), MinTime: at, MaxTime: at,
		Counts: journal.Counts{Charged: 1}, Body: enc.Append(nil, l.Next, &b)}))
	return credits
}
