package keys

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/alchemi/cockpit/ingest/collector"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrUnknown says that a key opens nothing.
var ErrUnknown = collector.ErrUnauthenticated

const (
	cacheFor = 2 * time.Second // how long a revoked key may still be taken for good
	cacheMax = 10_000
)

// Key is a service key as the command line lists it.
type Key struct {
	ID         int64      `json:"id"`
	Name       string     `json:"name"`
	LastFour   string     `json:"last_four"`
	Sources    []string   `json:"sources"`            // empty: all
	Account    string     `json:"account,omitempty"`  // whose key it is; empty: the platform's
	Accounts   []string   `json:"accounts,omitempty"` // of the platform's: those that it is for; empty: all
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
}

// New says what key to make. Sources empty: all of them.
type New struct {
	Name      string
	Sources   []string
	Account   string     // key of the account that it is bound to; empty: all
	ExpiresAt *time.Time // nil: never
}

// Store keeps keys in Postgres. It is safe for concurrent use.
type Store struct {
	// Record puts a key that Create made, or Revoke ended, into the audit log, in the transaction; nil: nobody does.
	Record func(ctx context.Context, tx pgx.Tx, action string, id int64, name string) error

	pool  *pgxpool.Pool
	mu    sync.Mutex
	cache map[[32]byte]cached
}

type cached struct {
	principal collector.Principal
	err       error
	until     time.Time
}

// NewStore returns the keys of the pool's database.
func NewStore(pool *pgxpool.Pool) *Store { return &Store{pool: pool, cache: map[[32]byte]cached{}} }

// Create makes a key and returns its text, which is nowhere else.
func (s *Store) Create(ctx context.Context, n New) (text string, id int64, err error) {
	if n.Name == "" {
		return "", 0, errors.New("a key needs a name")
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		r := record{name: n.Name, allSources: len(n.Sources) == 0, allAccounts: n.Account == "", expires: n.ExpiresAt}
		if err := tx.QueryRow(ctx, `SELECT now()`).Scan(&r.now); err != nil {
			return err
		}
		if n.Account != "" {
			if err := tx.QueryRow(ctx, `SELECT account_id FROM accounts WHERE key = $1`, n.Account).Scan(&r.account); err != nil {
				return fmt.Errorf("account %q: %w", n.Account, err)
			}
		}
		for _, key := range n.Sources {
			var source int64
			err := tx.QueryRow(ctx, `SELECT id FROM sources WHERE key = $1`, key).Scan(&source)
			if errors.Is(err, pgx.ErrNoRows) {
				return fmt.Errorf("there is no source %q", key)
			}
			if err != nil {
				return err
			}
			r.sources = append(r.sources, source)
		}
		if text, id, err = r.insert(ctx, tx); err != nil {
			return err
		}
		return s.record(ctx, tx, "key.created", id, n.Name)
	})
	if err != nil {
		return "", 0, fmt.Errorf("create a service key: %w", err)
	}
	return text, id, nil
}

// List returns all keys, newest first.
func (s *Store) List(ctx context.Context) ([]Key, error) {
	rows, err := s.pool.Query(ctx, `SELECT k.id, k.name, k.last_four, coalesce(a.key, ''), k.created_at,
			CASE WHEN k.expires_at < 'infinity' THEN k.expires_at END, k.revoked_at, k.last_used_at,
			ARRAY(SELECT s.key FROM service_key_sources x JOIN sources s ON s.id = x.source_id WHERE x.key_id = k.id ORDER BY 1),
			ARRAY(SELECT b.key FROM service_key_accounts x JOIN accounts b USING (account_id) WHERE x.key_id = k.id ORDER BY 1)
		FROM service_keys k LEFT JOIN accounts a USING (account_id) ORDER BY k.id DESC`)
	if err != nil {
		return nil, fmt.Errorf("list service keys: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k Key, err error) {
		err = row.Scan(&k.ID, &k.Name, &k.LastFour, &k.Account, &k.CreatedAt, &k.ExpiresAt, &k.RevokedAt, &k.LastUsedAt, &k.Sources, &k.Accounts)
		return k, err
	})
}

// Revoke ends a key; false if there is none, or it was ended before.
func (s *Store) Revoke(ctx context.Context, id int64) (bool, error) {
	var name string
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `UPDATE service_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING name`, id).Scan(&name)
		if err != nil {
			return err
		}
		return s.record(ctx, tx, "key.revoked", id, name)
	})
	s.mu.Lock()
	clear(s.cache)
	s.mu.Unlock()
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) record(ctx context.Context, tx pgx.Tx, action string, id int64, name string) error {
	if s.Record == nil {
		return nil
	}
	return s.Record(ctx, tx, action, id, name)
}

// RevokeNamed ends all keys of the platform's of that name.
func (s *Store) RevokeNamed(ctx context.Context, name string) error {
	_, err := s.pool.Exec(ctx, `UPDATE service_keys SET revoked_at = now() WHERE name = $1 AND account_id IS NULL AND revoked_at IS NULL`, name)
	return err
}

// Authenticate implements collector.Authenticator. Answers are kept for cacheFor from before they were looked up, so that
// none outlives a change of its key by more.
func (s *Store) Authenticate(ctx context.Context, text string) (collector.Principal, error) {
	if !WellFormed(text) {
		return collector.Principal{}, ErrUnknown
	}
	sum, begin := sha256.Sum256([]byte(text)), time.Now()
	s.mu.Lock()
	c, ok := s.cache[sum]
	s.mu.Unlock()
	if ok && begin.Before(c.until) {
		return c.principal, c.err
	}
	p, err := s.look(ctx, sum[:])
	if err != nil && !errors.Is(err, ErrUnknown) {
		return p, err
	}
	s.mu.Lock()
	if len(s.cache) > cacheMax {
		clear(s.cache)
	}
	s.cache[sum] = cached{p, err, begin.Add(cacheFor)}
	s.mu.Unlock()
	return p, err
}

func (s *Store) look(ctx context.Context, hash []byte) (p collector.Principal, err error) {
	var all bool
	err = s.pool.QueryRow(ctx, `UPDATE service_keys k SET last_used_at = now()
		WHERE (hash = $1 OR previous_hash = $1 AND previous_until > now()) AND revoked_at IS NULL AND expires_at > now()
		RETURNING id, all_sources, all_accounts, `+accountsOf, hash).Scan(&p.KeyID, &all, &p.AllAccounts, &p.Accounts)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ErrUnknown
	}
	if err != nil {
		return p, fmt.Errorf("look up a service key: %w", err)
	}
	rows, err := s.pool.Query(ctx, `SELECT s.key, s.all_accounts,
			ARRAY(SELECT c.key FROM source_sections x JOIN sections c ON c.id = x.section_id WHERE x.source_id = s.id ORDER BY 1),
			ARRAY(SELECT a.key FROM source_accounts x JOIN accounts a USING (account_id) WHERE x.source_id = s.id ORDER BY 1)
		FROM sources s WHERE $2 OR s.id IN (SELECT source_id FROM service_key_sources WHERE key_id = $1) ORDER BY s.id`, p.KeyID, all)
	if err != nil {
		return p, fmt.Errorf("look up a service key: %w", err)
	}
	p.Sources, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (g collector.Grant, err error) {
		err = row.Scan(&g.Source, &g.AllAccounts, &g.Sections, &g.Accounts)
		return g, err
	})
	return p, err
}
