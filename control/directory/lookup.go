package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// IDs are what keys stand for; an empty key is 0.
type IDs struct{ Account, Section, Model int64 }

// Lookup finds ids by keys. A model is the account's, else the platform's, in the section.
func Lookup(ctx context.Context, pool *pgxpool.Pool, account, section, model string) (ids IDs, err error) {
	for _, q := range []struct {
		what, key, sql string
		args           []any
		id             *int64
	}{
		{"account", account, `SELECT account_id FROM accounts WHERE key = $1`, []any{account}, &ids.Account},
		{"section", section, `SELECT id FROM sections WHERE key = $1`, []any{section}, &ids.Section},
		{"model", model, `SELECT m.id FROM models m JOIN sections s ON s.id = m.section_id LEFT JOIN accounts a ON a.account_id = m.account_id
			WHERE m.key = $1 AND s.key = $2 AND (m.account_id IS NULL OR a.key = $3) ORDER BY m.account_id NULLS LAST LIMIT 1`, []any{model, section, account}, &ids.Model},
	} {
		if q.key == "" {
			continue
		}
		if err := pool.QueryRow(ctx, q.sql, q.args...).Scan(q.id); errors.Is(err, pgx.ErrNoRows) {
			return ids, fmt.Errorf("there is no %s %q", q.what, q.key)
		} else if err != nil {
			return ids, fmt.Errorf("look up %s %q: %w", q.what, q.key, err)
		}
	}
	return ids, nil
}
