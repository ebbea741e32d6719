package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

// What memory may be (performance.md). The dedupe window comes on top of metering's; windowBytes is P6's bound of an
// identity of the newest hours, and a backlog is of the newest.
const (
	meteringBytesMax = 512 << 20
	rollupsBytesMax  = 256 << 20
	windowBytes      = 40
	backlogTimeout   = 30 * time.Minute
)

// memory is a table: what each module holds at most, as a process of its own, while it works off a backlog.
func memory(ctx context.Context, r *runner) (gate, error) {
	shared, err := r.directory(ctx)
	if err != nil {
		return gate{}, err
	}
	o := r.o
	o.Events = int(o.Backlog.Seconds() * float64(o.BacklogRate))
	s, err := shared.other(ctx, o, "memory", true)
	if err != nil {
		return gate{}, err
	}
	most := func(what string, bytes int) measure {
		return measure{what: what, unit: "MB", goal: float64(bytes) / 1e6, atMost: true}
	}
	return gate{close: s.close, once: true, ours: func(ctx context.Context) ([]float64, error) { return s.memory(ctx, o) },
		measures: []measure{most("metering, peak resident", meteringBytesMax+windowBytes*o.Events), most("rollups, peak resident", rollupsBytesMax), {what: "ingest, peak resident (idle)", unit: "MB"},
			{what: "metering, worked off", unit: "1/s"}, {what: "rollups, worked off", unit: "1/s"}},
		settings: fmt.Sprintf("backlog of %v at %d/s (%d events), %d accounts × %d users; metering's goal is 512 MiB and %d B of window an identity; queues: 32,768 records a partition and 4 MiB a fetch (metering), 16,384 events and a journal row a batch of all logs, and 0.5 MiB a fetch of each log (rollups), 64 MiB in flight (ingest)",
			o.Backlog, o.BacklogRate, o.Events, o.Accounts, o.Users, windowBytes)}, nil
}

// memory runs metering until everything is decided and folded, and then rollups until everything is in ClickHouse.
func (s *stores) memory(ctx context.Context, o Options) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	url, err := s.database(ctx)
	if err != nil {
		return nil, err
	}
	engines, err := engine.Install(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	ch, err := (engine.ClickHouse{Engines: engines, Data: filepath.Join(s.dir, "clickhouse"), Logs: s.dir}).Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ch.Stop() }()
	pool, err := postgres.Open(ctx, url, postgres.RoleMetering)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	metering, took, err := s.peak(ctx, url, "", "metering", func(ctx context.Context) (bool, error) { return folded(ctx, pool, o.Events) })
	if err != nil {
		return nil, err
	}
	conn, err := clickhouse.Open(ctx, ch.URL)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := clickhouse.Migrate(ctx, conn); err != nil {
		return nil, err
	}
	rollups, tookRollups, err := s.peak(ctx, url, ch.URL, "rollups", func(ctx context.Context) (bool, error) {
		var n uint64
		err := conn.QueryRow(ctx, `SELECT count() FROM usage_events`).Scan(&n)
		return n >= uint64(o.Events), err
	})
	if err != nil {
		return nil, err
	}
	ingest, _, err := s.peak(ctx, url, "", "ingest", func(context.Context) (bool, error) { return true, nil })
	return []float64{metering, rollups, ingest, float64(o.Events) / took.Seconds(), float64(o.Events) / tookRollups.Seconds()}, err
}

// folded says whether that many events are in the journal, and all of it in balances.
func folded(ctx context.Context, pool *pgxpool.Pool, events int) (done bool, err error) {
	err = pool.QueryRow(ctx, `SELECT coalesce((SELECT sum(to_pos - from_pos) FROM journal), 0) >= $1
		AND NOT EXISTS (SELECT FROM offsets o LEFT JOIN fold_positions f ON f.offsets_id = o.id WHERE o.next > coalesce(f.next, 0))`, events).Scan(&done)
	return done, err
}

// peak runs a module until it is done, and returns the most that it held resident, in MB.
func (s *stores) peak(ctx context.Context, postgresURL, clickhouseURL, module string, done func(context.Context) (bool, error)) (float64, time.Duration, error) {
	p, err := s.serve(ctx, postgresURL, clickhouseURL, module)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = p.Stop() }()
	begin := time.Now()
	for {
		ok, err := done(ctx)
		if err != nil {
			return 0, 0, err
		}
		if ok {
			break
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	took := time.Since(begin)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, fmt.Errorf("peak memory is read from /proc, which only Linux has: %w", err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	kb, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	return float64(kb) * 1024 / 1e6, took, err
}
