package fold

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// page is a row of balance_pages.
type page struct {
	key        balances.PageKey
	used       []int64 // micro-credits, with what this fold charged
	events     []int64
	allocation []pgtype.Int8  // what each balance was compared with last; empty: nothing limited any
	charged    *balances.Page // by this fold; nil: nothing
}

// usedBefore is what was used before this fold.
func (p *page) usedBefore(slot int) credit.Amount {
	if p.charged == nil {
		return credit.Amount(p.used[slot])
	}
	return credit.Amount(p.used[slot]) - p.charged[slot].Credits
}

// scope is the scope whose balance is at slot.
func (p *page) scope(slot int) int64 { return p.key.Page*balances.PageScopes + int64(slot) }

func (p *page) compared(slot int) *int64 {
	if len(p.allocation) == 0 || !p.allocation[slot].Valid {
		return nil
	}
	return &p.allocation[slot].Int64
}

func (p *page) compare(slot int, allocation *int64) {
	if len(p.allocation) == 0 {
		p.allocation = make([]pgtype.Int8, balances.PageScopes)
	}
	p.allocation[slot] = pgtype.Int8{}
	if allocation != nil {
		p.allocation[slot] = pgtype.Int8{Int64: *allocation, Valid: true}
	}
}

// add adds what this fold charged.
func (p *page) add(charged *balances.Page) error {
	p.charged = charged
	for i := range charged {
		sum, err := credit.Add(credit.Amount(p.used[i]), charged[i].Credits)
		if err != nil {
			return fmt.Errorf("scope %d: %w", p.scope(i), err)
		}
		p.used[i] = int64(sum)
		p.events[i] += charged[i].Events
	}
	return nil
}

// pagesTogether is how many pages are written by one statement, a megabyte of them: a statement costs more than a page.
const pagesTogether = 1 << 10

// writePages sets $7 pages whose keys are $1 to $4; $5 and $6 are what all of them used and their events, one page behind the other.
const writePages = `INSERT INTO balance_pages (account_id, section_id, cycle_start, page, used, events)
	SELECT account_id, section_id, cycle_start, page, ($5::bigint[])[n * $7 - $7 + 1 : n * $7], ($6::bigint[])[n * $7 - $7 + 1 : n * $7]
	FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::bigint[]) WITH ORDINALITY AS k(account_id, section_id, cycle_start, page, n)
	ON CONFLICT (account_id, section_id, cycle_start, page) DO UPDATE SET used = EXCLUDED.used, events = EXCLUDED.events`

// write moves balances and positions.
func (r *round) write(ctx context.Context) error {
	if r.rows == 0 {
		return nil
	}
	keys := slices.SortedFunc(maps.Keys(r.sums), asStored)
	if err := r.readPages(ctx, keys); err != nil {
		return err
	}
	batch := &pgx.Batch{}
	for some := range slices.Chunk(keys, pagesTogether) {
		var used, events []int64
		for _, key := range some {
			p := r.pages[key]
			if p == nil {
				p = &page{key: key, used: make([]int64, balances.PageScopes), events: make([]int64, balances.PageScopes)}
				r.pages[key] = p
			}
			if err := p.add(r.sums[key]); err != nil {
				return err
			}
			used, events = append(used, p.used...), append(events, p.events...)
		}
		c := columnsOf(some)
		batch.Queue(writePages, c.accounts, c.sections, c.cycles, c.pages, used, events, balances.PageScopes)
	}
	batch.Queue(`INSERT INTO fold_positions (offsets_id, next) SELECT * FROM unnest($1::bigint[], $2::bigint[])
		ON CONFLICT (offsets_id) DO UPDATE SET next = EXCLUDED.next`, r.ids, r.next)
	if err := r.tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write balances: %w", err)
	}
	return nil
}

// asStored is the order in which most pages are stored.
func asStored(a, b balances.PageKey) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Section, b.Section), cmp.Compare(a.CycleStart, b.CycleStart), cmp.Compare(a.Page, b.Page))
}

// columns are the parts of keys.
type columns struct {
	accounts, sections, pages []int64
	cycles                    []time.Time
}

func columnsOf(keys []balances.PageKey) (c columns) {
	for _, k := range keys {
		c.accounts, c.sections, c.cycles, c.pages = append(c.accounts, k.Account), append(c.sections, k.Section), append(c.cycles, time.Unix(k.CycleStart, 0)), append(c.pages, k.Page)
	}
	return c
}

const pageColumns = `p.account_id, p.section_id, extract(epoch FROM p.cycle_start)::bigint, p.page, p.used, p.events, p.allocation`

// readPages reads those of the named pages that are there and not read yet.
func (r *round) readPages(ctx context.Context, keys []balances.PageKey) error {
	c := columnsOf(slices.DeleteFunc(slices.Clone(keys), func(k balances.PageKey) bool { return r.pages[k] != nil }))
	rows, err := r.tx.Query(ctx, `SELECT `+pageColumns+` FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::bigint[]) AS k(account_id, section_id, cycle_start, page)
		JOIN balance_pages p USING (account_id, section_id, cycle_start, page)`, c.accounts, c.sections, c.cycles, c.pages)
	if err != nil {
		return err
	}
	return r.collect(rows)
}

func (r *round) collect(rows pgx.Rows) error {
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*page, error) {
		p := &page{}
		return p, row.Scan(&p.key.Account, &p.key.Section, &p.key.CycleStart, &p.key.Page, &p.used, &p.events, &p.allocation)
	})
	if err != nil {
		return fmt.Errorf("read balances: %w", err)
	}
	for _, p := range found {
		if r.pages[p.key] == nil {
			r.pages[p.key] = p
		}
	}
	return nil
}
