//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/alchemi/cockpit/schemas/clickhouse"
)

func clickhouses() []Case {
	return []Case{
		{Name: "clickhouse/stopped", Row: rowClickHouse, run: clickhouseStopped},
		{Name: "clickhouse/gone-past-its-window", Row: rowClickHouse, Short: true, run: clickhouseGone},
	}
}

// rollupsMax is how much memory rollups may have, whatever the backlog. The matrix says 256 MiB of its own; what the
// runtime maps beside it comes on top.
const rollupsMax = 320 << 20

// without has events flow for a while, of which metering must not notice that ClickHouse is away.
func (w *World) without(ctx context.Context, pause time.Duration) error {
	rows := func() (n int64, err error) {
		err = w.db.QueryRow(ctx, `SELECT count(*) FROM journal`).Scan(&n)
		return n, err
	}
	before, err := rows()
	if err != nil {
		return err
	}
	sleep(ctx, pause)
	after, err := rows()
	if err == nil && after == before {
		err = errors.New("metering stood still while ClickHouse was away")
	}
	return err
}

func (w *World) rollupsBounded() error {
	n, err := w.rollups.memoryMax()
	if err == nil && n > rollupsMax {
		err = fmt.Errorf("rollups had %d MiB", n>>20)
	}
	w.logf("rollups had at most %d MiB", n>>20)
	return err
}

func clickhouseStopped(ctx context.Context, w *World, s Scale) error {
	if _, err := w.send(ctx); err != nil {
		return err
	}
	for range s.times(1, 2) {
		if err := w.clickhouse.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		behind, err := w.unrolled(ctx)
		if err != nil {
			return err
		}
		if err := w.without(ctx, s.duration(6*time.Second, 30*time.Second)); err != nil {
			return err
		}
		if now, err := w.unrolled(ctx); err != nil || now <= behind {
			return fmt.Errorf("ClickHouse was stopped, and rollups went on (%d, then %d rows behind): %w", behind, now, err)
		}
		w.Fired("ClickHouse was stopped, and the rollups fell behind the journal")
		if err := w.clickhouse.signal(syscall.SIGCONT); err != nil {
			return err
		}
		if err := w.recovers(ctx, "ClickHouse went on", rolled); err != nil {
			return err
		}
	}
	return errors.Join(w.rollupsBounded(), w.settles(ctx, 0))
}

// unrolled is how many journal rows the rollups do not have.
func (w *World) unrolled(ctx context.Context) (n int64, err error) {
	err = w.db.QueryRow(ctx, `SELECT count(*) FROM journal j
		WHERE j.from_pos >= coalesce((SELECT max(to_pos) FROM rollup_batches b WHERE b.offsets_id = j.offsets_id AND b.state = 'done'), 0)`).Scan(&n)
	return n, err
}

// windowInserts is the deduplication window that the tables are left with: a few more than there are logs. What was in
// doubt must be repeated before as many other inserts were made.
const windowInserts = 12

// clickhouseGone kills the rollups right after an insert, so that it is in doubt, and ClickHouse with them, for longer than
// the deduplication window would last at the pace of the inserts before.
func clickhouseGone(ctx context.Context, w *World, s Scale) error {
	conn, err := clickhouse.Open(ctx, w.clickhouse.current().URL)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, table := range []string{"usage_events", "usage_quarters", "usage_days", "usage_user_days", "guardrail_events", "guardrail_quarters"} {
		if err := conn.Exec(ctx, fmt.Sprintf(`ALTER TABLE %s MODIFY SETTING non_replicated_deduplication_window = %d`, table, windowInserts)); err != nil {
			return err
		}
	}
	if _, err := w.send(ctx); err != nil {
		return err
	}
	for round := range s.times(1, 3) {
		nth := 1 + w.rand.IntN(12)
		if err := w.rollups.plant(fmt.Sprintf("rollups.after-insert:%d:kill", nth)); err != nil {
			return err
		}
		if err := w.planted(ctx, "rollups.after-insert", round+1); err != nil {
			return err
		}
		w.clickhouse.hold(true)
		if err := w.clickhouse.kill(); err != nil {
			return err
		}
		w.Fired("rollups were killed after insert %d, and ClickHouse with them", nth)
		if err := w.without(ctx, s.duration(6*time.Second, 30*time.Second)); err != nil {
			return err
		}
		w.clickhouse.hold(false)
		if err := w.recovers(ctx, "ClickHouse was back", rolled); err != nil {
			return err
		}
	}
	return errors.Join(w.rollupsBounded(), w.settles(ctx, 0))
}
