package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Actor is who did it: the real person or program, whatever it viewed as, and through which client.
type Actor struct {
	Kind   string `json:"kind" enum:"person,service,system"`
	ID     string `json:"id" example:"per_1c"`
	Name   string `json:"name" example:"Ada Lovelace"`
	Role   string `json:"role,omitempty" doc:"the role by which it was allowed" example:"account_admin"`
	Client string `json:"client,omitempty" doc:"the registered client that called on the person's behalf" example:"alchemi-web"`
}

// AccountErased is the action of the platform's entry that says that an account is gone, with its chain.
const AccountErased = "account.erased"

// Object is what was changed.
type Object struct {
	Kind string `json:"kind" example:"account"`
	ID   string `json:"id" example:"acc_1"`
	Name string `json:"name,omitempty" example:"Acme"`
}

// Change is one field, before and after. A field that was not there has no value.
type Change struct {
	Field  string          `json:"field" example:"time_zone"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Entry is what is on record of one change.
type Entry struct {
	ID               int64
	Account, Section int64 // 0: the platform's, of no section
	At               time.Time
	Actor            Actor
	Action           string // account.suspended
	Object           Object
	Changes          []Change
	Reason           string
	RequestID        string
	Address          string
}

// numbersMax is how many numbers of entries are taken at once. Those that are not used by the end of the program are no one's.
const numbersMax = 64

// Log writes entries to one database. Its key authenticates them.
type Log struct {
	key     []byte
	mu      sync.Mutex
	numbers []int64 // that were taken and are not used
}

// NewLog returns a log whose entries are authenticated by key, of 32 bytes.
func NewLog(key []byte) *Log { return &Log{key: key} }

// Append inserts e in tx. The transaction's role must be allowed to: in an account, the account must be set.
func (l *Log) Append(ctx context.Context, tx pgx.Tx, e *Entry) error {
	actor, err := json.Marshal(e.Actor)
	if err != nil {
		return err
	}
	if e.Changes == nil {
		e.Changes = []Change{}
	}
	changes, err := json.Marshal(e.Changes)
	if err != nil {
		return err
	}
	e.At = e.At.UTC().Truncate(time.Microsecond) // as Postgres keeps it
	if e.ID, err = l.number(ctx, tx); err != nil {
		return fmt.Errorf("number an audit entry: %w", err)
	}
	mac := authenticate(l.key, e, actor, changes)
	_, err = tx.Exec(ctx, `WITH queued AS (INSERT INTO audit_unsealed VALUES ($1)) INSERT INTO audit_entries (id, account_id, section_id, at, actor, action, object_kind, object_id, object_name, changes, reason, request_id, address, mac)
		OVERRIDING SYSTEM VALUE VALUES ($1, nullif($2, 0), nullif($3, 0), $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		e.ID, e.Account, e.Section, e.At, actor, e.Action, e.Object.Kind, e.Object.ID, e.Object.Name, changes, e.Reason, e.RequestID, e.Address, mac)
	if err != nil {
		return fmt.Errorf("write an audit entry: %w", err)
	}
	return nil
}

// number is the id of an entry, which its MAC is over, and so must be known before. Most cost no round trip.
func (l *Log) number(ctx context.Context, tx pgx.Tx) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.numbers) == 0 {
		rows, err := tx.Query(ctx, `SELECT nextval(pg_get_serial_sequence('audit_entries', 'id')) FROM generate_series(1, $1)`, numbersMax)
		if err != nil {
			return 0, err
		}
		if l.numbers, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil {
			return 0, err
		}
	}
	n := l.numbers[0]
	l.numbers = l.numbers[1:]
	return n, nil
}

// authenticate is an entry's MAC: HMAC-SHA256 over its canonical form.
func authenticate(key []byte, e *Entry, actor, changes []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(canonical(e, actor, changes))
	return m.Sum(nil)
}

// canonical is the form that MACs and seals are over: numbers of 8 bytes, big endian, then texts, each after its length.
// actor and changes are the JSON that is stored.
func canonical(e *Entry, actor, changes []byte) []byte {
	b := []byte("cockpit audit entry 1\n")
	for _, n := range []int64{e.ID, e.Account, e.Section, e.At.UnixMicro()} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, s := range [][]byte{actor, []byte(e.Action), []byte(e.Object.Kind), []byte(e.Object.ID), []byte(e.Object.Name), changes,
		[]byte(e.Reason), []byte(e.RequestID), []byte(e.Address)} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}
