package rollups

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Charged reads charged events back out of ClickHouse, for corrections.
type Charged struct {
	ClickHouse driver.Conn
	Postgres   *pgxpool.Pool // for the keys of accounts and sections
}

// chargedAtOnce is how many events one query asks for.
const chargedAtOnce = 1000

// Charged implements correct.Events.
func (c *Charged) Charged(ctx context.Context, at []journal.Origin) (map[journal.Origin]events.Usage, error) {
	out := make(map[journal.Origin]events.Usage, len(at))
	keys, err := c.keys(ctx)
	if err != nil {
		return nil, err
	}
	for len(at) > 0 {
		n := min(len(at), chargedAtOnce)
		if err := c.some(ctx, at[:n], keys, out); err != nil {
			return nil, fmt.Errorf("read charged events from ClickHouse: %w", err)
		}
		at = at[n:]
	}
	return out, nil
}

func (c *Charged) some(ctx context.Context, at []journal.Origin, keys map[string]string, out map[journal.Origin]events.Usage) error {
	tuples := make([]string, len(at))
	for i, o := range at {
		tuples[i] = fmt.Sprintf("(%d,%d)", o.OffsetsID, o.Position)
	}
	rows, err := c.ClickHouse.Query(ctx, `SELECT log, position, account, section, id, source, user_key, team_key, model_key, cost_usd, quantities
		FROM usage_events WHERE decision = 'charged' AND (log, position) IN (`+strings.Join(tuples, ",")+`)`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var log, position, account, section uint64
		var u events.Usage
		var quantities []int64
		if err := rows.Scan(&log, &position, &account, &section, &u.ID, &u.Source, &u.User, &u.Team, &u.Model, &u.CostUSD, &quantities); err != nil {
			return err
		}
		u.Account, u.Section = keys[fmt.Sprint("a", account)], keys[fmt.Sprint("s", section)]
		for i, n := range quantities {
			u.Quantities.Set(events.Quantity(i), n)
		}
		out[journal.Origin{OffsetsID: int64(log), Position: int64(position)}] = u
	}
	return rows.Err()
}

// keys maps ids of accounts (a1) and sections (s1) to their keys.
func (c *Charged) keys(ctx context.Context) (map[string]string, error) {
	rows, err := c.Postgres.Query(ctx, `SELECT 'a' || account_id, key FROM accounts UNION ALL SELECT 's' || id, key FROM sections`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	keys := map[string]string{}
	for rows.Next() {
		var id, key string
		if err := rows.Scan(&id, &key); err != nil {
			return nil, err
		}
		keys[id] = key
	}
	return keys, rows.Err()
}
