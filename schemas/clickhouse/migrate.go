// Package clickhouse holds the ClickHouse schema as versioned migrations, and how to open a connection.
//
// Every statement may run again and at the same time in several processes (IF NOT EXISTS, a token where something is
// inserted), so no lock is needed. A migration's name is recorded when it has run, for people and for what runs once.
package clickhouse

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Database is where the tables are, unless the URL names another.
const Database = "cockpit"

// Open returns a connection for http(s)://, clickhouse:// or tcp:// and makes the database if it is missing.
func Open(ctx context.Context, address string) (driver.Conn, error) {
	o, err := options(address)
	if err != nil {
		return nil, err
	}
	name := o.Auth.Database
	o.Auth.Database = ""
	first, err := clickhouse.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	defer first.Close()
	if err := first.Exec(ctx, "CREATE DATABASE IF NOT EXISTS `"+strings.ReplaceAll(name, "`", "")+"`"); err != nil {
		return nil, fmt.Errorf("make the ClickHouse database: %w", err)
	}
	o.Auth.Database = name
	return clickhouse.Open(o)
}

// Dial returns a connection that reaches for the server when it is used: for whoever only reads, and goes on without.
func Dial(address string) (driver.Conn, error) {
	o, err := options(address)
	if err != nil {
		return nil, err
	}
	return clickhouse.Open(o)
}

func options(address string) (*clickhouse.Options, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("ClickHouse URL: %w", err)
	}
	if q := u.Query(); u.Scheme == "https" && !q.Has("secure") {
		q.Set("secure", "true") // the driver wants it said twice
		u.RawQuery = q.Encode()
	}
	o, err := clickhouse.ParseDSN(u.String())
	if err != nil {
		return nil, fmt.Errorf("ClickHouse URL: %w", err)
	}
	o.Auth.Database = strings.Trim(u.Path, "/")
	if o.Auth.Database == "" {
		o.Auth.Database = Database
	}
	if strings.HasPrefix(u.Scheme, "http") {
		o.Compression = nil
	}
	return o, nil
}

// Migrate brings the connection's database up to date.
func Migrate(ctx context.Context, conn driver.Conn) error {
	if err := conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = ReplacingMergeTree ORDER BY name`); err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		for statement := range strings.SplitSeq(string(text), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("migrate ClickHouse: %s: %w", name, err)
			}
		}
		if err := conn.Exec(ctx, `INSERT INTO schema_migrations (name) VALUES (?)`, name); err != nil {
			return fmt.Errorf("migrate ClickHouse: %w", err)
		}
	}
	return nil
}

// Retention is for how many days rows are kept; 0 is for ever.
type Retention struct{ Events, Quarters, Days int }

// Retain makes ClickHouse drop rows that are older.
func Retain(ctx context.Context, conn driver.Conn, r Retention) error {
	for _, t := range []struct {
		table, column string
		days          int
	}{{"usage_events", "toDateTime(time)", r.Events}, {"guardrail_events", "toDateTime(time)", r.Events}, {"usage_quarters", "quarter", r.Quarters},
		{"guardrail_quarters", "quarter", r.Quarters}, {"usage_days", "day", r.Days}, {"usage_model_days", "day", r.Days}, {"usage_user_days", "day", r.Days}} {
		var has bool
		if err := conn.QueryRow(ctx, `SELECT position(engine_full, ' TTL ') > 0 FROM system.tables WHERE database = currentDatabase() AND name = ?`, t.table).Scan(&has); err != nil {
			return fmt.Errorf("look at the retention of %s: %w", t.table, err)
		}
		sql := fmt.Sprintf(`ALTER TABLE %s MODIFY TTL %s + INTERVAL %d DAY`, t.table, t.column, t.days)
		if t.days == 0 {
			sql = `ALTER TABLE ` + t.table + ` REMOVE TTL`
		}
		if t.days == 0 && !has {
			continue
		}
		if err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("set the retention of %s: %w", t.table, err)
		}
	}
	return nil
}
