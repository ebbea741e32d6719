package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Durability says what stands in the way of keeping what the server committed, a line for each setting.
func Durability(ctx context.Context, pool *pgxpool.Pool) (warnings []string, err error) {
	for _, s := range []struct{ setting, bad, why string }{
		{"fsync", "off", "what was committed is lost when the machine stops; set on"},
		{"full_page_writes", "off", "the journal may be torn when the machine stops; set on"},
		{"synchronous_commit", "off", "what was committed is lost when the server stops; set on"},
		{"synchronous_commit", "local", "a standby may lack what was committed; set on"},
		{"synchronous_standby_names", "", "no standby has what was committed, and what is lost with this server is lost; name one"},
	} {
		var value string
		if err := pool.QueryRow(ctx, `SELECT current_setting($1)`, s.setting).Scan(&value); err != nil {
			return warnings, fmt.Errorf("look at %s: %w", s.setting, err)
		}
		if value == s.bad {
			warnings = append(warnings, fmt.Sprintf("Postgres has %s=%s: %s", s.setting, value, s.why))
		}
	}
	return warnings, nil
}
