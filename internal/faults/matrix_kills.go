//go:build linux

package faults

import (
	"context"
	"fmt"
	"time"
)

// Rows of the matrix.
const (
	rowKills       = "kill -9 of each process"
	rowOwners      = "two owners of one partition"
	rowRebalances  = "rebalances"
	rowCommits     = "Postgres lost in a commit"
	rowClickHouse  = "ClickHouse slow or gone for hours"
	rowDisk        = "disk full"
	rowBad         = "bad events"
	rowDisorder    = "duplicates, disorder, lateness"
	rowOverload    = "overload"
	rowRepartition = "more partitions while running"
	rowLost        = "a lost log"
)

func kills() []Case {
	return []Case{
		{Name: "kill/metering-at-points", Row: rowKills, Short: true,
			set: func(c *config) { c.metering = 1 },
			run: atPoints(metered, func(w *World) *process { return w.metering[0] },
				"worker.after-poll", "worker.after-publish", "worker.after-commit", "fold.before-commit", "fold.after-commit")},
		{Name: "kill/rollups-at-points", Row: rowKills,
			run: atPoints(rolled, func(w *World) *process { return w.rollups }, "rollups.after-plan", "rollups.after-insert", "rollups.before-done", "rollups.after-done")},
		{Name: "kill/ingest-at-points", Row: rowKills,
			run: atPoints(metered, func(w *World) *process { return w.ingest }, "ingest.before-produce", "ingest.after-produce")},
		{Name: "kill/alerts-at-points", Row: rowKills, set: func(c *config) { c.faults["alerts"] = "alerts.after-produce:1:kill" }, run: killDispatcher},
		{Name: "kill/everything-at-random", Row: rowKills, Short: true, run: atRandom("metering-1", "metering-2", "rollups", "alerts", "ingest", "kafka", "postgres", "clickhouse")},
		{Name: "kill/metering-at-random", Row: rowKills, run: atRandom("metering-1", "metering-2")},
		{Name: "kill/rollups-at-random", Row: rowKills, run: atRandom("rollups")},
		{Name: "kill/alerts-at-random", Row: rowKills, run: atRandom("alerts")},
		{Name: "kill/ingest-at-random", Row: rowKills, run: atRandom("ingest")},
		{Name: "kill/kafka-at-random", Row: rowKills, run: atRandom("kafka")},
		{Name: "kill/postgres-at-random", Row: rowKills, run: atRandom("postgres")},
		{Name: "kill/clickhouse-at-random", Row: rowKills, run: atRandom("clickhouse")},
	}
}

// atPoints kills the process at each of the points, in an order and at hits that the seed decides.
func atPoints(useful string, who func(*World) *process, points ...string) func(context.Context, *World, Scale) error {
	return func(ctx context.Context, w *World, s Scale) error {
		if _, err := w.send(ctx); err != nil {
			return err
		}
		for round := range s.times(1, 3) {
			for _, i := range w.rand.Perm(len(points)) {
				point, nth := points[i], 1+w.rand.IntN(4)
				if err := who(w).plant(fmt.Sprintf("%s:%d:kill", point, nth)); err != nil {
					return err
				}
				if err := w.planted(ctx, point, round+1); err != nil {
					return err
				}
				w.Fired("%s was killed at hit %d of %s", who(w).name, nth, point)
				if err := w.recovers(ctx, point, useful); err != nil {
					return err
				}
			}
		}
		return w.settles(ctx, 0)
	}
}

// killDispatcher kills the dispatcher when Kafka has the alerts and Postgres does not know it yet.
func killDispatcher(ctx context.Context, w *World, s Scale) error {
	if _, err := w.send(ctx); err != nil {
		return err
	}
	if err := w.planted(ctx, "alerts.after-produce", 1); err != nil {
		return err
	}
	w.Fired("alerts was killed between produce and mark")
	begin := time.Now()
	if err := w.eventually(ctx, "alerts are sent again", func() (ok bool, err error) {
		err = w.db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM alert_outbox WHERE state = 'sent')`).Scan(&ok)
		return ok, err
	}); err != nil {
		return err
	}
	w.recovery = time.Since(begin)
	return w.settles(ctx, 0)
}

// atRandom kills each of the victims, in any order, at any moment.
func atRandom(victims ...string) func(context.Context, *World, Scale) error {
	return func(ctx context.Context, w *World, s Scale) error {
		if _, err := w.send(ctx); err != nil {
			return err
		}
		for range s.times(1, max(1, 6/len(victims))) {
			for _, i := range w.rand.Perm(len(victims)) {
				sleep(ctx, time.Duration(w.rand.IntN(1500))*time.Millisecond)
				if err := w.killed(ctx, victims[i]); err != nil {
					return err
				}
			}
		}
		return w.settles(ctx, 0)
	}
}

// killed kills a process or store and waits until what needs it is useful again.
func (w *World) killed(ctx context.Context, victim string) error {
	useful := metered
	if victim == "rollups" || victim == "clickhouse" {
		useful = rolled
	}
	if victim == "alerts" {
		useful = ""
	}
	kill := func() error { return w.processes[victim].kill() }
	for _, s := range w.stores() {
		if s.name == victim {
			kill = s.kill
		}
	}
	if err := kill(); err != nil {
		return err
	}
	w.Fired("%s was killed", victim)
	if useful == "" {
		return w.eventually(ctx, victim+" is ready again", func() (bool, error) {
			status, _, err := w.processes[victim].get(ctx, "/readyz")
			return status == 200, err
		})
	}
	return w.recovers(ctx, "the kill of "+victim, useful)
}
