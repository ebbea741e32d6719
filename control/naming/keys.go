package naming

import (
	"context"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

// Keyed is a user, an organization or a team.
type Keyed struct {
	Account int64
	Kind    string // user, organization or team
	ID      int64  // users' of users, scopes' of the others
}

// table is where it stands, and column what aliases name it by.
func (k Keyed) table() (table, column string) {
	if k.Kind == api.UserKind.Name {
		return "users", "user_id"
	}
	return "scopes", "scope_id"
}

// Rename gives it another key, from that moment on. The key that it had goes on naming it, as an alias; one that it had
// before may be its key again. The directory is being changed by whoever calls. key_taken: another has the key, or had it.
func (k Keyed) Rename(ctx context.Context, tx pgx.Tx, key string, at time.Time) error {
	table, column := k.table()
	var old string
	var since, known *time.Time
	err := tx.QueryRow(ctx, `SELECT key, coalesce(key_since, created_at) FROM `+table+` WHERE account_id = $1 AND id = $2`, k.Account, k.ID).Scan(&old, &since)
	if err != nil || old == key {
		return err
	}
	// Events may have named it so since it had that key for the first time.
	err = tx.QueryRow(ctx, `WITH own AS (DELETE FROM key_aliases WHERE account_id = $1 AND `+column+` = $2 AND key = $3 RETURNING recorded_at) SELECT max(recorded_at) FROM own`,
		k.Account, k.ID, key).Scan(&known)
	if err != nil {
		return err
	}
	if known == nil {
		known = &at
	}
	if _, err = tx.Exec(ctx, `UPDATE `+table+` SET key = $3, key_since = $4, revision = revision + 1 WHERE account_id = $1 AND id = $2`, k.Account, k.ID, key, *known); err != nil {
		return taken(err)
	}
	return k.alias(ctx, tx, old, *since)
}

// AddAlias lets events name it so, too, from that moment on, and says whether they could not before. key_taken: another has
// the key, or had it.
func (k Keyed) AddAlias(ctx context.Context, tx pgx.Tx, key string, at time.Time) (added bool, err error) {
	_, column := k.table()
	var has bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM key_aliases WHERE account_id = $1 AND `+column+` = $2 AND key = $3)`, k.Account, k.ID, key).Scan(&has); err != nil || has {
		return false, err
	}
	return true, k.alias(ctx, tx, key, at)
}

func (k Keyed) alias(ctx context.Context, tx pgx.Tx, key string, since time.Time) error {
	table, column := k.table()
	section := "section_id"
	if table == "users" {
		section = "NULL"
	}
	_, err := tx.Exec(ctx, `INSERT INTO key_aliases (account_id, section_id, kind, key, `+column+`, recorded_at) SELECT account_id, `+section+`, $3, $4, id, $5
		FROM `+table+` WHERE account_id = $1 AND id = $2`, k.Account, k.ID, k.Kind, key, since)
	return taken(err)
}

// taken is err, or key_taken where it is that.
func taken(err error) error {
	for _, constraint := range []string{"users_account_id_key_key", "scopes_key", "key_aliases_key"} {
		if api.Violates(err, constraint) {
			return api.Conflict("key_taken", "Another one has this key, or had it: it is not used again.")
		}
	}
	return err
}
