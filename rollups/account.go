package rollups

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Export calls f with each usage event of an account, as a JSON object, in the order of section and time.
func Export(ctx context.Context, ch driver.Conn, account int64, f func(object []byte) error) error {
	rows, err := ch.Query(ctx, `SELECT formatRow('JSONEachRow', *) FROM usage_events WHERE account = ? ORDER BY section, time, log, position`, uint64(account))
	if err != nil {
		return fmt.Errorf("export the usage of an account: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return fmt.Errorf("export the usage of an account: %w", err)
		}
		if err := f([]byte(line)); err != nil {
			return err
		}
	}
	return rows.Err()
}

// forgotten is what of an account's events is somebody's: by table. Ids, times and amounts stay, so that sums can still be
// made again from events.
var forgotten = map[string]string{
	"usage_events":     `id = '', user_key = '', team_key = '', reservation = '', trace_id = '', labels = '', attributes = ''`,
	"guardrail_events": `id = '', user_key = '', team_key = '', sample_hash = '', request_id = '', trace_id = '', attributes = ''`,
}

// Forget takes what is somebody's out of an account's events. Again is no change.
func Forget(ctx context.Context, ch driver.Conn, account int64) error {
	for table, set := range forgotten {
		err := ch.Exec(ctx, fmt.Sprintf(`ALTER TABLE %s UPDATE %s WHERE account = %d SETTINGS mutations_sync = 2`, table, set, account))
		if err != nil {
			return fmt.Errorf("forget whose the events of account %d were: %w", account, err)
		}
	}
	return nil
}
