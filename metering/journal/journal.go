package journal

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// ErrFenced says that a commit wrote nothing: somebody else took the log, its generation changed, or it is paused.
var ErrFenced = errors.New("the log was taken by another worker")

// CorrectionsTopic names the log that corrections are appended to.
const CorrectionsTopic = "corrections"

// Partition names one log.
type Partition struct {
	ClusterID string
	TopicID   string // Kafka's, as text; a topic that was made anew has another
	Topic     string
	Partition int32
}

// Lease is a worker's right to append to a log, until another takes it.
type Lease struct {
	LogID      int64
	Partition  Partition
	Partitions int32 // of the topic, in this generation
	Generation int64
	Epoch      int64
	Next       int64  // the position to go on from
	Paused     string // why the log is paused; empty: it is not
}

// Kind is what a journal row records.
type Kind string

// The kinds of rows.
const (
	Batch      Kind = "batch"
	Correction Kind = "correction"
	Loss       Kind = "loss"
)

// Counts is how many events of a row were decided how.
type Counts struct {
	Charged, Duplicate, Observed, Quarantined, Moved int
}

// Row is a journal row. Body is as in schemas/journal.
type Row struct {
	LogID            int64
	From, To         int64 // positions [From, To)
	Kind             Kind
	ID               uuid.UUID
	MinTime, MaxTime time.Time // of the events that have one; zero if none has
	RecordedAt       time.Time // read only
	Counts           Counts
	Author, Reason   string // of corrections and losses
	Body             []byte
}

// Store is the journal as workers use it. Implementations pass the same contract tests.
type Store interface {
	// Take raises the log's epoch and returns the lease. A log not seen before begins at start, in a topic of
	// that many partitions; if its topic was known under another id, the log is paused until an operator goes on.
	Take(ctx context.Context, p Partition, partitions int32, start int64) (Lease, error)
	// Commit appends the row under the lease and moves the lease's Next to row.To. ErrFenced: nothing was written.
	// Any other error: nothing is known; the caller calls Resolve.
	Commit(ctx context.Context, l *Lease, row *Row) error
	// Resolve takes the log anew and says whether the row with that id was written.
	Resolve(ctx context.Context, l *Lease, id uuid.UUID) (written bool, err error)
	// Pause stops the log, with the reason, until an operator goes on.
	Pause(ctx context.Context, l *Lease, reason string) error
	// Repartition begins a new generation with that many partitions, where the topic has fewer; starts gives the
	// first position of each new one. Commits under the old generation are refused from then on.
	Repartition(ctx context.Context, p Partition, partitions int32, starts map[int32]int64) error
	// Identities calls f with each identity and time (Unix µs) decided in logs of p's topic at or after since:
	// p's own, and those of every log's rows of an older generation.
	Identities(ctx context.Context, l Lease, since time.Time, f func(identity [16]byte, timeMicros int64)) error
	// Decided says which of the identities were charged, observed or recorded, in any log of the topic, by events of [from, to].
	Decided(ctx context.Context, topic string, identities map[[16]byte]bool, from, to time.Time) error
	// WasMoved says whether the event at that position of a log was moved away under that identity.
	WasMoved(ctx context.Context, p Partition, position int64, identity [16]byte) (bool, error)
	// Newest is the newest event time in the lease's log, or in its topic where the log has none; false if nowhere is one.
	Newest(ctx context.Context, l Lease) (time.Time, bool, error)
}
