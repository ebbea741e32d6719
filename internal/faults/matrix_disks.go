//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func disks() []Case {
	small := func(store string, megabytes int) func(*config) {
		return func(c *config) { c.small, c.smallMB = store, megabytes }
	}
	return []Case{
		{Name: "disk-full/postgres", Row: rowDisk, Short: true, set: small("postgres", 300), run: diskFull(func(w *World) *store { return w.postgres }, metered)},
		{Name: "disk-full/kafka", Row: rowDisk, set: small("kafka", 64), run: diskFull(func(w *World) *store { return w.kafka }, metered)},
		{Name: "disk-full/clickhouse", Row: rowDisk, set: small("clickhouse", 200), run: diskFull(func(w *World) *store { return w.clickhouse }, rolled)},
	}
}

// diskFull fills the store's disk until what needs the store stands still, and then frees it.
func diskFull(which func(*World) *store, useful string) func(context.Context, *World, Scale) error {
	return func(ctx context.Context, w *World, s Scale) error {
		if _, err := w.send(ctx); err != nil {
			return err
		}
		for range s.times(1, 2) {
			ballast := filepath.Join(w.mounted, "ballast")
			stop, done := make(chan struct{}), make(chan error, 1)
			go func() { done <- fill(ballast, stop) }() // again and again: stores give space back
			err := w.standsStill(ctx, useful, s.duration(2*time.Second, 10*time.Second))
			close(stop)
			if err := errors.Join(err, <-done); err != nil {
				return err
			}
			said := w.saidFull(which(w))
			if said == "" {
				return fmt.Errorf("%s stood still, and nobody said why", which(w).name)
			}
			w.Fired("no space was left for %s, and it stood still: %s", which(w).name, said)
			if err := os.Remove(ballast); err != nil {
				return err
			}
			if err := w.recovers(ctx, "space was freed for "+which(w).name, useful); err != nil {
				return err
			}
		}
		// What it wrote between full and free must be readable again.
		if err := which(w).kill(); err != nil {
			return err
		}
		if err := w.recovers(ctx, "the kill after that", useful); err != nil {
			return err
		}
		return w.settles(ctx, 0)
	}
}

// fill takes all space that there is, until it is told to stop.
func fill(path string, stop <-chan struct{}) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return err
		} else if err == nil {
			continue
		}
		select {
		case <-stop:
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// standsStill waits until no log has moved on for so long.
func (w *World) standsStill(ctx context.Context, sql string, still time.Duration) error {
	var last string
	since := time.Now()
	return w.eventually(ctx, "nothing moves on a full disk", func() (bool, error) {
		now, err := w.positions(ctx, sql)
		state := fmt.Sprint(now)
		if err != nil {
			state = last // a database that does not answer commits nothing
		}
		if state != last {
			last, since = state, time.Now()
		}
		return time.Since(since) > still, nil
	})
}

// saidFull is what a log said of a full disk.
func (w *World) saidFull(s *store) string {
	logs := []string{filepath.Join(w.dir, "engines", s.name+".log")}
	for name := range w.processes {
		logs = append(logs, filepath.Join(w.dir, name+".log"))
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(strings.ToLower(line), "no space left") || strings.Contains(line, "NOT_ENOUGH_SPACE") || strings.Contains(line, "KAFKA_STORAGE_ERROR") {
				return filepath.Base(path) + ": " + strings.TrimSpace(line)[:min(len(strings.TrimSpace(line)), 160)]
			}
		}
	}
	return ""
}
