package engine_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/internal/engine"
)

func openClickHouse(t *testing.T, address string) driver.Conn {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(&clickhouse.Options{Protocol: clickhouse.HTTP, Addr: []string{u.Host}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// The unchanged driver creates, inserts natively, streams, and gets errors; what was inserted survives a kill.
func TestClickHouse(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	engines, err := engine.Install(ctx, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ch := engine.ClickHouse{Engines: engines, Data: filepath.Join(dir, "clickhouse"), Logs: dir}
	p, err := ch.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn := openClickHouse(t, p.URL)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(conn.Exec(ctx, `CREATE DATABASE d`))
	must(conn.Exec(ctx, `CREATE TABLE d.t (n UInt64, at DateTime64(6, 'UTC'), who LowCardinality(String), scopes Array(UInt64), cost Decimal(38, 12))
		ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1`))
	insert := func(token string, from, to int) {
		ctx := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token, "async_insert": 0}))
		batch, err := conn.PrepareBatch(ctx, `INSERT INTO d.t`)
		must(err)
		for n := from; n < to; n++ {
			must(batch.Append(uint64(n), time.UnixMicro(int64(n)), fmt.Sprint("user-", n%7), []uint64{1, uint64(n)}, "0.000000000001"))
		}
		must(batch.Send())
	}
	insert("a", 0, 10) // ten columns or rows are a line feed in the native format
	insert("a", 0, 10)
	insert("b", 10, 200_000)
	count := func(conn driver.Conn) (n uint64) {
		t.Helper()
		must(conn.QueryRow(ctx, `SELECT count() FROM d.t`).Scan(&n))
		return n
	}
	if n := count(conn); n != 200_000 {
		t.Fatalf("%d rows after inserts with tokens", n)
	}
	readConcurrently(t, conn)
	if err := conn.Exec(ctx, `SELECT nothing`); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("an error: %v", err)
	}
	must(syscall.Kill(p.PID(), syscall.SIGKILL))
	<-p.Exited()
	p, err = ch.Start(ctx)
	must(err)
	defer p.Stop()
	if n := count(openClickHouse(t, p.URL)); n != 200_000 {
		t.Fatalf("%d rows after a kill", n)
	}
}

// readConcurrently reads all rows by more readers than there are connections.
func readConcurrently(t *testing.T, conn driver.Conn) {
	t.Helper()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			rows, err := conn.Query(t.Context(), `SELECT n, who, scopes, toString(cost) FROM d.t ORDER BY n`)
			if err != nil {
				t.Error(err)
				return
			}
			defer rows.Close()
			var n, want uint64
			var who, cost string
			var scopes []uint64
			for ; rows.Next(); want++ {
				if err := rows.Scan(&n, &who, &scopes, &cost); err != nil || n != want || who != fmt.Sprint("user-", n%7) || scopes[1] != n || cost != "0.000000000001" {
					t.Errorf("row %d: %d %q %v %s %v", want, n, who, scopes, cost, err)
					return
				}
			}
			if rows.Err() != nil || want != 200_000 {
				t.Errorf("%d rows, %v", want, rows.Err())
			}
		})
	}
	wg.Wait()
}
