package audit

import (
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// columns of an entry e, in the order of row's targets.
const columns = `e.id, e.account_id, e.section_id, e.at, e.action, e.object_kind, e.object_id, e.object_name, e.reason, e.request_id, e.address, e.actor, e.changes, e.mac`

// stored is an entry as the table has it: actor and changes are the bytes that MAC and seal are over.
type stored struct {
	Entry
	actor, changes, mac []byte
}

// row takes in the columns of an entry, whatever somebody has made of them.
type row struct {
	id, account, section                                 pgtype.Int8
	at                                                   pgtype.Timestamptz
	action, kind, object, name, reason, request, address pgtype.Text
	actor, changes, mac                                  []byte
}

func (r *row) targets() []any {
	return []any{&r.id, &r.account, &r.section, &r.at, &r.action, &r.kind, &r.object, &r.name, &r.reason, &r.request, &r.address, &r.actor, &r.changes, &r.mac}
}

// stored is the entry. What the program never writes (a null text, an account 0, an infinite time) becomes what no MAC fits.
func (r *row) stored() *stored {
	s := &stored{actor: r.actor, changes: r.changes, mac: r.mac}
	s.ID, s.Account, s.Section = r.id.Int64, number(r.account), number(r.section)
	s.At = time.UnixMicro(-1)
	if r.at.Valid && r.at.InfinityModifier == pgtype.Finite {
		s.At = r.at.Time.UTC()
	}
	s.Action, s.Reason, s.RequestID, s.Address = text(r.action), text(r.reason), text(r.request), text(r.address)
	s.Object = Object{Kind: text(r.kind), ID: text(r.object), Name: text(r.name)}
	return s
}

func number(n pgtype.Int8) int64 {
	if n.Valid && n.Int64 == 0 {
		return -1
	}
	return n.Int64
}

func text(t pgtype.Text) string {
	if !t.Valid {
		return "\x00" // which Postgres can't keep in a text
	}
	return t.String
}

// chain is the entry's chain.
func (s *stored) chain() int64 { return max(s.Account, 0) }

// scan reads the entry that rows stands on.
func scan(rows pgx.CollectableRow) (*stored, error) {
	var r row
	if err := rows.Scan(r.targets()...); err != nil {
		return nil, err
	}
	return r.stored(), nil
}
