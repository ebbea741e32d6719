package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) {
	if engine.Child() {
		return
	}
	os.Exit(m.Run())
}

// A killed Postgres comes up again with what was committed, and a stale lock does not matter.
func TestPostgresSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	engines, err := engine.Install(ctx, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pg := engine.Postgres{Engines: engines, Data: filepath.Join(dir, "postgres"), Logs: dir}
	p, err := pg.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	query(t, p.URL, `CREATE TABLE kept (n int)`)
	query(t, p.URL, `INSERT INTO kept VALUES (7)`)
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	p, err = pg.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	conn, err := pgx.Connect(ctx, p.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var n int
	if err := conn.QueryRow(ctx, `SELECT n FROM kept`).Scan(&n); err != nil || n != 7 {
		t.Fatalf("after a kill: %d, %v", n, err)
	}
}

func query(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// A killed broker comes up again with every record that it acknowledged.
func TestKafkaSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	kafka := engine.Kafka{Data: filepath.Join(dir, "kafka"), Logs: dir}
	p, err := kafka.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.URL), kgo.DefaultProduceTopic("t"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 3, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		cl.Produce(ctx, &kgo.Record{Value: []byte("kept")}, nil)
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if p, err = kafka.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	cl, err = kgo.NewClient(kgo.SeedBrokers(p.URL), kgo.ConsumeTopics("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for got := 0; got < 100; {
		f := cl.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatalf("%d of 100: %v", got, err)
		}
		got += f.NumRecords()
	}
}
