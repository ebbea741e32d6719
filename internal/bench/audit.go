package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The baseline of the audit gate is what a handler of the API does to change a user, and nothing else: a transaction of the
// account's role, with the account set, that reads and locks one row and updates it. It is another row for each writer. Ours writes the
// audit entry in it, while a sealer follows. All writers are of one account, so that whatever makes them wait for each
// other shows. What was avoided is measured beside: the entry and its place in the chain in the same transaction, under a
// lock of the chain's head.
const (
	auditWriters = 16
	auditTime    = 3 * time.Second
)

// auditWrite is what a writer does in its transaction, beside the update.
type auditWrite func(ctx context.Context, tx pgx.Tx, e *audit.Entry) error

type auditBench struct {
	s    *stores
	log  *audit.Log
	keys audit.Keys
}

var auditKey = make([]byte, 32)

func auditing(ctx context.Context, r *runner) (gate, error) {
	s, err := r.directory(ctx)
	if err != nil {
		return gate{}, err
	}
	b := &auditBench{s: s, keys: audit.NewKeys([][]byte{auditKey}, [][]byte{auditKey})}
	return gate{
		measures: []measure{{what: "a write with its entry", unit: "µs", goal: 1.5, atMost: true}, {what: "and with the chain's head locked", unit: "µs"}},
		settings: fmt.Sprintf("%d writers of one account, %v a round; time ÷ writes", auditWriters, auditTime),
		baseline: func(ctx context.Context) ([]float64, error) {
			v, err := b.measure(ctx, "", nil, false)
			return []float64{v, v}, err
		},
		ours: func(ctx context.Context) ([]float64, error) {
			entry, err := b.measure(ctx, "", b.entry, true)
			if err != nil {
				return nil, err
			}
			locked, err := b.measure(ctx, `GRANT SELECT, INSERT, UPDATE ON audit_heads, audit_seals TO cockpit_app;
				INSERT INTO audit_heads SELECT account_id, 0, '', '', now() FROM accounts`, b.locked, false)
			return []float64{entry, locked}, err
		}}, nil
}

// measure gives the microseconds of a write, in a fresh copy of the directory.
func (b *auditBench) measure(ctx context.Context, prepare string, write auditWrite, seal bool) (float64, error) {
	b.log = audit.NewLog(auditKey)
	url, err := b.s.database(ctx)
	if err != nil {
		return 0, err
	}
	if prepare != "" {
		if err := b.s.execute(ctx, b.s.copy(), prepare); err != nil {
			return 0, err
		}
	}
	app, err := postgres.Open(ctx, url, postgres.RoleApp)
	if err != nil {
		return 0, err
	}
	defer app.Close()
	var account int64
	var users []int64
	if err := b.s.one(ctx, `SELECT account_id, array_agg(id) FROM users GROUP BY 1 ORDER BY 1 LIMIT 1`, &account, &users); err != nil {
		return 0, err
	}
	if len(users) < auditWriters {
		return 0, fmt.Errorf("an account has %d users, and needs %d", len(users), auditWriters)
	}
	stop, err := b.sealing(ctx, url, seal)
	if err != nil {
		return 0, err
	}
	defer stop()
	var written atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	begin := time.Now()
	for n := range auditWriters {
		wg.Go(func() {
			for time.Since(begin) < auditTime {
				if err := b.write(ctx, app, account, users[n], write); err != nil {
					failed.Store(&err)
					return
				}
				written.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(took.Microseconds()) / float64(written.Load()), nil
}

// sealing runs a sealer until stop is called.
func (b *auditBench) sealing(ctx context.Context, url string, wanted bool) (stop func(), err error) {
	if !wanted {
		return func() {}, nil
	}
	platform, err := postgres.Open(ctx, url, postgres.RolePlatform)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = audit.NewSealer(platform, b.keys, slog.New(slog.DiscardHandler), time.Now).Run(running) })
	return func() {
		cancel()
		wg.Wait()
		platform.Close()
	}, nil
}

// write is one transaction.
func (b *auditBench) write(ctx context.Context, app *pgxpool.Pool, account, user int64, write auditWrite) error {
	return pgx.BeginTxFunc(ctx, app, pgx.TxOptions{BeginQuery: fmt.Sprintf("BEGIN; SET LOCAL cockpit.account_id = '%d'", account)}, func(tx pgx.Tx) error {
		var name string
		if err := tx.QueryRow(ctx, `SELECT name FROM users WHERE account_id = $1 AND id = $2 FOR UPDATE`, account, user).Scan(&name); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `UPDATE users SET name = name || '' WHERE account_id = $1 AND id = $2`, account, user)
		if err == nil && tag.RowsAffected() != 1 {
			err = fmt.Errorf("changed %d users", tag.RowsAffected())
		}
		if err != nil {
			return err
		}
		if write == nil {
			return nil
		}
		return write(ctx, tx, &audit.Entry{Account: account, At: time.Now(), Actor: audit.Actor{Kind: "person", ID: "per_1c", Name: "Ada Lovelace", Role: "account_admin"},
			Action: "user.updated", Object: audit.Object{Kind: "user", ID: fmt.Sprintf("usr_%d", user), Name: "Ada"},
			Changes: []audit.Change{{Field: "name", Before: []byte(`"Ada"`), After: []byte(`"Ada L."`)}}, RequestID: "01JD8X2M7Q4Z5N6P7Q8R9S0T1V", Address: "192.0.2.1"})
	})
}

// entry writes the entry, as the API does.
func (b *auditBench) entry(ctx context.Context, tx pgx.Tx, e *audit.Entry) error {
	return b.log.Append(ctx, tx, e)
}

// locked chains the entry in the transaction that writes it.
func (b *auditBench) locked(ctx context.Context, tx pgx.Tx, e *audit.Entry) error {
	var seq int64
	var hash []byte
	if err := tx.QueryRow(ctx, `SELECT seq, hash FROM audit_heads WHERE chain = $1 FOR UPDATE`, e.Account).Scan(&seq, &hash); err != nil {
		return err
	}
	if err := b.log.Append(ctx, tx, e); err != nil {
		return err
	}
	sum := sha256.Sum256(hash)
	_, err := tx.Exec(ctx, `WITH seal AS (INSERT INTO audit_seals (chain, seq, entry_id, hash) VALUES ($1, $2, $3, $4))
		UPDATE audit_heads SET seq = $2, hash = $4 WHERE chain = $1`, e.Account, seq+1, e.ID, sum[:])
	return err
}
