package journal_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/journal"
	body "github.com/alchemi/cockpit/schemas/journal"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/google/uuid"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func store(t *testing.T) journal.Store {
	return journal.NewPostgres(testkit.Pool(t, testkit.Database(t), postgres.RoleMetering))
}

var usage0 = journal.Partition{ClusterID: "c", TopicID: "id", Topic: "usage.v1"}

// row is a batch of charged events at each position of [from, to), with identities made of their positions.
func row(l journal.Lease, from, to int64, at time.Time) *journal.Row {
	b := body.Body{Paths: []body.Path{{Account: 1, Section: 1, Scopes: []int64{1}}}}
	for p := from; p < to; p++ {
		b.Entries = append(b.Entries, body.Entry{Decision: body.Charged, Position: p, Identity: [16]byte{byte(p)}, TimeMicros: at.UnixMicro()})
	}
	var e body.Encoder
	return &journal.Row{LogID: l.LogID, From: from, To: to, Kind: journal.Batch, ID: uuid.New(), MinTime: at, MaxTime: at,
		Counts: journal.Counts{Charged: int(to - from)}, Body: e.Append(nil, from, &b)}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestOnlyTheLastTakerCommits(t *testing.T) {
	t.Parallel()
	ctx, s, lease := t.Context(), store(t), must[journal.Lease](t)
	old := lease(s.Take(ctx, usage0, 1, 5))
	young := lease(s.Take(ctx, usage0, 1, 0))
	if young.Next != 5 || young.Epoch != old.Epoch+1 {
		t.Fatalf("taken at %d in epoch %d after %d", young.Next, young.Epoch, old.Epoch)
	}
	now := time.Now()
	if err := s.Commit(ctx, &old, row(old, 5, 8, now)); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("the older lease committed: %v", err)
	}
	if err := s.Commit(ctx, &young, row(young, 4, 8, now)); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("a commit from another position: %v", err)
	}
	if err := s.Commit(ctx, &young, row(young, 5, 8, now)); err != nil || young.Next != 8 {
		t.Fatalf("commit: %v, next %d", err, young.Next)
	}
}

// However many take and commit at once, ranges stay contiguous and each position is written once.
func TestConcurrentTakersWriteEachPositionOnce(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), store(t)
	var written atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				l, err := s.Take(ctx, usage0, 1, 0)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Commit(ctx, &l, row(l, l.Next, l.Next+3, time.Now())); err == nil {
					written.Add(3)
				} else if !errors.Is(err, journal.ErrFenced) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l := must[journal.Lease](t)(s.Take(ctx, usage0, 1, 0))
	if l.Next != written.Load() || l.Next == 0 {
		t.Fatalf("the log stands at %d, and %d positions were committed", l.Next, written.Load())
	}
}

func TestAnUnknownOutcomeIsResolvedByTheRow(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), store(t)
	l := must[journal.Lease](t)(s.Take(ctx, usage0, 1, 0))
	r := row(l, 0, 2, time.Now())
	if err := s.Commit(ctx, &l, r); err != nil {
		t.Fatal(err)
	}
	if written := must[bool](t)(s.Resolve(ctx, &l, r.ID)); !written || l.Next != 2 {
		t.Fatalf("written %t, next %d", written, l.Next)
	}
	if written := must[bool](t)(s.Resolve(ctx, &l, uuid.New())); written {
		t.Fatal("a row that was never committed is there")
	}
}

func TestRepartitionRefusesTheOldGeneration(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), store(t)
	l := must[journal.Lease](t)(s.Take(ctx, usage0, 1, 0))
	now := time.Now()
	if err := s.Commit(ctx, &l, row(l, 0, 3, now)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again is no change
		if err := s.Repartition(ctx, usage0, 2, map[int32]int64{1: 0}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(ctx, &l, row(l, 3, 4, now)); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("a commit under the old generation: %v", err)
	}
	p := usage0
	p.Partition = 1
	young := must[journal.Lease](t)(s.Take(ctx, p, 2, 0))
	if young.Generation != 2 || young.Partitions != 2 {
		t.Fatalf("%+v", young)
	}
	// The new home's window takes the identities that the old homes decided.
	seen := 0
	if err := s.Identities(ctx, young, now.Add(-time.Hour), func([16]byte, int64) { seen++ }); err != nil || seen != 3 {
		t.Fatalf("%d identities, %v", seen, err)
	}
}

// A window that is too large for one statement is loaded by several.
func TestIdentitiesOfManyRows(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), store(t)
	l := must[journal.Lease](t)(s.Take(ctx, usage0, 1, 0))
	now := time.Now().Truncate(time.Microsecond)
	const rows, events = 6, 1 << 16
	for i := range int64(rows) {
		if err := s.Commit(ctx, &l, row(l, i*events, (i+1)*events, now.Add(time.Duration(i)*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[int64]int{}
	if err := s.Identities(ctx, l, now.Add(time.Hour), func(_ [16]byte, micros int64) { seen[micros]++ }); err != nil {
		t.Fatal(err)
	}
	for i := range int64(rows) {
		want := events
		if i == 0 {
			want = 0 // older than asked for
		}
		if n := seen[now.Add(time.Duration(i)*time.Hour).UnixMicro()]; n != want {
			t.Errorf("%d identities of row %d, want %d", n, i, want)
		}
	}
}

func TestATopicMadeAnewIsPaused(t *testing.T) {
	t.Parallel()
	ctx, s, lease := t.Context(), store(t), must[journal.Lease](t)
	l := lease(s.Take(ctx, usage0, 1, 0))
	if err := s.Commit(ctx, &l, row(l, 0, 9, time.Now())); err != nil {
		t.Fatal(err)
	}
	other := usage0
	other.TopicID = "other"
	anew := lease(s.Take(ctx, other, 1, 0))
	if anew.Paused == "" {
		t.Fatal("a topic with another id was read without a word")
	}
	if err := s.Commit(ctx, &anew, row(anew, 0, 1, time.Now())); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("a paused log was committed to: %v", err)
	}
}

func TestLookups(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), store(t)
	l := must[journal.Lease](t)(s.Take(ctx, usage0, 2, 0))
	at := time.Now().Add(-48 * time.Hour).Truncate(time.Microsecond)
	if err := s.Commit(ctx, &l, row(l, 0, 3, at)); err != nil {
		t.Fatal(err)
	}
	asked := map[[16]byte]bool{{1}: false, {9}: false}
	if err := s.Decided(ctx, "usage.v1", asked, at, at); err != nil || !asked[[16]byte{1}] || asked[[16]byte{9}] {
		t.Fatalf("%v, %v", asked, err)
	}
	b := body.Body{Entries: []body.Entry{{Decision: body.Moved, Position: 3, Identity: [16]byte{7}, Home: 1}}}
	var e body.Encoder
	if err := s.Commit(ctx, &l, &journal.Row{LogID: l.LogID, From: 3, To: 4, Kind: journal.Batch, ID: uuid.New(), Body: e.Append(nil, 3, &b)}); err != nil {
		t.Fatal(err)
	}
	if moved := must[bool](t)(s.WasMoved(ctx, usage0, 3, [16]byte{7})); !moved {
		t.Fatal("a move was not found")
	}
	if moved := must[bool](t)(s.WasMoved(ctx, usage0, 3, [16]byte{8})); moved {
		t.Fatal("a move of another identity was found")
	}
	newest, ok, err := s.Newest(ctx, l)
	if err != nil || !ok || !newest.Equal(at) {
		t.Fatalf("newest %v %t %v", newest, ok, err)
	}
}
