//go:build linux

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// recoveredMax is what the matrix demands at most of anything that was broken and is whole again, with much to spare.
const recoveredMax = time.Minute

// positions are where the logs of usage.v1 stand.
func (w *World) positions(ctx context.Context, sql string) (map[int64]int64, error) {
	rows, err := w.db.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	at := map[int64]int64{}
	for rows.Next() {
		var id, next int64
		if err := rows.Scan(&id, &next); err != nil {
			return nil, err
		}
		at[id] = next
	}
	return at, rows.Err()
}

const (
	metered = `SELECT id, next FROM offsets WHERE topic = 'usage.v1' AND paused_reason IS NULL`
	rolled  = `SELECT o.id, coalesce(max(b.to_pos) FILTER (WHERE b.state = 'done'), 0) FROM offsets o LEFT JOIN rollup_batches b ON b.offsets_id = o.id
		WHERE o.topic = 'usage.v1' GROUP BY o.id`
)

// recovers waits until every log has moved on, as sql tells, and notes how long that took. Traffic must be flowing.
func (w *World) recovers(ctx context.Context, what, sql string) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, recoveredMax)
	defer cancel()
	if err := w.moves(ctx, sql); err != nil {
		return fmt.Errorf("after %s: %w", what, err)
	}
	took := time.Since(begin)
	w.recovery = max(w.recovery, took)
	w.logf("useful again %.1f s after %s", took.Seconds(), what)
	return nil
}

// moves waits until every log has moved on.
func (w *World) moves(ctx context.Context, sql string) error {
	var before map[int64]int64
	return w.eventually(ctx, "every log moves on", func() (bool, error) {
		now, err := w.positions(ctx, sql)
		if err != nil {
			return false, err
		}
		if len(before) < int(w.cfg.partitions) { // a log that nobody took yet is not known
			before = now
		}
		for id, next := range before {
			if now[id] <= next {
				return false, nil
			}
		}
		return len(before) >= int(w.cfg.partitions), nil
	})
}

// settles ends the traffic, waits until all of it went through, and asks whether the books are right: every identity that
// was accepted was charged, once.
func (w *World) settles(ctx context.Context, more int64) error {
	expected := more
	for _, f := range w.flows {
		f.end()
		expected += f.count()
	}
	w.logf("%d events were accepted", expected)
	state := ""
	err := w.eventually(ctx, "everything settles", func() (ok bool, err error) {
		ok, state, err = w.settled(ctx, expected)
		return ok, err
	})
	if err != nil {
		return fmt.Errorf("%w (%s)", err, state)
	}
	w.logf("settled: %s", state)
	return w.verify(ctx)
}

// settled says whether nothing is left to do.
func (w *World) settled(ctx context.Context, expected int64) (ok bool, state string, err error) {
	var charged, duplicates, quarantined, moved, unfolded, unrolled, pending, paused int64
	if err := w.db.QueryRow(ctx, `SELECT (SELECT coalesce(sum(charged), 0) FROM journal), (SELECT coalesce(sum(duplicate), 0) FROM journal),
		(SELECT coalesce(sum(quarantined), 0) FROM journal), (SELECT coalesce(sum(moved), 0) FROM journal),
		(SELECT count(*) FROM journal j LEFT JOIN fold_positions f USING (offsets_id) WHERE j.from_pos >= coalesce(f.next, 0)),
		(SELECT count(*) FROM journal j WHERE j.from_pos >= coalesce((SELECT max(to_pos) FROM rollup_batches b WHERE b.offsets_id = j.offsets_id AND b.state = 'done'), 0)),
		(SELECT count(*) FROM alert_outbox WHERE state = 'pending'),
		(SELECT count(*) FROM offsets WHERE paused_reason IS NOT NULL)`).Scan(&charged, &duplicates, &quarantined, &moved, &unfolded, &unrolled, &pending, &paused); err != nil {
		return false, "", err
	}
	behind, err := w.behind(ctx)
	state = fmt.Sprintf("charged %d of %d, duplicates %d, quarantined %d, moved %d; records not decided %d, rows not folded %d, not rolled up %d, alerts not sent %d, logs paused %d",
		charged, expected, duplicates, quarantined, moved, behind, unfolded, unrolled, pending, paused)
	if charged > expected {
		return false, state, errors.New("more was charged than was accepted")
	}
	return err == nil && charged == expected && behind+unfolded+unrolled+pending+paused == 0, state, err
}

// behind is the number of records in Kafka that were not decided.
func (w *World) behind(ctx context.Context) (n int64, err error) {
	admin, err := w.admin()
	if err != nil {
		return 0, err
	}
	defer admin.Close()
	ends, err := admin.ListEndOffsets(ctx, "usage.v1", "guardrail.v1")
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, err
	}
	rows, err := w.db.Query(ctx, `SELECT DISTINCT ON (topic, partition) topic, partition, next FROM offsets WHERE topic <> 'corrections' ORDER BY topic, partition, id DESC`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var topic string
		var partition int32
		var next int64
		if err := rows.Scan(&topic, &partition, &next); err != nil {
			return 0, err
		}
		end, ok := ends.Lookup(topic, partition)
		if !ok {
			return 0, fmt.Errorf("%s has no partition %d", topic, partition)
		}
		n += max(0, end.Offset-next)
	}
	return n, rows.Err()
}

// verify runs the real `cockpit verify`.
func (w *World) verify(ctx context.Context) error {
	out, err := w.do(ctx, "verify", "--json")
	if green := bytes.Count(out, []byte(`"ok":true`)); err != nil || green != 7 {
		return fmt.Errorf("verify: %d of 7 invariants hold: %w\n%s", green, err, out)
	}
	w.logf("verify is green")
	return nil
}
