// Package verify proves the invariants I1 to I7 of the architecture against running stores.
//
// It shares no code with the path that it checks but the written formats: it decodes the journal by its documentation,
// events with encoding/json, and computes prices, paths and cycles by rules of its own. Postgres is read in one snapshot;
// Kafka and ClickHouse only up to the positions of that snapshot, so that it can run while events flow.
//
// A failure names what is wrong: log and offset, scope and cycle, identity or alert. What Kafka no longer has is checked
// against the journal alone.
//
// Memory does not grow with the number of events: journal and Kafka are streamed side by side, and what has to be brought
// together from far apart (copies of an identity, a correction and its charge, a quarantined event and its record) goes
// through sorted runs in temporary files, 32 bytes an event. It grows with the directory and with what has been charged in
// it: a sum for each scope and cycle, and in ClickHouse one for each row of a rollup.
//
// Map: verify.go (the run), logs.go (journal and Kafka side by side: I3), events.go (a decision and its event: I1, I2, I4),
// identities.go (I2, I7), corrections.go (I4), quarantine.go (I7), books.go (I1), alerts.go (I6), clickhouse.go and
// rollups.go (I5); directory.go, path.go, price.go (what is checked against); decode.go (the journal's format), event.go,
// kafka.go, sorter.go, progress.go.
package verify

import (
	"context"
	"fmt"
	"io"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Stores are what is verified.
type Stores struct {
	Postgres   *pgxpool.Pool
	ClickHouse driver.Conn // nil: I5 is not checked, and says so
	Kafka      []kgo.Opt
	Scratch    string // the directory of temporary files; empty: the system's
}

// Result is what became of one invariant.
type Result struct {
	ID      string `json:"id"`
	OK      bool   `json:"ok"`
	Checked int64  `json:"checked"`
	Detail  string `json:"detail"`

	failures int
}

// detailsMax is how many failures of an invariant are named.
const detailsMax = 5

// fail notes a failure.
func (r *Result) fail(format string, args ...any) {
	r.OK = false
	r.failures++
	switch {
	case r.failures == 1:
		r.Detail = fmt.Sprintf(format, args...)
	case r.failures <= detailsMax:
		r.Detail += "; " + fmt.Sprintf(format, args...)
	case r.failures == detailsMax+1:
		r.Detail += "; and more"
	}
}

// full says that no further failure would be named.
func (r *Result) full() bool { return r.failures > detailsMax }

// verification is one run.
type verification struct {
	Stores
	tx       pgx.Tx
	progress *progress
	results  map[string]*Result
	logs     []*logState
	byPlace  map[place]*logState
	gone     map[string]bool // topics that Kafka no longer has, by id
	dir      *directory
	hash     *identities
	body     body

	decided     sorter[[4]uint64]  // what became of which identity (identities.go)
	corrected   sorter[[11]uint64] // corrections and the charges that they may be of (corrections.go)
	corrections []uint64           // a filter of the identities that were corrected
	held        sorter[[4]uint64]  // quarantined events and their records (quarantine.go)
	folded      map[scopeCycle]sum // the journal below the fold's positions
	blocks      map[block]print    // what ClickHouse must have (clickhouse.go)
	since       map[string]int64   // from when on ClickHouse keeps a table's rows, Unix µs
}

// logState is a log in the snapshot.
type logState struct {
	id                                      int64
	topicID, topic                          string
	partition                               int32
	next, folded, rolled, generation, epoch int64
	lost                                    bool // an operator accepted that some of it is lost
}

// place is a partition of a topic by its id.
type place struct {
	topicID   string
	partition int32
}

func (l *logState) String() string { return fmt.Sprintf("%s/%d", l.topic, l.partition) }

var invariants = []string{"I1", "I2", "I3", "I4", "I5", "I6", "I7"}

// Run checks everything and returns a result for each invariant, in order. An error means that it could not be checked.
// Progress is a bar where out is a terminal, and lines elsewhere.
func Run(ctx context.Context, s Stores, out io.Writer) ([]Result, error) {
	v := &verification{Stores: s, progress: newProgress(out), results: map[string]*Result{}, byPlace: map[place]*logState{}, gone: map[string]bool{}, corrections: make([]uint64, filterBits/64),
		folded: map[scopeCycle]sum{}, blocks: map[block]print{}, since: map[string]int64{}}
	v.decided.dir, v.corrected.dir, v.held.dir = s.Scratch, s.Scratch, s.Scratch
	defer v.progress.close()
	defer func() { v.decided.close(); v.corrected.close(); v.held.close() }()
	for _, id := range invariants {
		v.results[id] = &Result{ID: id, OK: true}
	}
	err := pgx.BeginTxFunc(ctx, s.Postgres, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		v.tx = tx
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return err
		}
		return v.steps(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	all := make([]Result, 0, len(invariants))
	for _, id := range invariants {
		all = append(all, *v.results[id])
	}
	return all, nil
}

func (v *verification) steps(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{{"reading positions", v.readLogs}, {"reading the directory", v.readDirectory}, {"looking at ClickHouse's retention", v.retention},
		{"comparing events with decisions", v.eachLog}, {"comparing identities", v.identities}, {"comparing corrections", v.correctionChains},
		{"comparing quarantine", v.quarantine}, {"adding up balances", v.books}, {"comparing alerts", v.alerts}, {"comparing ClickHouse", v.clickhouse},
		{"comparing rollups", v.settled}} {
		total := int64(0)
		if step.what == "comparing events with decisions" {
			for _, l := range v.logs {
				total += l.next
			}
		}
		v.progress.step(step.what, total)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

func (v *verification) readLogs(ctx context.Context) error {
	var secret []byte
	if err := v.tx.QueryRow(ctx, `SELECT identity_secret FROM deployment`).Scan(&secret); err != nil {
		return err
	}
	var err error
	if v.hash, err = newIdentities(secret); err != nil {
		return err
	}
	// Corrections first: what they are of is then known when it is met.
	rows, err := v.tx.Query(ctx, `SELECT o.id, o.topic_id, o.topic, o.partition, o.next, coalesce(f.next, 0), o.generation, o.epoch,
			coalesce((SELECT max(to_pos) FROM rollup_batches b WHERE b.offsets_id = o.id AND b.state = 'done'), 0)
		FROM offsets o LEFT JOIN fold_positions f ON f.offsets_id = o.id ORDER BY o.topic <> 'corrections', o.id`)
	if err != nil {
		return err
	}
	v.logs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*logState, error) {
		l := &logState{}
		err := row.Scan(&l.id, &l.topicID, &l.topic, &l.partition, &l.next, &l.folded, &l.generation, &l.epoch, &l.rolled)
		v.byPlace[place{l.topicID, l.partition}] = l
		return l, err
	})
	return err
}
