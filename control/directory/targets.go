package directory

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Target is a user with what usage of theirs would name.
type Target struct {
	Account, Section, Source, User, Team string
	Models                               []string
	Reported                             bool // all of the models charge the reported cost
}

// Targets lists memberships of active users, with a source that meters their section and the models that have a price: of
// the first accounts, and the first users in each. Zero is all.
func Targets(ctx context.Context, pool *pgxpool.Pool, accounts, users int) ([]Target, error) {
	rows, err := pool.Query(ctx, `SELECT a.key, s.key, src.key, u.key, coalesce(team.key, ''), m.models, m.reported
		FROM (SELECT *, row_number() OVER (ORDER BY account_id) AS n FROM accounts WHERE state = 'active') a
		JOIN (SELECT *, row_number() OVER (PARTITION BY account_id ORDER BY id) AS n FROM users WHERE state = 'active') u USING (account_id)
		JOIN scopes ms ON ms.account_id = a.account_id AND ms.user_id = u.id AND ms.kind = 'membership'
		JOIN scope_parents p ON p.account_id = a.account_id AND p.scope_id = ms.id AND p.valid_to = 'infinity'
		LEFT JOIN scopes team ON team.account_id = a.account_id AND team.id = p.parent_id AND team.kind = 'team'
		JOIN sections s ON s.id = ms.section_id
		JOIN LATERAL (SELECT key FROM sources x JOIN source_sections y ON y.source_id = x.id
			WHERE y.section_id = s.id AND x.mode = 'meter' AND x.all_accounts ORDER BY x.id LIMIT 1) src ON true
		JOIN LATERAL (SELECT array_agg(m.key ORDER BY m.id) AS models, bool_or(t.policy = 'reported') AS reported FROM models m
			JOIN LATERAL (SELECT policy, free FROM model_terms t WHERE t.model_id = m.id ORDER BY valid_from DESC LIMIT 1) t ON true
			WHERE m.section_id = s.id AND (m.account_id = a.account_id OR m.account_id IS NULL)
				AND (t.free OR t.policy = 'reported' OR EXISTS (SELECT FROM model_prices mp WHERE mp.model_id = m.id AND mp.quantities ? 'input_tokens'))) m ON m.models IS NOT NULL
		WHERE ($1 = 0 OR a.n <= $1) AND ($2 = 0 OR u.n <= $2) ORDER BY a.account_id, u.id, ms.id`, accounts, users)
	if err != nil {
		return nil, fmt.Errorf("list targets: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Target])
}
