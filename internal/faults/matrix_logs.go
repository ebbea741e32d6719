//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/alchemi/cockpit/ingest/topics"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func logs() []Case {
	return []Case{
		{Name: "partitions/more-while-running", Row: rowRepartition, Short: true, run: morePartitions},
		{Name: "lost/retention-overtakes", Row: rowLost, Short: true, set: func(c *config) { c.metering = 1 }, run: lostLog(overtaken)},
		{Name: "lost/topic-made-anew", Row: rowLost, set: func(c *config) { c.metering = 1 }, run: lostLog(madeAnew)},
	}
}

// morePartitions adds partitions while events flow and a metering process may die, and sends again what was sent before: it
// arrives at new homes, and is known there.
func morePartitions(ctx context.Context, w *World, s Scale) error {
	var bodies [][]byte
	known := int64(0)
	for n := range 8 {
		list := make([]json.RawMessage, 50)
		for i := range list {
			list[i] = usual(fmt.Sprintf("before-%d-%d", n, i)).value()
			known++
		}
		body, err := json.Marshal(list)
		if err != nil {
			return err
		}
		bodies = append(bodies, body)
	}
	again := func() error {
		for _, body := range bodies {
			if status, _, err := w.post(body); err != nil || status != http.StatusAccepted {
				return fmt.Errorf("send again: %d, %w", status, err)
			}
		}
		return nil
	}
	if err := again(); err != nil {
		return err
	}
	if _, err := w.send(ctx); err != nil {
		return err
	}
	partitions := w.cfg.partitions
	for range s.times(1, 3) {
		if err := w.repartition(ctx, &partitions, again); err != nil {
			return err
		}
	}
	if err := w.settles(ctx, known); err != nil {
		return err
	}
	var duplicates int64
	if err := w.db.QueryRow(ctx, `SELECT sum(duplicate) FROM journal`).Scan(&duplicates); err != nil {
		return err
	}
	if duplicates < known {
		return fmt.Errorf("%d duplicates, and %d were sent again", duplicates, known)
	}
	return nil
}

// repartition adds one to three partitions, kills a process meanwhile, and waits until all are used.
func (w *World) repartition(ctx context.Context, partitions *int32, again func() error) error {
	admin, err := w.admin()
	if err != nil {
		return err
	}
	defer admin.Close()
	*partitions += 1 + w.rand.Int32N(3)
	added, err := admin.UpdatePartitions(ctx, int(*partitions), topics.Usage)
	if err == nil {
		err = added.Error()
	}
	if err == nil {
		err = errors.Join(again(), w.metering[w.rand.IntN(len(w.metering))].kill(), again())
	}
	if err != nil {
		return err
	}
	if err := w.eventually(ctx, "the new partitions are taken", func() (ok bool, err error) {
		err = w.db.QueryRow(ctx, `SELECT count(*) = $1 AND min(partitions) = $1 AND min(generation) > 1 FROM offsets WHERE topic = 'usage.v1'`, *partitions).Scan(&ok)
		return ok, err
	}); err != nil {
		return err
	}
	if err := w.eventually(ctx, "the collector uses them", func() (bool, error) {
		at, err := w.positions(ctx, metered)
		for _, next := range at {
			if next == 0 {
				return false, err
			}
		}
		return len(at) == int(*partitions), err
	}); err != nil {
		return err
	}
	w.Fired("usage.v1 went on with %d partitions, and a process was killed", *partitions)
	return again()
}

// lostLog loses what metering did not read. The log pauses, an alert says so once, nothing is skipped, and it goes on
// after `cockpit offsets accept-loss`.
func lostLog(lose func(context.Context, *World) (lost, left int64, err error)) func(context.Context, *World, Scale) error {
	return func(ctx context.Context, w *World, s Scale) error {
		f, err := w.send(ctx)
		if err != nil {
			return err
		}
		f.end()
		if err := w.settles(ctx, 0); err != nil {
			return err
		}
		if err := w.metering[0].close(); err != nil {
			return err
		}
		lost, left, err := lose(ctx, w)
		if err != nil {
			return err
		}
		if w.metering[0], err = w.serve("metering-after", "metering", ""); err != nil {
			return err
		}
		paused, err := w.pausedAndTold(ctx)
		if err != nil {
			return err
		}
		w.Fired("%d records were lost, and %d logs paused with an alert each", lost, len(paused))
		for _, partition := range paused {
			if _, err := w.do(ctx, "offsets", "accept-loss", "--topic", topics.Usage, "--partition", fmt.Sprint(partition), "--reason", "a test lost it"); err != nil {
				return err
			}
		}
		if err := w.settles(ctx, left); err != nil {
			return err
		}
		var journalled int64
		if err := w.db.QueryRow(ctx, `SELECT coalesce(sum(to_pos - from_pos), 0) FROM journal WHERE kind = 'loss'`).Scan(&journalled); err != nil || journalled != lost {
			return fmt.Errorf("%d positions are journalled as lost, and %d were: %w", journalled, lost, err)
		}
		return nil
	}
}

// pausedAndTold waits until a log is paused and its alert is published, and that it was skipped by nobody. It returns the
// partitions that are paused.
func (w *World) pausedAndTold(ctx context.Context) (partitions []int32, err error) {
	if err := w.eventually(ctx, "the log is paused and told of", func() (bool, error) {
		rows, err := w.db.Query(ctx, `SELECT o.partition FROM offsets o JOIN alerts a ON a.type = 'metering.log_paused' AND a.dedupe_key LIKE format('log_paused/%s/%%', o.id)
			JOIN alert_outbox b ON b.alert_id = a.id AND b.state = 'sent' WHERE o.paused_reason IS NOT NULL`)
		if err != nil {
			return false, err
		}
		defer rows.Close()
		partitions = partitions[:0]
		for rows.Next() {
			var p int32
			if err := rows.Scan(&p); err != nil {
				return false, err
			}
			partitions = append(partitions, p)
		}
		var all int
		err = errors.Join(rows.Err(), w.db.QueryRow(ctx, `SELECT count(*) FROM offsets WHERE paused_reason IS NOT NULL`).Scan(&all))
		return len(partitions) > 0 && len(partitions) == all, err
	}); err != nil {
		return nil, err
	}
	status, why, err := w.metering[0].get(ctx, "/readyz")
	if err == nil && status != http.StatusServiceUnavailable {
		err = fmt.Errorf("/readyz answers %d (%s) while a log is paused", status, why)
	}
	before, perr := w.positions(ctx, `SELECT id, next FROM offsets WHERE paused_reason IS NOT NULL`)
	sleep(ctx, 3*time.Second) // a paused worker looks every 2 s
	after, aerr := w.positions(ctx, `SELECT id, next FROM offsets WHERE paused_reason IS NOT NULL`)
	if err := errors.Join(err, perr, aerr); err != nil {
		return nil, err
	}
	if fmt.Sprint(before) != fmt.Sprint(after) {
		return nil, fmt.Errorf("paused logs moved from %v to %v", before, after)
	}
	slices.Sort(partitions)
	if n := len(slices.Compact(partitions)); n != len(before) {
		return nil, fmt.Errorf("%d alerts of %d paused logs", n, len(before))
	}
	return partitions, nil
}

// produceTo sends n events to a partition, wherever their home is.
func (w *World) produceTo(ctx context.Context, partition int32, name string, n int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.current().URL), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	for i := range n {
		m := usual(fmt.Sprint(name, "-", i))
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topics.Usage, Partition: partition, Key: []byte(m.key()), Value: m.value()}).FirstErr(); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
	}
	return nil
}

// overtaken has retention delete what was not read of a partition.
func overtaken(ctx context.Context, w *World) (lost, left int64, err error) {
	lost, left = 1+w.rand.Int64N(50), 10
	partition := w.rand.Int32N(w.cfg.partitions)
	if err := w.produceTo(ctx, partition, "lost", int(lost)); err != nil {
		return 0, 0, err
	}
	if err := w.produceTo(ctx, partition, "left", int(left)); err != nil {
		return 0, 0, err
	}
	admin, err := w.admin()
	if err != nil {
		return 0, 0, err
	}
	defer admin.Close()
	ends, err := admin.ListEndOffsets(ctx, topics.Usage)
	if err != nil {
		return 0, 0, err
	}
	end, _ := ends.Lookup(topics.Usage, partition)
	_, err = admin.DeleteRecords(ctx, kadm.Offsets{topics.Usage: {partition: {Topic: topics.Usage, Partition: partition, At: end.Offset - left}}})
	return lost, left, err
}

// madeAnew deletes the topic, and makes it again.
func madeAnew(ctx context.Context, w *World) (lost, left int64, err error) {
	admin, err := w.admin()
	if err != nil {
		return 0, 0, err
	}
	defer admin.Close()
	if _, err := admin.DeleteTopics(ctx, topics.Usage); err != nil {
		return 0, 0, err
	}
	if _, err := topics.Ensure(ctx, admin, w.cfg.partitions); err != nil {
		return 0, 0, err
	}
	left = 10 * int64(w.cfg.partitions)
	for p := range w.cfg.partitions {
		if err := w.produceTo(ctx, p, fmt.Sprint("anew-", p), 10); err != nil {
			return 0, 0, err
		}
	}
	return 0, left, nil
}
