// Package testkit gives tests the real stores: a database of its own for each test, migrated, and a broker.
//
// A package that uses it has a TestMain that calls Main. Stores are started once a test process, on first use, and end
// with it. A store that does not come up fails the test; nothing is ever skipped.
//
// Where Docker answers they are containers (testcontainers), and else the embedded engines, which need nothing installed.
// COCKPIT_TEST_ENGINES=local or =containers decides otherwise; containers without Docker fail. What is done with a store
// (databases from a template, roles, migrations) is the same either way.
package testkit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alchemi/cockpit/internal/engine"
	"github.com/alchemi/cockpit/schemas/clickhouse"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// startTimeout covers the first fetch of the engines.
const startTimeout = 5 * time.Minute

var scratch string // of this test process

// Main runs the tests of a package, and removes what they started.
func Main(m *testing.M) {
	if engine.Child() {
		return
	}
	var err error
	if scratch, err = os.MkdirTemp("", "cockpit-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	stopContainers()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

var server = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	url, err := either(ctx, postgresContainer, func(engines engine.Engines) (*engine.Process, error) {
		return engine.Postgres{Engines: engines, Data: filepath.Join(scratch, "postgres"), Logs: scratch, Scratch: true}.Start(ctx)
	})
	if err != nil {
		return "", err
	}
	if err := execute(ctx, url, `CREATE DATABASE template`); err != nil {
		return "", err
	}
	_, err = postgres.Migrate(ctx, strings.TrimSuffix(url, "postgres")+"template")
	return url, err
})

// either starts a store as a container or as an engine of this machine, and returns its URL.
func either(ctx context.Context, inContainer func(context.Context) (string, error), local func(engine.Engines) (*engine.Process, error)) (string, error) {
	containers, err := inContainers()
	if err != nil {
		return "", err
	}
	if containers {
		return inContainer(ctx)
	}
	engines, err := engine.Install(ctx, os.Stderr)
	if err != nil {
		return "", err
	}
	p, err := local(engines)
	if err != nil {
		return "", err
	}
	return p.URL, nil
}

var databases atomic.Int64
var creating sync.Mutex // a template can be copied by one at a time

// Database makes a migrated database for t and returns its URL.
func Database(t testing.TB) string {
	t.Helper()
	if scratch == "" {
		t.Fatal("BUG: the package has no TestMain that calls testkit.Main")
	}
	url, err := server()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("test_%d", databases.Add(1))
	creating.Lock()
	defer creating.Unlock()
	if err := execute(t.Context(), url, `CREATE DATABASE `+name+` TEMPLATE template`); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(url, "postgres") + name
}

// Copy makes a database that is a copy of another one, which nobody may be connected to, and returns its URL.
func Copy(t testing.TB, of string) string {
	t.Helper()
	at := strings.LastIndex(of, "/") + 1
	name := fmt.Sprintf("test_%d", databases.Add(1))
	creating.Lock()
	defer creating.Unlock()
	if err := execute(t.Context(), of[:at]+"postgres", `CREATE DATABASE `+name+` TEMPLATE `+of[at:]); err != nil {
		t.Fatal(err)
	}
	return of[:at] + name
}

// Pool opens a pool on a database under the given role.
func Pool(t testing.TB, url, role string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url, role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

var clickhouseServer = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return either(ctx, clickhouseContainer, func(engines engine.Engines) (*engine.Process, error) {
		return engine.ClickHouse{Engines: engines, Data: filepath.Join(scratch, "clickhouse"), Logs: scratch}.Start(ctx)
	})
})

// ClickHouse makes a migrated ClickHouse database for t and returns its URL.
func ClickHouse(t testing.TB) string {
	t.Helper()
	server, err := clickhouseServer()
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("%s/test_%d", server, databases.Add(1))
	conn, err := clickhouse.Open(t.Context(), url)
	if err == nil {
		err = clickhouse.Migrate(t.Context(), conn)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	return url
}

// Kafka starts a broker for t, which keeps nothing, and returns its address.
func Kafka(t testing.TB) string {
	t.Helper()
	containers, err := inContainers()
	if err != nil {
		t.Fatal(err)
	}
	if containers {
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		defer cancel()
		address, stop, err := kafkaContainer(ctx)
		t.Cleanup(stop)
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
	cluster, address, err := engine.Kafka{}.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return address
}
