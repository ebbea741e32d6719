package balances

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrUnknown says that there is no such account, or that it has no such section.
var ErrUnknown = errors.New("no such account and section")

// Balance is one scope's state in a cycle.
type Balance struct {
	Scope
	allocation.Effective
	Used, Reserved credit.Amount
	Events         int64
}

// Remaining is effective − used − reserved, where the scope is limited.
func (b *Balance) Remaining() credit.Amount { return b.Allocation - b.Used - b.Reserved }

// Report is one section of an account in the cycle with At in it.
type Report struct {
	Account, Section       string
	At                     time.Time
	CycleStart, CycleEnd   time.Time
	Enforcement            string
	Balances               []Balance
	AccountID, SectionID   int64
	Shortfalls             []allocation.Shortfall
	UnfoldedRows, TailRows int
}

// Read returns live balances: checkpoint and tail in one snapshot.
func Read(ctx context.Context, pool *pgxpool.Pool, account, section string, at time.Time) (*Report, error) {
	r := &Report{Account: account, Section: section, At: at}
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT a.account_id, s.id, c.start_at, c.end_at FROM accounts a
			JOIN account_sections x USING (account_id) JOIN sections s ON s.id = x.section_id
			LEFT JOIN cycles c ON c.account_id = a.account_id AND c.section_id = s.id AND c.start_at <= $3 AND c.end_at > $3
			WHERE a.key = $1 AND s.key = $2`, account, section, at).Scan(&r.AccountID, &r.SectionID, (*nullTime)(&r.CycleStart), (*nullTime)(&r.CycleEnd))
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrUnknown
		}
		if err != nil {
			return err
		}
		if r.CycleStart.IsZero() {
			return fmt.Errorf("no cycle of the account's section has %s in it", at.Format(time.RFC3339))
		}
		tree, err := LoadTree(ctx, tx, r.AccountID, r.SectionID, at, r.CycleStart)
		if err != nil {
			return err
		}
		used, err := r.used(ctx, tx)
		if err != nil {
			return err
		}
		r.Enforcement, r.Shortfalls = tree.Enforcement, tree.Shortfalls
		for _, s := range tree.Scopes {
			sum := used.Of(r.tree(), s.ID)
			r.Balances = append(r.Balances, Balance{Scope: s, Effective: tree.Effective[s.ID], Used: sum.Credits, Events: sum.Events})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("balances of %s in %s: %w", account, section, err)
	}
	return r, nil
}

func (r *Report) tree() TreeKey { return TreeKey{r.AccountID, r.SectionID, r.CycleStart.Unix()} }

// used is checkpoint plus tail.
func (r *Report) used(ctx context.Context, tx pgx.Tx) (Sums, error) {
	sums, err := Tail(ctx, tx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT scope_id, used, events FROM balances WHERE account_id = $1 AND section_id = $2 AND cycle_start = $3`,
		r.AccountID, r.SectionID, r.CycleStart)
	if err != nil {
		return nil, err
	}
	var scope int64
	var sum Sum
	_, err = pgx.ForEachRow(rows, []any{&scope, &sum.Credits, &sum.Events}, func() error { return sums.add(r.tree(), scope, sum) })
	return sums, err
}

// Tail adds up all journal rows that are not folded.
func Tail(ctx context.Context, tx pgx.Tx) (Sums, error) {
	rows, err := tx.Query(ctx, `SELECT j.from_pos, j.body FROM offsets o LEFT JOIN fold_positions f ON f.offsets_id = o.id
		JOIN LATERAL (SELECT from_pos, body FROM journal j WHERE j.offsets_id = o.id AND j.from_pos >= coalesce(f.next, 0)) j ON true`)
	if err != nil {
		return nil, err
	}
	adder := NewAdder()
	var from int64
	var data []byte
	var b journal.Body
	_, err = pgx.ForEachRow(rows, []any{&from, &data}, func() error {
		if err := journal.Decode(data, from, &b); err != nil {
			return err
		}
		return adder.Add(&b)
	})
	return adder.Sums, err
}

// nullTime scans null as the zero time.
type nullTime time.Time

func (t *nullTime) Scan(v any) error {
	if v != nil {
		*t = nullTime(v.(time.Time))
	}
	return nil
}
