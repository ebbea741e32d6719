package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
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

// Append inserts entries in tx, in one statement. The transaction's role must be allowed to: in an account, the account must be
// set, and be that of all of them.
func (l *Log) Append(ctx context.Context, tx pgx.Tx, entries ...*Entry) error {
	numbers, err := l.take(ctx, tx, len(entries))
	if err != nil {
		return fmt.Errorf("number an audit entry: %w", err)
	}
	var rows written
	for i, e := range entries {
		e.ID = numbers[i]
		if err := rows.add(l.key, e); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `WITH queued AS (INSERT INTO audit_unsealed SELECT unnest($1::bigint[])) INSERT INTO audit_entries (id, account_id, section_id, at, actor, action,
			object_kind, object_id, object_name, changes, reason, request_id, address, mac)
		OVERRIDING SYSTEM VALUE SELECT e.id, nullif(e.account, 0), nullif(e.section, 0), e.at, e.actor::json, e.action, e.kind, e.object, e.name, e.changes::json, e.reason, e.request, e.address, e.mac
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
			$13::text[], $14::bytea[]) AS e (id, account, section, at, actor, action, kind, object, name, changes, reason, request, address, mac)`,
		rows.ids, rows.accounts, rows.sections, rows.times, rows.actors, rows.actions, rows.kinds, rows.objects, rows.names, rows.changes, rows.reasons, rows.requests, rows.addresses, rows.macs)
	if err != nil {
		return fmt.Errorf("write an audit entry: %w", err)
	}
	return nil
}

// written are entries in columns, as they are inserted.
type written struct {
	ids, accounts, sections                                                       []int64
	times                                                                         []time.Time
	actors, actions, kinds, objects, names, changes, reasons, requests, addresses []string
	macs                                                                          [][]byte
}

func (w *written) add(key []byte, e *Entry) error {
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
	w.ids, w.accounts, w.sections, w.times = append(w.ids, e.ID), append(w.accounts, e.Account), append(w.sections, e.Section), append(w.times, e.At)
	w.actors, w.actions, w.changes = append(w.actors, string(actor)), append(w.actions, e.Action), append(w.changes, string(changes))
	w.kinds, w.objects, w.names = append(w.kinds, e.Object.Kind), append(w.objects, e.Object.ID), append(w.names, e.Object.Name)
	w.reasons, w.requests, w.addresses = append(w.reasons, e.Reason), append(w.requests, e.RequestID), append(w.addresses, e.Address)
	w.macs = append(w.macs, authenticate(key, e, actor, changes))
	return nil
}

// take gives n ids of entries, which their MACs are over, and so must be known before. Most cost no round trip.
func (l *Log) take(ctx context.Context, tx pgx.Tx, n int) ([]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lacking := n - len(l.numbers); lacking > 0 {
		rows, err := tx.Query(ctx, `SELECT nextval(pg_get_serial_sequence('audit_entries', 'id')) FROM generate_series(1, $1)`, max(lacking, numbersMax))
		if err != nil {
			return nil, err
		}
		more, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return nil, err
		}
		l.numbers = append(l.numbers, more...)
	}
	taken := slices.Clone(l.numbers[:n])
	l.numbers = l.numbers[n:]
	return taken, nil
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
