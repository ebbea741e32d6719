package keys

import (
	"context"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// ServiceKey is a service key as the API shows it, which is never its text.
type ServiceKey struct {
	ID            string     `json:"id" example:"key_1"`
	Name          string     `json:"name" example:"gateway"`
	LastFour      string     `json:"last_four" example:"4f2a" doc:"how its text ends"`
	State         string     `json:"state" enum:"active,expired,revoked"`
	AllSources    bool       `json:"all_sources" doc:"it may send as any source"`
	Sources       []string   `json:"sources" nullable:"false" doc:"otherwise: keys of the sources that it may send as" example:"[\"alchemi-web\"]"`
	AllAccounts   bool       `json:"all_accounts" doc:"it may send for whichever account its sources may"`
	Accounts      []string   `json:"accounts" nullable:"false" doc:"otherwise: keys of the accounts that it may send for" example:"[\"acme\"]"`
	CreatedAt     time.Time  `json:"created_at"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty" doc:"absent: never"`
	RevokedAt     *time.Time `json:"revoked_at,omitempty"`
	RotatedAt     *time.Time `json:"rotated_at,omitempty" doc:"when it got its text, if it had another before"`
	PreviousUntil *time.Time `json:"previous_until,omitempty" doc:"how long the text before is good"`
	LastUsedAt    *time.Time `json:"last_used_at,omitempty" doc:"by either text; to a few seconds"`

	number int64
}

// accountsOf are the accounts that the key k may send for, unless it is for all.
const accountsOf = `ARRAY(SELECT a.key FROM accounts a WHERE a.account_id = k.account_id
	OR k.account_id IS NULL AND a.account_id IN (SELECT x.account_id FROM service_key_accounts x WHERE x.key_id = k.id) ORDER BY 1)`

const columns = `k.id, k.name, k.last_four, k.all_sources, k.all_accounts, k.created_at, CASE WHEN k.expires_at < 'infinity' THEN k.expires_at END,
	k.revoked_at, k.rotated_at, k.previous_until, k.last_used_at,
	ARRAY(SELECT s.key FROM service_key_sources x JOIN sources s ON s.id = x.source_id WHERE x.key_id = k.id ORDER BY 1), ` + accountsOf

// scan reads a key as it is now.
func scan(now time.Time) pgx.RowToFunc[ServiceKey] {
	return func(row pgx.CollectableRow) (k ServiceKey, err error) {
		err = row.Scan(&k.number, &k.Name, &k.LastFour, &k.AllSources, &k.AllAccounts, &k.CreatedAt, &k.ExpiresAt,
			&k.RevokedAt, &k.RotatedAt, &k.PreviousUntil, &k.LastUsedAt, &k.Sources, &k.Accounts)
		k.ID, k.State = api.KeyKind.ID(k.number), "active"
		switch {
		case k.RevokedAt != nil:
			k.State = "revoked"
		case k.ExpiresAt != nil && !now.Before(*k.ExpiresAt):
			k.State = "expired"
		}
		return k, err
	}
}

func (k *ServiceKey) object() audit.Object {
	return audit.Object{Kind: api.KeyKind.Name, ID: k.ID, Name: k.Name}
}

// load reads a key of the account, or of the platform where account is 0; lock says that it will be changed.
func load(ctx context.Context, c *api.Call, account int64, text string, lock bool) (*ServiceKey, error) {
	sql := `SELECT ` + columns + ` FROM service_keys k WHERE k.id = $1 AND coalesce(k.account_id, 0) = $2`
	if lock {
		sql += ` FOR UPDATE`
	}
	rows, err := c.Tx.Query(ctx, sql, api.KeyKind.Ref(text).ID, account)
	k, err := api.One(api.KeyKind, rows, err, scan(c.Now))
	return &k, err
}

// record is a key that is to be made.
type record struct {
	account     int64 // whose; 0: the platform's
	name        string
	allSources  bool
	sources     []int64
	allAccounts bool
	accounts    []int64 // of the platform's
	expires     *time.Time
	now         time.Time
}

// insert makes the key and returns its text, which is nowhere else.
func (r *record) insert(ctx context.Context, tx pgx.Tx) (text string, id int64, err error) {
	if err := r.fits(ctx, tx); err != nil {
		return "", 0, err
	}
	if text, err = generate(); err != nil {
		return "", 0, err
	}
	err = tx.QueryRow(ctx, `INSERT INTO service_keys (account_id, name, hash, last_four, all_sources, all_accounts, expires_at, created_at)
		VALUES (nullif($1, 0), $2, $3, $4, $5, $6, coalesce($7::timestamptz, 'infinity'), $8) RETURNING id`,
		r.account, r.name, hash(text), lastFour(text), r.allSources, r.allAccounts, r.expires, r.now).Scan(&id)
	if err != nil {
		return "", 0, err
	}
	if _, err = tx.Exec(ctx, `INSERT INTO service_key_sources (key_id, source_id) SELECT DISTINCT $1::bigint, unnest($2::bigint[])`, id, r.sources); err != nil {
		return "", 0, err
	}
	if len(r.accounts) > 0 {
		_, err = tx.Exec(ctx, `INSERT INTO service_key_accounts (key_id, account_id) SELECT DISTINCT $1::bigint, unnest($2::bigint[])`, id, r.accounts)
	}
	return text, id, err
}

// fits refuses a key beyond the account's limit. The account's row is locked, so that what is made at once is counted.
func (r *record) fits(ctx context.Context, tx pgx.Tx) error {
	if r.account == 0 {
		return nil
	}
	var limits api.Limits
	if err := tx.QueryRow(ctx, `SELECT limits FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE`, r.account).Scan(&limits); err != nil {
		return err
	}
	if limits.Keys == nil {
		return nil
	}
	var good int
	err := tx.QueryRow(ctx, `SELECT count(*) FROM service_keys WHERE account_id = $1 AND revoked_at IS NULL AND expires_at > $2`, r.account, r.now).Scan(&good)
	if err == nil && good >= *limits.Keys {
		err = api.Conflict("keys_limit", fmt.Sprintf("The account has %d keys that are good, and may have %d: revoke one first.", good, *limits.Keys))
	}
	return err
}

// Created is a key with its text.
type Created struct {
	ServiceKey
	Key string `json:"key" example:"ck_…" doc:"its text: what products send as their bearer token. It is shown here, and never again"`
}

type created struct{ Body Created }

// make makes the key of a request, and puts it on record.
func (r *record) make(ctx context.Context, c *api.Call) (*created, error) {
	if r.expires != nil && !r.expires.After(c.Now) {
		return nil, api.Invalid("body.expires_at", "is in the past")
	}
	text, id, err := r.insert(ctx, c.Tx)
	if err != nil {
		return nil, err
	}
	k, err := load(ctx, c, r.account, api.KeyKind.ID(id), false)
	if err != nil {
		return nil, err
	}
	return &created{Created{*k, text}}, c.Record(ctx, api.Change{Action: "key.created", Object: k.object(), After: k})
}

// rotate gives a key another text. The one that it has is good for overlap more, and one before that no longer.
func rotate(ctx context.Context, c *api.Call, account int64, key string, overlap time.Duration) (*created, error) {
	before, err := load(ctx, c, account, key, true)
	if err != nil {
		return nil, err
	}
	if before.State != "active" {
		return nil, api.Conflict("key_"+before.State, "The key is "+before.State+": make another one.")
	}
	text, err := generate()
	if err != nil {
		return nil, err
	}
	_, err = c.Tx.Exec(ctx, `UPDATE service_keys SET previous_hash = hash, previous_until = least($3, expires_at), hash = $2, last_four = $4, rotated_at = $5
		WHERE id = $1`, before.number, hash(text), c.Now.Add(overlap), lastFour(text), c.Now)
	if err != nil {
		return nil, err
	}
	k, err := load(ctx, c, account, key, false)
	if err != nil {
		return nil, err
	}
	return &created{Created{*k, text}}, c.Record(ctx, api.Change{Action: "key.rotated", Object: k.object(), Before: before, After: k})
}

// revoke ends a key, with both of its texts. One that was ended before stays as it is.
func revoke(ctx context.Context, c *api.Call, account int64, key string) (*struct{ Body ServiceKey }, error) {
	before, err := load(ctx, c, account, key, true)
	if err != nil {
		return nil, err
	}
	if _, err = c.Tx.Exec(ctx, `UPDATE service_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1`, before.number, c.Now); err != nil {
		return nil, err
	}
	k, err := load(ctx, c, account, key, false)
	if err != nil {
		return nil, err
	}
	return &struct{ Body ServiceKey }{*k}, c.Record(ctx, api.Change{Action: "key.revoked", Object: k.object(), Before: before, After: k})
}

// sourcesOf are the ids of the sources that a body names, of those that may send for the account (0: all). What may not is
// as what is not there.
func sourcesOf(ctx context.Context, c *api.Call, account int64, named []string) (ids []int64, err error) {
	return resolve(ctx, c, named, "body.sources", api.SourceKind, `SELECT id FROM sources s WHERE (id = $1 OR key = $2)
		AND ($3 = 0 OR all_accounts OR EXISTS (SELECT FROM source_accounts x WHERE x.source_id = s.id AND x.account_id = $3))`, account)
}

// accountsNamed are the ids of the accounts that a body names.
func accountsNamed(ctx context.Context, c *api.Call, named []string) (ids []int64, err error) {
	return resolve(ctx, c, named, "body.accounts", api.AccountKind, `SELECT account_id FROM accounts WHERE account_id = $1 OR key = $2`)
}

// resolve looks up what a body names, each by a statement that gives its id.
func resolve(ctx context.Context, c *api.Call, texts []string, field string, kind api.Kind, sql string, args ...any) (ids []int64, err error) {
	for i, text := range texts {
		ref := kind.Ref(text)
		rows, err := c.Tx.Query(ctx, sql, append([]any{ref.ID, ref.Key}, args...)...)
		if err != nil {
			return nil, err
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return nil, err
		}
		if len(found) != 1 {
			return nil, api.Invalid(fmt.Sprintf("%s[%d]", field, i), "there is no such "+kind.Name)
		}
		ids = append(ids, found[0])
	}
	return ids, nil
}

// ofState is the condition of a list for keys in a state, with its arguments.
func ofState(q *api.Query[ServiceKey], state string, now time.Time) {
	switch state {
	case "active":
		q.Filter("k.revoked_at IS NULL AND k.expires_at > ?", now)
	case "expired":
		q.Filter("k.revoked_at IS NULL AND k.expires_at <= ?", now)
	case "revoked":
		q.Filter("k.revoked_at IS NOT NULL")
	}
}
