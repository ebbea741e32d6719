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

// Query asks for sums of usage.
type Query struct {
	Account  int64 // required: nobody sees another's
	Platform bool  // instead of an account: all of them, for those who run the platform
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

// Usage answers a query from the rollups. Every read of usage goes through here, so that none lacks the account by mistake.
func Usage(ctx context.Context, ch driver.Conn, q Query) ([]Sum, error) {
	if q.Account <= 0 && !q.Platform || q.Account != 0 && q.Platform {
		return nil, errors.New("a query names its account, or asks for the whole platform")
	}
	for _, d := range q.By {
		if !slices.Contains(dimensions, d) {
			return nil, fmt.Errorf("%q is no dimension (%s)", d, strings.Join(dimensions, ", "))
		}
	}
	sql, args := q.sql()
	rows, err := ch.Query(ctx, sql, args...)
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

// sql reads the smallest table that has the query's grain and dimensions.
func (q *Query) sql() (string, []any) {
	table, column, key := "usage_days", "day", "day"
	wide := func(d string) bool { return d != "section" && d != "model" }
	switch {
	case q.Grain == Quarters:
		table, column, key = "usage_quarters", "quarter", "quarter"
	case !slices.ContainsFunc(q.By, wide):
		table = "usage_model_days"
	}
	bucket := "toDateTime(" + column + ", 'UTC')"
	if q.Grain == Whole {
		bucket, key = "toDateTime(0, 'UTC')", ""
	}
	groups := slices.Clone(q.By)
	if key != "" {
		groups = append(groups, key)
	}
	columns := make([]string, len(q.By))
	for i, d := range q.By {
		columns[i] = "toString(" + d + ")"
	}
	sql := fmt.Sprintf(`SELECT %s AS at, [%s]::Array(String) AS by, sum(events), sum(credits), sum(cost), sum(input_tokens + output_tokens + cached_input_tokens + cache_write_tokens + reasoning_tokens)
		FROM %s WHERE %s >= ? AND %s < ?`, bucket, strings.Join(columns, ", "), table, column, column)
	args := []any{q.From.UTC(), q.To.UTC()}
	if column == "day" {
		args = []any{q.From.Format(time.DateOnly), q.To.Format(time.DateOnly)}
	}
	if !q.Platform {
		sql, args = sql+" AND account = ?", append(args, uint64(q.Account))
	}
	if q.Section != 0 {
		sql, args = sql+" AND section = ?", append(args, uint64(q.Section))
	}
	if len(groups) > 0 { // by the columns themselves: texts are made of what is left
		sql += " GROUP BY " + strings.Join(groups, ", ")
	}
	return sql + " HAVING count() > 0 ORDER BY at, by", args
}
