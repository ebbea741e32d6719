// Package keys makes, lists, revokes and recognizes service keys: what products and gateways send events with.
//
// A key is ck_ and 40 characters: 32 random ones in base 62 and the CRC-32 of them in 8 hexadecimal digits, so that a
// mistyped key, or one found in a log, is known for what it is without a database. Only its SHA-256 is kept; it is shown
// once. A key covers sources (or all), and through them sections and accounts; it may be bound to one account.
//
// Failures: ErrUnknown for a key that is not one, revoked, expired or never made; anything else is the database's.
package keys

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	"github.com/alchemi/cockpit/ingest/collector"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrUnknown says that a key opens nothing.
var ErrUnknown = collector.ErrUnauthenticated

const (
	prefix    = "ck_"
	randomLen = 32
	digits    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	cacheFor  = 2 * time.Second // how long a revoked key may still be taken for good
)

// Key is a service key as lists show it.
type Key struct {
	ID         int64      `json:"id"`
	Name       string     `json:"name"`
	LastFour   string     `json:"last_four"`
	Sources    []string   `json:"sources"` // empty: all
	Account    string     `json:"account,omitempty"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
}

// New says what key to make. Sources empty: all of them.
type New struct {
	Name      string
	Sources   []string
	Account   string     // key of the account that it is bound to; empty: none
	ExpiresAt *time.Time // nil: never
}

// Store keeps keys in Postgres. It is safe for concurrent use.
type Store struct {
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

// generate makes a key's text.
func generate() (string, error) {
	random := make([]byte, 0, randomLen)
	var b [64]byte
	for len(random) < randomLen {
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		for _, c := range b {
			if c < 4*62 && len(random) < randomLen { // what is above would favour some digits
				random = append(random, digits[c%62])
			}
		}
	}
	return prefix + string(random) + checksum(string(random)), nil
}

func checksum(random string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(random))) }

// WellFormed says whether a text is a key by its form and checksum.
func WellFormed(text string) bool {
	rest, ok := strings.CutPrefix(text, prefix)
	return ok && len(rest) == randomLen+8 && rest[randomLen:] == checksum(rest[:randomLen])
}

// Create makes a key and returns its text, which is nowhere else.
func (s *Store) Create(ctx context.Context, n New) (text string, id int64, err error) {
	if n.Name == "" {
		return "", 0, errors.New("a key needs a name")
	}
	if text, err = generate(); err != nil {
		return "", 0, err
	}
	hash := sha256.Sum256([]byte(text))
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var account *int64
		if n.Account != "" {
			if err := tx.QueryRow(ctx, `SELECT account_id FROM accounts WHERE key = $1`, n.Account).Scan(&account); err != nil {
				return fmt.Errorf("account %q: %w", n.Account, err)
			}
		}
		err := tx.QueryRow(ctx, `INSERT INTO service_keys (account_id, name, hash, last_four, all_sources, expires_at)
			VALUES ($1, $2, $3, $4, $5, coalesce($6::timestamptz, 'infinity')) RETURNING id`,
			account, n.Name, hash[:], text[len(text)-4:], len(n.Sources) == 0, n.ExpiresAt).Scan(&id)
		if err != nil {
			return err
		}
		for _, source := range n.Sources {
			tag, err := tx.Exec(ctx, `INSERT INTO service_key_sources (key_id, source_id) SELECT $1, id FROM sources WHERE key = $2`, id, source)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return fmt.Errorf("there is no source %q", source)
			}
		}
		return nil
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
			ARRAY(SELECT s.key FROM service_key_sources x JOIN sources s ON s.id = x.source_id WHERE x.key_id = k.id ORDER BY 1)
		FROM service_keys k LEFT JOIN accounts a USING (account_id) ORDER BY k.id DESC`)
	if err != nil {
		return nil, fmt.Errorf("list service keys: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k Key, err error) {
		err = row.Scan(&k.ID, &k.Name, &k.LastFour, &k.Account, &k.CreatedAt, &k.ExpiresAt, &k.RevokedAt, &k.LastUsedAt, &k.Sources)
		return k, err
	})
}

// Revoke ends a key; false if there is none, or it was ended before.
func (s *Store) Revoke(ctx context.Context, id int64) (bool, error) {
	tag, err := s.pool.Exec(ctx, `UPDATE service_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL`, id)
	s.mu.Lock()
	clear(s.cache)
	s.mu.Unlock()
	return tag.RowsAffected() > 0, err
}

// RevokeNamed ends all keys of that name.
func (s *Store) RevokeNamed(ctx context.Context, name string) error {
	_, err := s.pool.Exec(ctx, `UPDATE service_keys SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL`, name)
	return err
}

// Authenticate implements collector.Authenticator. Answers are kept for cacheFor.
func (s *Store) Authenticate(ctx context.Context, text string) (collector.Principal, error) {
	if !WellFormed(text) {
		return collector.Principal{}, ErrUnknown
	}
	hash := sha256.Sum256([]byte(text))
	s.mu.Lock()
	c, ok := s.cache[hash]
	s.mu.Unlock()
	if ok && time.Now().Before(c.until) {
		return c.principal, c.err
	}
	p, err := s.look(ctx, hash)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return p, err
	}
	s.mu.Lock()
	if len(s.cache) > 10_000 {
		clear(s.cache)
	}
	s.cache[hash] = cached{p, err, time.Now().Add(cacheFor)}
	s.mu.Unlock()
	return p, err
}

func (s *Store) look(ctx context.Context, hash [32]byte) (p collector.Principal, err error) {
	var all bool
	err = s.pool.QueryRow(ctx, `UPDATE service_keys k SET last_used_at = now() WHERE hash = $1 AND revoked_at IS NULL AND expires_at > now()
		RETURNING id, all_sources, coalesce((SELECT key FROM accounts a WHERE a.account_id = k.account_id), '')`, hash[:]).Scan(&p.KeyID, &all, &p.Account)
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
