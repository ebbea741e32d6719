package journey_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/closing"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/rollups"
	"github.com/alchemi/cockpit/schemas/postgres"
)

// An account that is erased leaves green books: the journal, Kafka and ClickHouse still agree.
func TestBooksAreGreenWithoutAnErasedAccount(t *testing.T) {
	t.Parallel()
	d := deploys(t, 2)
	ch := d.clickhouse()
	stats, stop := d.work()
	const n = 100
	for i := range n {
		d.send(usage(fmt.Sprint("erased-", i), set("model", []string{"gpt-5", "claude-haiku-4-5"}[i%2])))
	}
	d.eventually(func() bool { return stats.Charged.Load() == n }, func() string { return "charged" })
	stop()
	d.settle(ch)
	url := d.pool.Config().ConnString()
	_, err := d.pool.Exec(t.Context(), `UPDATE accounts SET state = 'closed', closes_at = now() WHERE key = 'acme'`)
	d.must(err)
	dir := t.TempDir()
	job := closing.NewJob(closing.Config{Platform: testkit.Pool(t, url, postgres.RolePlatform), Erasure: testkit.Pool(t, url, postgres.RoleErasure),
		Audit: audit.NewLog(make([]byte, 32)), Dir: dir, Log: slog.Default(), Now: func() time.Time { return time.Now().Add(time.Second) },
		Events: func(ctx context.Context, account int64, f func([]byte) error) error {
			return rollups.Export(ctx, ch, account, f)
		},
		Forget: func(ctx context.Context, account int64) error { return rollups.Forget(ctx, ch, account) }})
	if ended, err := job.Once(t.Context()); err != nil || ended != 1 {
		t.Fatal(ended, err)
	}
	files, err := filepath.Glob(dir + "/*/events.ndjson")
	d.must(err)
	text, err := os.ReadFile(files[0])
	if err != nil || bytes.Count(text, []byte("\n")) != n || !bytes.Contains(text, []byte(`"id":"erased-0"`)) {
		t.Errorf("%d events were exported: %v", bytes.Count(text, []byte("\n")), err)
	}
	var left uint64
	d.must(ch.QueryRow(t.Context(), `SELECT count() FROM usage_events WHERE user_key <> '' OR id <> ''`).Scan(&left))
	if left != 0 {
		t.Errorf("%d events say whose they were", left)
	}
	if failed := d.verified(ch); len(failed) > 0 {
		t.Errorf("books fail: %q", failed)
	}
}
