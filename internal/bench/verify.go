package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/alchemi/cockpit/alerts"
	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/rollups"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Verified is what verifying so many events took. It is no gate: nothing else does this, so there is no baseline.
type Verified struct {
	Events     int     `json:"events"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"` // of the verifying process alone
	PerSecond  float64 `json:"events_per_second"`
	PeakMiB    int64   `json:"peak_mib"` // resident; 0 where it can't be told
	Failed     string  `json:"failed"`   // invariants
	Settings   string  `json:"settings"`
}

// Verify makes events, meters them, writes their rollups and alerts, and then verifies it all as `cockpit verify` does: in a
// process of its own, so that what it needs is its own. Without rollups, ClickHouse and alerts are left out.
func Verify(ctx context.Context, o Options, withRollups bool) (v Verified, err error) {
	s, err := openWithEvents(ctx, o)
	if err != nil {
		return v, err
	}
	defer s.close()
	begin := time.Now()
	perSecond, err := s.ours(ctx, o)
	if err != nil {
		return v, err
	}
	fmt.Fprintf(o.Progress, "metered in %.0f s (%.0f/s)\n", time.Since(begin).Seconds(), perSecond)
	url, clickhouseURL, rest := s.url(s.copy()), "", "without rollups"
	if withRollups {
		ch, err := s.clickhouse(ctx, o)
		if err != nil {
			return v, err
		}
		defer func() { _ = ch.Stop() }()
		if err := s.downstream(ctx, url, ch.URL); err != nil {
			return v, err
		}
		clickhouseURL, rest = ch.URL, "with rollups"
	}
	v = Verified{Events: o.Events, Settings: fmt.Sprintf("%d partitions, %d accounts × %d users, %s", partitions, o.Accounts, o.Users, rest)}
	return v, s.verify(ctx, o, url, clickhouseURL, &v)
}

func (s *stores) clickhouse(ctx context.Context, o Options) (*engine.Process, error) {
	engines, err := engine.Install(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	return (engine.ClickHouse{Engines: engines, Data: filepath.Join(s.dir, "clickhouse"), Logs: s.dir}).Start(ctx)
}

// downstream writes rollups and publishes alerts until nothing is left.
func (s *stores) downstream(ctx context.Context, url, clickhouseURL string) error {
	pool, err := postgres.Open(ctx, url, postgres.RoleMetering)
	if err != nil {
		return err
	}
	defer pool.Close()
	ch, err := clickhouse.Open(ctx, clickhouseURL)
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := clickhouse.Migrate(ctx, ch); err != nil {
		return err
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(s.kafka.URL))
	if err != nil {
		return err
	}
	defer producer.Close()
	log := slog.New(slog.DiscardHandler)
	w, d := rollups.NewWriter(pool, ch, []kgo.Opt{kgo.SeedBrokers(s.kafka.URL)}, log), alerts.NewDispatcher(pool, producer, log)
	for left := 1; left > 0; {
		batches, err := w.Once(ctx)
		if err != nil {
			return err
		}
		sent, err := d.Once(ctx)
		if err != nil {
			return err
		}
		left = batches + sent
	}
	return nil
}

// verify runs `cockpit verify` and watches its memory.
func (s *stores) verify(ctx context.Context, o Options, url, clickhouseURL string, v *Verified) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "verify", "--json", "--data", s.dir)
	cmd.Env = append(os.Environ(), "COCKPIT_POSTGRES_URL="+url, "COCKPIT_KAFKA_BROKERS="+s.kafka.URL, "COCKPIT_CLICKHOUSE_URL="+clickhouseURL)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, o.Progress
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for ended := false; !ended; {
		select {
		case err = <-done:
			ended = true
		case <-time.After(100 * time.Millisecond):
			v.PeakMiB = max(v.PeakMiB, peak(cmd.Process.Pid))
		}
	}
	v.Seconds, v.CPUSeconds = time.Since(begin).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	v.PerSecond = float64(v.Events) / v.Seconds
	for line := range strings.Lines(out.String()) {
		var r struct {
			ID     string
			OK     bool
			Detail string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return fmt.Errorf("read what verify says: %w", err)
		}
		if !r.OK {
			v.Failed += r.ID + ": " + r.Detail + " "
		}
	}
	if err != nil && v.Failed == "" {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// peak is the most memory that a process has had resident, as Linux counts it, in MiB.
func peak(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib >> 10
		}
	}
	return 0
}
