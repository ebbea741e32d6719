package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// filePage is how many entries are read at once for a file.
const filePage = 1000

// ErrAbsent says that there is no such entry among those that the filter lets see.
var ErrAbsent = errors.New("no such audit entry")

// Record is an entry as people, files and a SIEM see it.
type Record struct {
	ID        string    `json:"id" example:"aud_1c"`
	At        time.Time `json:"at"`
	Account   string    `json:"account,omitempty" doc:"the account's key; absent in the platform's own log" example:"acme"`
	Section   string    `json:"section,omitempty" doc:"the section's key, of what was done in one" example:"copilot"`
	Actor     Actor     `json:"actor"`
	Action    string    `json:"action" example:"account.suspended"`
	Object    Object    `json:"object"`
	Changes   []Change  `json:"changes" nullable:"false"`
	Reason    string    `json:"reason,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Address   string    `json:"address,omitempty" doc:"where the request came from"`

	number int64
}

// Place is where the record stands in the order of lists: what comes after it is older.
func (r *Record) Place() Place { return Place{r.At, r.number} }

// Place is a position in a list. The zero Place is the beginning: the newest entry.
type Place struct {
	At time.Time
	ID int64
}

// idPrefix and idBase are how the API writes the ids of entries.
const (
	idPrefix = "aud_"
	idBase   = 36
)

// Filter says which entries to read, of one account or of the platform's own log (0). Empty fields ask for nothing.
type Filter struct {
	Account    int64
	Sections   []int64 // nil: all, and what is of no section; else only what is of these
	Actor      string  // id
	Action     string  // account.suspended, or account.* for all of a noun
	ObjectKind string
	ObjectID   string
	RequestID  string
	From, To   time.Time // From is within, To is not
}

// conditions are the filter as SQL over audit_entries e.
func (f *Filter) conditions() (where []string, args []any) {
	add := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	if f.Account == 0 {
		where = append(where, "e.account_id IS NULL")
	} else {
		add("e.account_id = ?", f.Account)
	}
	if f.Sections != nil {
		add("e.section_id = ANY(?)", f.Sections)
	}
	if noun, all := strings.CutSuffix(f.Action, ".*"); all {
		add("e.action >= ? || '.' AND e.action < ? || '/'", noun) // '/' comes after '.'
	} else if f.Action != "" {
		add("e.action = ?", f.Action)
	}
	for _, c := range []struct{ condition, value string }{{"e.actor->>'id' = ?", f.Actor}, {"e.object_kind = ?", f.ObjectKind}, {"e.object_id = ?", f.ObjectID}, {"e.request_id = ?", f.RequestID}} {
		if c.value != "" {
			add(c.condition, c.value)
		}
	}
	if !f.From.IsZero() {
		add("e.at >= ?", f.From)
	}
	if !f.To.IsZero() {
		add("e.at < ?", f.To)
	}
	return where, args
}

// Within calls f in a transaction that may read the log of an account, or of the platform (0).
type Within func(ctx context.Context, account int64, f func(pgx.Tx) error) error

// Store reads entries.
type Store struct{ within Within }

// NewStore returns a store that reads in the transactions that within opens.
func NewStore(within Within) *Store { return &Store{within} }

// Page gives at most limit entries, newest first, behind after. How far down that is costs nothing.
func (s *Store) Page(ctx context.Context, f Filter, after Place, limit int) (records []Record, err error) {
	where, args := f.conditions()
	if after != (Place{}) {
		args = append(args, after.At, after.ID)
		where = append(where, fmt.Sprintf("(e.at, e.id) < ($%d, $%d)", len(args)-1, len(args)))
	}
	err = s.within(ctx, f.Account, func(tx pgx.Tx) error {
		records, err = read(ctx, tx, where, args, limit)
		return err
	})
	return records, err
}

// Entry gives one entry by the id that a Record has, or ErrAbsent.
func (s *Store) Entry(ctx context.Context, f Filter, id string) (*Record, error) {
	digits, ok := strings.CutPrefix(id, idPrefix)
	number, err := strconv.ParseInt(digits, idBase, 64)
	if !ok || err != nil || idText(number) != id {
		return nil, ErrAbsent
	}
	where, args := f.conditions()
	args = append(args, number)
	where = append(where, fmt.Sprintf("e.id = $%d", len(args)))
	var found []Record
	err = s.within(ctx, f.Account, func(tx pgx.Tx) error {
		found, err = read(ctx, tx, where, args, 1)
		return err
	})
	if err == nil && len(found) == 0 {
		err = ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	return &found[0], nil
}

// All gives every entry, newest first. It reads a page at a time, each in a transaction of its own, so that a reader may be
// as slow as it likes. What is written meanwhile is newer, and not among them.
func (s *Store) All(ctx context.Context, f Filter) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for after := (Place{}); ; {
			records, err := s.Page(ctx, f, after, filePage)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range records {
				if !yield(&records[i], nil) {
					return
				}
			}
			if len(records) < filePage {
				return
			}
			after = records[len(records)-1].Place()
		}
	}
}

// names are the columns and joins by which an entry has the keys of its account and section.
const (
	names = `, coalesce(a.key, ''), coalesce(s.key, '')`
	named = ` LEFT JOIN accounts a ON a.account_id = e.account_id LEFT JOIN sections s ON s.id = e.section_id`
)

func read(ctx context.Context, tx pgx.Tx, where []string, args []any, limit int) ([]Record, error) {
	rows, err := tx.Query(ctx, `SELECT `+columns+names+` FROM audit_entries e`+named+` WHERE (`+strings.Join(where, ") AND (")+`)
		ORDER BY e.at DESC, e.id DESC LIMIT `+strconv.Itoa(limit), args...)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	records, err := pgx.CollectRows(rows, func(rows pgx.CollectableRow) (Record, error) {
		var r row
		var account, section string
		if err := rows.Scan(append(r.targets(), &account, &section)...); err != nil {
			return Record{}, err
		}
		return r.stored().record(account, section)
	})
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	return records, nil
}

// record is the entry with the keys of its account and section.
func (s *stored) record(account, section string) (Record, error) {
	r := Record{ID: idText(s.ID), At: s.At, Account: account, Section: section, Action: s.Action, Object: s.Object, Reason: s.Reason, RequestID: s.RequestID,
		Address: s.Address, number: s.ID}
	if err := json.Unmarshal(s.actor, &r.Actor); err != nil {
		return r, fmt.Errorf("actor of %s: %w", r.ID, err)
	}
	if err := json.Unmarshal(s.changes, &r.Changes); err != nil {
		return r, fmt.Errorf("changes of %s: %w", r.ID, err)
	}
	return r, nil
}

func idText(n int64) string { return idPrefix + strconv.FormatInt(n, idBase) }
