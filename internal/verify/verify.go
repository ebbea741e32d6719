// Package verify proves the invariants I1 to I7 of the architecture against running stores.
//
// It shares no code with the path that it checks but the written formats: it decodes the journal by its documentation,
// events with encoding/json, and computes prices with shopspring/decimal, paths and cycles by rules of its own. Postgres is
// read in one snapshot; Kafka and ClickHouse only up to the positions of that snapshot, so that it can run while events flow.
//
// A failure names what is wrong: log and offset, scope and cycle, or identity. Memory grows with the number of distinct
// identities that Kafka holds (about 100 bytes each); everything else is streamed.
//
// Map: verify.go, decode.go (journal), directory.go (prices, paths), books.go (I1, I3), events.go (I2, I4, I7), alerts.go
// (I6), clickhouse.go (I5).
package verify

import (
	"context"
	"fmt"
	"io"
	"time"

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
}

// Result is what became of one invariant.
type Result struct {
	ID      string `json:"id"`
	OK      bool   `json:"ok"`
	Checked int64  `json:"checked"`
	Detail  string `json:"detail"`
}

// detailsMax is how many failures of an invariant are named.
const detailsMax = 5

// fail notes a failure.
func (r *Result) fail(format string, args ...any) {
	r.OK = false
	switch n := r.failures(); {
	case n < detailsMax:
		if n > 0 {
			r.Detail += "; "
		}
		r.Detail += fmt.Sprintf(format, args...)
	case n == detailsMax:
		r.Detail += "; and more"
	}
}

func (r *Result) failures() (n int) {
	if r.Detail == "" {
		return 0
	}
	n = 1
	for i := 0; i+1 < len(r.Detail); i++ {
		if r.Detail[i] == ';' && r.Detail[i+1] == ' ' {
			n++
		}
	}
	return n
}

// verification is one run.
type verification struct {
	Stores
	tx        pgx.Tx
	progress  io.Writer
	begin     time.Time
	results   map[string]*Result
	logs      []*logState
	dir       *directory
	sums      map[scopeCycle]sum // of the whole journal
	folded    map[scopeCycle]sum // below the fold's positions
	daily     map[dayKey]daySum  // of what ClickHouse has
	corrected []decision
}

// logState is a log in the snapshot.
type logState struct {
	id                               int64
	cluster, topicID, topic          string
	partition                        int32
	next, folded, rolled, generation int64
}

// Run checks everything and returns a result for each invariant, in order. An error means that it could not be checked.
func Run(ctx context.Context, s Stores, progress io.Writer) ([]Result, error) {
	v := &verification{Stores: s, progress: progress, begin: time.Now(), results: map[string]*Result{}, sums: map[scopeCycle]sum{}, folded: map[scopeCycle]sum{},
		daily: map[dayKey]daySum{}}
	ids := []string{"I1", "I2", "I3", "I4", "I5", "I6", "I7"}
	for _, id := range ids {
		v.results[id] = &Result{ID: id, OK: true}
	}
	err := pgx.BeginTxFunc(ctx, s.Postgres, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		v.tx = tx
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return err
		}
		for _, step := range []struct {
			what string
			do   func(context.Context) error
		}{{"reading positions", v.readLogs}, {"reading the directory", v.readDirectory}, {"comparing events with decisions", v.events},
			{"adding up balances", v.books}, {"comparing alerts", v.alerts}, {"comparing ClickHouse", v.clickhouse}} {
			v.say("%s", step.what)
			if err := step.do(ctx); err != nil {
				return fmt.Errorf("%s: %w", step.what, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	out := make([]Result, 0, len(ids))
	for _, id := range ids {
		out = append(out, *v.results[id])
	}
	return out, nil
}

func (v *verification) say(format string, args ...any) {
	fmt.Fprintf(v.progress, "%5.1fs  %s\n", time.Since(v.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (v *verification) readLogs(ctx context.Context) error {
	rows, err := v.tx.Query(ctx, `SELECT o.id, o.cluster_id, o.topic_id, o.topic, o.partition, o.next, coalesce(f.next, 0), o.generation,
			coalesce((SELECT max(to_pos) FROM rollup_batches b WHERE b.offsets_id = o.id AND b.state = 'done'), 0)
		FROM offsets o LEFT JOIN fold_positions f ON f.offsets_id = o.id ORDER BY o.topic = 'corrections', o.id`)
	if err != nil {
		return err
	}
	v.logs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*logState, error) {
		l := &logState{}
		return l, row.Scan(&l.id, &l.cluster, &l.topicID, &l.topic, &l.partition, &l.next, &l.folded, &l.generation, &l.rolled)
	})
	return err
}
