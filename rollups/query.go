package rollups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"
)

// Grain is how fine a query's time is.
type Grain string

// The grains.
const (
	Quarters Grain = "quarter" // of an hour, UTC
	Days     Grain = "day"     // in the account's time zone
	Whole    Grain = ""        // the whole time in one
)

// Query asks for sums of one account's usage.
type Query struct {
	Account  int64 // required: nobody sees another's
	Section  int64 // 0: all
	From, To time.Time
	Grain    Grain
	By       []string // of dimensions
}

// dimensions are what sums can be asked by.
var dimensions = []string{"section", "organization", "team", "model", "agent", "tool", "operation", "status", "source"}

// Sum is one row of an answer. By holds the values in the query's order, as text.
type Sum struct {
	At            time.Time
	By            []string
	Events        int64
	Credits, Cost decimal.Decimal
	Tokens        int64
}

// Usage answers a query from the rollups. Every read of usage goes through here, so that none lacks the account.
func Usage(ctx context.Context, ch driver.Conn, q Query) ([]Sum, error) {
	if q.Account <= 0 {
		return nil, errors.New("a query names its account")
	}
	for _, d := range q.By {
		if !slices.Contains(dimensions, d) {
			return nil, fmt.Errorf("%q is no dimension (%s)", d, strings.Join(dimensions, ", "))
		}
	}
	table, column, bucket := "usage_days", "day", "toDateTime(day, 'UTC')"
	if q.Grain == Quarters {
		table, column, bucket = "usage_quarters", "quarter", "quarter"
	}
	if q.Grain == Whole {
		bucket = "toDateTime(0, 'UTC')"
	}
	columns := make([]string, len(q.By))
	for i, d := range q.By {
		columns[i] = "toString(" + d + ")"
	}
	// section = 0 asks for all.
	sql := fmt.Sprintf(`SELECT %s AS at, [%s]::Array(String) AS by, sum(events), sum(credits), sum(cost), sum(input_tokens + output_tokens + cached_input_tokens + cache_write_tokens + reasoning_tokens)
		FROM %s WHERE account = ? AND (? = 0 OR section = ?) AND %s >= ? AND %s < ? GROUP BY at, by ORDER BY at, by`,
		bucket, strings.Join(columns, ", "), table, column, column)
	from, to := any(q.From.UTC()), any(q.To.UTC())
	if table == "usage_days" {
		from, to = q.From.Format(time.DateOnly), q.To.Format(time.DateOnly)
	}
	rows, err := ch.Query(ctx, sql, uint64(q.Account), uint64(q.Section), uint64(q.Section), from, to)
	if err != nil {
		return nil, fmt.Errorf("query rollups: %w", err)
	}
	defer rows.Close()
	var out []Sum
	for rows.Next() {
		var s Sum
		if err := rows.Scan(&s.At, &s.By, &s.Events, &s.Credits, &s.Cost, &s.Tokens); err != nil {
			return nil, fmt.Errorf("query rollups: %w", err)
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
