package rollups

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
)

// UnattributedQuery asks which keys, that no user had, usage of an account named.
type UnattributedQuery struct {
	Account int64 // required
	Section int64 // 0: all
	Source  string
	Newest  bool            // those that came last first, and not those of the most credits
	Open    map[int64]int64 // the start of each section's open cycle, Unix s
	Most    int
}

// UnattributedKey is one of them in one section, as far as it was not corrected.
type UnattributedKey struct {
	Section                 int64
	Key                     string
	Sources                 []string // some of them, where there are many
	Events, CycleEvents     int64
	Credits, CycleCredits   decimal.Decimal
	FirstMicros, LastMicros int64 // Unix µs: times of events
}

// someOfMany bounds the lists of an answer.
const someOfMany = 16

// Unattributed answers it from the events, which are kept for a time: older ones are not known any more.
func Unattributed(ctx context.Context, ch driver.Conn, q UnattributedQuery) ([]UnattributedKey, error) {
	if q.Account <= 0 {
		return nil, errors.New("a query names its account")
	}
	sections, starts := make([]uint64, 0, len(q.Open)), make([]time.Time, 0, len(q.Open))
	for section, start := range q.Open {
		sections, starts = append(sections, uint64(section)), append(starts, time.Unix(start, 0).UTC())
	}
	sql, args := `account = ? AND bitAnd(flags, ?) <> 0 AND decision IN ('charged', 'reversal', 'recharge')`, []any{uint64(q.Account), uint32(events.Unattributed)}
	if q.Section != 0 {
		sql, args = sql+` AND section = ?`, append(args, uint64(q.Section))
	}
	if q.Source != "" {
		sql, args = sql+` AND source = ?`, append(args, q.Source)
	}
	order := `sum(credits)`
	if q.Newest {
		order = `max(time)`
	}
	open := `0`
	if len(sections) > 0 {
		open = `cycle_start = transform(section, ?, ?, toDateTime64(0, 0, 'UTC'))`
		args = append([]any{sections, starts}, args...)
	}
	args = append(args, q.Most)
	rows, err := ch.Query(ctx, fmt.Sprintf(`SELECT section, user_key, arraySort(groupUniqArray(%[1]d)(source)), sum(one), sumIf(one, open), sum(credits), sumIf(credits, open), toUnixTimestamp64Micro(min(time)), toUnixTimestamp64Micro(max(time))
		FROM (SELECT *, if(decision = 'reversal', -1, 1)::Int64 AS one, %[2]s AS open FROM usage_events WHERE %[3]s)
		GROUP BY section, user_key HAVING sum(one) > 0 ORDER BY %[4]s DESC, section, user_key LIMIT ?`, someOfMany, open, sql, order), args...)
	if err != nil {
		return nil, fmt.Errorf("query unattributed usage: %w", err)
	}
	defer rows.Close()
	var out []UnattributedKey
	for rows.Next() {
		var k UnattributedKey
		var section uint64
		if err := rows.Scan(&section, &k.Key, &k.Sources, &k.Events, &k.CycleEvents, &k.Credits, &k.CycleCredits, &k.FirstMicros, &k.LastMicros); err != nil {
			return nil, fmt.Errorf("query unattributed usage: %w", err)
		}
		k.Section = int64(section)
		out = append(out, k)
	}
	return out, rows.Err()
}

// Reached says whether every event that the journal has below these positions of its logs is in ClickHouse.
func Reached(ctx context.Context, pool *pgxpool.Pool, next map[int64]int64) (bool, error) {
	logs, positions := make([]int64, 0, len(next)), make([]int64, 0, len(next))
	for log, n := range next {
		logs, positions = append(logs, log), append(positions, n)
	}
	var reached bool
	err := pool.QueryRow(ctx, `SELECT coalesce(bool_and(coalesce((SELECT max(b.to_pos) FROM rollup_batches b WHERE b.offsets_id = n.id AND b.state = 'done'), 0) >= n.pos), true)
		FROM unnest($1::bigint[], $2::bigint[]) n (id, pos)`, logs, positions).Scan(&reached)
	return reached, err
}
