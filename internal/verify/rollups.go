package verify

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/jackc/pgx/v5"
)

// How often, and how far apart, rollups are compared with events before a difference counts.
const (
	settleTries = 10
	settlePause = 500 * time.Millisecond
)

// rollup is how a table of sums is made of events.
type rollup struct {
	table, of, bucket string
	unit              string   // of the bucket, as an expression of a time: %s is the time zone
	by                []string // besides account, section and bucket
	sums              [][2]string
	local             bool // the bucket is a date in the account's time zone
}

const reversed = `if(decision = 'reversal', -1, 1)`

// rollups describes the tables (schemas/clickhouse).
func rollups() []rollup {
	counts := [][2]string{{"events", reversed}, {"credits", "credits"}, {"cost", "cost"}}
	wide := append(counts[:len(counts):len(counts)], [2]string{"latency_ms", reversed + " * latency_ms"})
	for i := range events.NumQuantities {
		wide = append(wide, [2]string{events.Quantity(i).String(), fmt.Sprintf("quantities[%d]", i+1)})
	}
	dims := []string{"organization", "team", "model", "agent", "tool", "operation", "status", "source"}
	return []rollup{
		{table: "usage_days", of: "usage_events", bucket: "day", unit: "toDate(time, '%s')", by: dims, sums: wide, local: true},
		{table: "usage_model_days", of: "usage_events", bucket: "day", unit: "toDate(time, '%s')", by: []string{"model"}, sums: wide, local: true},
		{table: "usage_user_days", of: "usage_events", bucket: "day", unit: "toDate(time, '%s')", by: []string{"user", "model"}, sums: counts, local: true},
		{table: "usage_quarters", of: "usage_events", bucket: "quarter", unit: "toStartOfFifteenMinutes(toDateTime(time, '%s'))", by: dims, sums: wide},
		{table: "guardrail_quarters", of: "guardrail_events", bucket: "quarter", unit: "toStartOfFifteenMinutes(toDateTime(time, '%s'))",
			by: []string{"guardrail", "category", "action", "severity"}, sums: [][2]string{{"events", "1"}, {"match_count", "match_count"}}},
	}
}

// query finds the sums that are not those of the events, of the accounts of one time zone.
func (v *verification) query(r *rollup, zone, accounts string) string {
	keys := append([]string{"account", "section", r.bucket}, r.by...)
	var made, kept, differ, totals []string
	for _, s := range r.sums {
		kind := "toInt64"
		switch s[0] {
		case "credits":
			kind = "toDecimal128"
			s[1] += ", 6"
		case "cost":
			kind = "toDecimal128"
			s[1] += ", 12"
		}
		made = append(made, fmt.Sprintf("%s(%s) AS x_%s", kind, s[1], s[0]))
		kept = append(kept, fmt.Sprintf("-%s AS x_%s", s[0], s[0]))
		differ = append(differ, fmt.Sprintf("sum(x_%s) != 0", s[0]))
		totals = append(totals, fmt.Sprintf("if(sum(x_%s) != 0, concat(' ', toString(sum(x_%s)), ' %s'), '')", s[0], s[0], s[0]))
	}
	since := max(v.since[r.table], v.since[r.of])
	recent := ""
	if since > 0 {
		recent = fmt.Sprintf(" AND %s >= toDate(fromUnixTimestamp64Micro(%d)) + 2", r.bucket, since)
	}
	return fmt.Sprintf(`SELECT account, section, toString(any(%s)), toString(tuple(%s)), concat(%s) FROM (
			SELECT account, section, %s AS %s, %s, %s FROM %s WHERE %s%s%s
			UNION ALL SELECT %s, %s FROM %s WHERE 1%s%s)
		GROUP BY %s HAVING %s LIMIT %d`,
		r.bucket, strings.Join(r.by, ", "), strings.Join(totals, ", "),
		fmt.Sprintf(r.unit, zone), r.bucket, strings.Join(r.by, ", "), strings.Join(made, ", "), r.of, decides, accounts, recent,
		strings.Join(keys, ", "), strings.Join(kept, ", "), r.table, accounts, recent,
		strings.Join(keys, ", "), strings.Join(differ, " OR "), detailsMax+1)
}

// settled compares the rollups with the events. The lock keeps batches from being half written meanwhile; one that a
// crash left so is finished by whoever writes next, which is waited for.
func (v *verification) settled(ctx context.Context) error {
	if v.ClickHouse == nil {
		return nil
	}
	zones, err := v.zones(ctx)
	if err != nil {
		return err
	}
	var differences []string
	for range settleTries {
		if differences, err = v.undisturbed(ctx, zones); err != nil || len(differences) == 0 {
			return err
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, d := range differences {
		v.results["I5"].fail("%s", d)
	}
	return nil
}

// zones is the accounts of each time zone, as a condition.
func (v *verification) zones(ctx context.Context) (map[string]string, error) {
	zones := map[string]string{}
	var zone, accounts string
	err := v.each(ctx, `SELECT time_zone, string_agg(account_id::text, ',') FROM accounts GROUP BY 1`, []any{&zone, &accounts}, func() error {
		zones[zone] = " AND account IN (" + accounts + ")"
		return nil
	})
	if len(zones) == 1 {
		zones[zone] = ""
	}
	return zones, err
}

func (v *verification) undisturbed(ctx context.Context, zones map[string]string) (differences []string, err error) {
	err = pgx.BeginFunc(ctx, v.Postgres, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(hashtext('cockpit rollups batch'))`); err != nil {
			return err
		}
		for _, r := range rollups() {
			each := zones
			if !r.local {
				each = map[string]string{"UTC": ""}
			}
			for zone, accounts := range each {
				if differences, err = v.differing(ctx, &r, zone, accounts, differences); err != nil {
					return fmt.Errorf("%s: %w", r.table, err)
				}
			}
		}
		return nil
	})
	return differences, err
}

func (v *verification) differing(ctx context.Context, r *rollup, zone, accounts string, to []string) ([]string, error) {
	rows, err := v.ClickHouse.Query(ctx, v.query(r, zone, accounts))
	if err != nil {
		return to, err
	}
	defer rows.Close()
	for rows.Next() {
		var account, section uint64
		var bucket, by, lacks string
		if err := rows.Scan(&account, &section, &bucket, &by, &lacks); err != nil {
			return to, err
		}
		to = append(to, fmt.Sprintf("%s, account %d, section %d, %s, %s %s: lacks%s", r.table, account, section, bucket, strings.Join(r.by, "/"), by, lacks))
	}
	return to, rows.Err()
}

var intervalOfDays = regexp.MustCompile(` TTL .*toIntervalDay\((\d+)\)`)

// retention reads from when on ClickHouse keeps the rows of each table. What expires within a day is not looked at: it may
// go meanwhile.
func (v *verification) retention(ctx context.Context) error {
	if v.ClickHouse == nil {
		return nil
	}
	rows, err := v.ClickHouse.Query(ctx, `SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, engine string
		if err := rows.Scan(&name, &engine); err != nil {
			return err
		}
		if m := intervalOfDays.FindStringSubmatch(engine); m != nil {
			days, err := strconv.Atoi(m[1])
			if err != nil {
				return err
			}
			v.since[name] = time.Now().AddDate(0, 0, 1-days).UnixMicro()
		}
	}
	return rows.Err()
}
