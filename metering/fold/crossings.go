package fold

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/jackc/pgx/v5"
)

// cachedTree is good while its account's version is the same and no override begins or ends.
type cachedTree struct {
	*balances.Tree
	version int64
	scopes  map[int64]balances.Scope
}

// treesMax bounds the memory of the cache; beyond it, it begins anew.
const treesMax = 10_000

// charged is the trees that this fold charges.
func (r *round) charged() map[balances.TreeKey]bool {
	trees := map[balances.TreeKey]bool{}
	for key := range r.sums {
		trees[key.TreeKey] = true
	}
	return trees
}

// cross looks at the balances that were charged and at those of accounts that changed.
func (r *round) cross(ctx context.Context) error {
	charged := r.charged()
	versions, err := r.changedAccounts(ctx, charged)
	if err != nil {
		return err
	}
	changed, err := r.changedTrees(ctx)
	if err != nil {
		return err
	}
	if err := r.loadTrees(ctx, versions, charged, changed); err != nil {
		return err
	}
	if err := r.pagesOfChanged(ctx, changed); err != nil {
		return err
	}
	batch := &pgx.Batch{}
	for _, p := range r.pages {
		if err := r.comparePage(batch, p, changed[p.key.TreeKey]); err != nil {
			return err
		}
	}
	r.crossings.raise(batch)
	r.notify(batch)
	batch.Queue(`UPDATE accounts SET crossings_version = version WHERE crossings_version < version AND account_id = ANY($1)`, slices.Collect(maps.Keys(versions)))
	if err := r.tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write crossings: %w", err)
	}
	return nil
}

// changedAccounts gives the versions of all accounts that were charged or changed.
func (r *round) changedAccounts(ctx context.Context, charged map[balances.TreeKey]bool) (map[int64]int64, error) {
	ids := make([]int64, 0, len(charged))
	for key := range charged {
		ids = append(ids, key.Account)
	}
	// The lock makes allocation changes of these accounts wait, so that neither overlooks the other.
	rows, err := r.tx.Query(ctx, `SELECT account_id, version FROM accounts WHERE crossings_version < version OR account_id = ANY($1) ORDER BY account_id FOR NO KEY UPDATE`, ids)
	if err != nil {
		return nil, err
	}
	versions := map[int64]int64{}
	var id, version int64
	_, err = pgx.ForEachRow(rows, []any{&id, &version}, func() error { versions[id] = version; return nil })
	return versions, err
}

// changedTrees names the current trees of accounts that changed since their balances were compared last.
func (r *round) changedTrees(ctx context.Context) (map[balances.TreeKey]bool, error) {
	rows, err := r.tx.Query(ctx, `SELECT c.account_id, c.section_id, extract(epoch FROM c.start_at)::bigint FROM accounts a JOIN cycles c USING (account_id)
		WHERE a.crossings_version < a.version AND c.start_at <= $1 AND c.end_at > $1`, r.now)
	if err != nil {
		return nil, err
	}
	changed := map[balances.TreeKey]bool{}
	var key balances.TreeKey
	_, err = pgx.ForEachRow(rows, []any{&key.Account, &key.Section, &key.CycleStart}, func() error { changed[key] = true; return nil })
	return changed, err
}

// pagesOfChanged reads the pages of these trees with balances that are limited now, or were when they were compared last.
func (r *round) pagesOfChanged(ctx context.Context, changed map[balances.TreeKey]bool) error {
	if len(changed) == 0 {
		return nil
	}
	limited := map[balances.PageKey]bool{}
	var accounts, sections []int64
	var cycles []time.Time
	for tree := range changed {
		accounts, sections, cycles = append(accounts, tree.Account), append(sections, tree.Section), append(cycles, time.Unix(tree.CycleStart, 0))
		for scope, eff := range r.f.trees[tree].Effective {
			if eff.Own {
				key, _ := balances.PageOf(tree, scope)
				limited[key] = true
			}
		}
	}
	if err := r.readPages(ctx, slices.Collect(maps.Keys(limited))); err != nil {
		return err
	}
	rows, err := r.tx.Query(ctx, `SELECT `+pageColumns+` FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS k(account_id, section_id, cycle_start)
		JOIN balance_pages p USING (account_id, section_id, cycle_start) WHERE p.allocation IS NOT NULL`, accounts, sections, cycles)
	if err != nil {
		return err
	}
	return r.collect(rows)
}

// loadTrees reads the trees that are not known as they are now, all at once.
func (r *round) loadTrees(ctx context.Context, versions map[int64]int64, charged, changed map[balances.TreeKey]bool) error {
	if len(r.f.trees) >= treesMax {
		clear(r.f.trees)
	}
	missing := map[balances.TreeKey]bool{}
	for _, keys := range []map[balances.TreeKey]bool{charged, changed} {
		for key := range keys {
			if c := r.f.trees[key]; c == nil || c.version != versions[key.Account] || !r.now.Before(c.Until) {
				missing[key] = true
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	loaded, err := balances.LoadTrees(ctx, r.tx, slices.Collect(maps.Keys(missing)), r.now, balances.Limiting)
	if err != nil {
		return err
	}
	for key, tree := range loaded {
		c := &cachedTree{Tree: tree, version: versions[key.Account], scopes: make(map[int64]balances.Scope, len(tree.Scopes))}
		for _, s := range tree.Scopes {
			c.scopes[s.ID] = s
		}
		r.f.trees[key] = c
	}
	return nil
}

// comparePage compares the page's balances that were charged, or all of them where the tree changed.
func (r *round) comparePage(batch *pgx.Batch, p *page, changed bool) error {
	tree := r.f.trees[p.key.TreeKey]
	rewritten := false
	for slot := range balances.PageScopes {
		if changed || p.charged != nil && p.charged[slot] != (balances.Sum{}) {
			another, err := r.compare(p, slot, tree)
			if err != nil {
				return err
			}
			rewritten = rewritten || another
		}
	}
	if rewritten {
		k := p.key
		batch.Queue(`UPDATE balance_pages SET allocation = $5 WHERE account_id = $1 AND section_id = $2 AND cycle_start = $3 AND page = $4`,
			k.Account, k.Section, time.Unix(k.CycleStart, 0), k.Page, p.allocation)
	}
	return nil
}

// compare raises what was crossed since the balance was looked at last. It notes what it was compared with, and says
// whether that is another allocation than before.
func (r *round) compare(p *page, slot int, tree *cachedTree) (another bool, err error) {
	eff := tree.Effective[p.scope(slot)]
	before := p.compared(slot)
	var now *int64
	if eff.Own && eff.Limited {
		v := int64(eff.Allocation)
		now = &v
	}
	if now != nil {
		for _, percent := range tree.Thresholds {
			reached := before != nil && allocation.Reached(p.usedBefore(slot), credit.Amount(*before), percent)
			if !reached && allocation.Reached(credit.Amount(p.used[slot]), eff.Allocation, percent) {
				if err := r.crossing(p, slot, tree, eff, percent); err != nil {
					return false, err
				}
			}
		}
	}
	if now == nil && before == nil || now != nil && before != nil && *now == *before {
		return false, nil
	}
	p.compare(slot, now)
	return true, nil
}
