package fold

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/jackc/pgx/v5"
)

// touched is a balance that may have crossed a threshold.
type touched struct {
	account, section, scope, cycle int64 // cycle: its start, Unix s
	used, usedBefore               credit.Amount
	allocationBefore               *int64 // null: nothing limited it, or it was never looked at
}

func scanTouched(row pgx.CollectableRow) (t touched, err error) {
	err = row.Scan(&t.account, &t.section, &t.scope, &t.cycle, &t.used, &t.usedBefore, &t.allocationBefore)
	return t, err
}

// cachedTree is good while its account's version is the same and no override begins or ends.
type cachedTree struct {
	*balances.Tree
	version int64
	scopes  map[int64]balances.Scope
}

// treesMax bounds the memory of the cache; beyond it, it begins anew.
const treesMax = 10_000

// cross looks at the balances that were charged and at those of accounts that changed.
func (r *round) cross(ctx context.Context) error {
	versions, err := r.changedAccounts(ctx)
	if err != nil {
		return err
	}
	changed, err := r.changedTrees(ctx)
	if err != nil {
		return err
	}
	if err := r.loadTrees(ctx, versions, changed); err != nil {
		return err
	}
	if err := r.balancesOfChanged(ctx, changed); err != nil {
		return err
	}
	batch := &pgx.Batch{}
	for i := range r.touched {
		t := &r.touched[i]
		r.compare(batch, t, r.f.trees[t.tree()])
	}
	r.notify(batch)
	batch.Queue(`UPDATE accounts SET crossings_version = version WHERE crossings_version < version AND account_id = ANY($1)`, r.changed(versions))
	if err := r.tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write crossings: %w", err)
	}
	return nil
}

func (r *round) changed(versions map[int64]int64) []int64 {
	ids := make([]int64, 0, len(versions))
	for id := range versions {
		ids = append(ids, id)
	}
	return ids
}

// changedAccounts gives the versions of all accounts that were charged or changed.
func (r *round) changedAccounts(ctx context.Context) (map[int64]int64, error) {
	charged := map[int64]bool{}
	for i := range r.touched {
		charged[r.touched[i].account] = true
	}
	ids := make([]int64, 0, len(charged))
	for id := range charged {
		ids = append(ids, id)
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
func (r *round) changedTrees(ctx context.Context) ([]balances.TreeKey, error) {
	rows, err := r.tx.Query(ctx, `SELECT c.account_id, c.section_id, extract(epoch FROM c.start_at)::bigint FROM accounts a JOIN cycles c USING (account_id)
		WHERE a.crossings_version < a.version AND c.start_at <= $1 AND c.end_at > $1`, r.now)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[balances.TreeKey])
}

// balancesOfChanged adds the balances of these trees that are limited now, or were when they were compared last.
func (r *round) balancesOfChanged(ctx context.Context, changed []balances.TreeKey) error {
	if len(changed) == 0 {
		return nil
	}
	var accounts, sections, scopes, cycles []int64
	for _, key := range changed {
		for id, eff := range r.f.trees[key].Effective {
			if eff.Own {
				accounts, sections, scopes, cycles = append(accounts, key.Account), append(sections, key.Section), append(scopes, id), append(cycles, key.CycleStart)
			}
		}
	}
	// Nothing that this fold charged is in it twice: what was, is compared as it was charged.
	charged := make([]int64, len(r.touched))
	for i := range r.touched {
		charged[i] = r.touched[i].scope
	}
	rows, err := r.tx.Query(ctx, `SELECT d.account_id, d.section_id, b.scope_id, d.cycle, b.used, b.used, b.allocation
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS d(account_id, section_id, scope_id, cycle)
			JOIN balances b ON b.scope_id = d.scope_id AND b.cycle_start = to_timestamp(d.cycle) WHERE b.scope_id <> ALL($5)
		UNION SELECT b.account_id, c.section_id, b.scope_id, extract(epoch FROM b.cycle_start)::bigint, b.used, b.used, b.allocation
			FROM accounts a JOIN cycles c ON c.account_id = a.account_id AND c.start_at <= $6 AND c.end_at > $6
			JOIN balances b ON b.account_id = a.account_id AND b.cycle_start = c.start_at JOIN scopes s ON s.account_id = b.account_id AND s.id = b.scope_id AND s.section_id = c.section_id
			WHERE a.crossings_version < a.version AND b.allocation IS NOT NULL AND b.scope_id <> ALL($5)`, accounts, sections, scopes, cycles, charged, r.now)
	if err != nil {
		return err
	}
	more, err := pgx.CollectRows(rows, scanTouched)
	r.touched = append(r.touched, more...)
	return err
}

// tree names the tree that the balance is in.
func (t *touched) tree() balances.TreeKey {
	return balances.TreeKey{Account: t.account, Section: t.section, CycleStart: t.cycle}
}

// loadTrees reads the trees that are not known as they are now, all at once.
func (r *round) loadTrees(ctx context.Context, versions map[int64]int64, changed []balances.TreeKey) error {
	if len(r.f.trees) >= treesMax {
		clear(r.f.trees)
	}
	missing := map[balances.TreeKey]bool{}
	keys := changed[:len(changed):len(changed)]
	for i := range r.touched {
		keys = append(keys, r.touched[i].tree())
	}
	for _, key := range keys {
		if c := r.f.trees[key]; c == nil || c.version != versions[key.Account] || !r.now.Before(c.Until) {
			missing[key] = true
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

// compare raises what was crossed since the balance was looked at last, and remembers what it was compared with.
func (r *round) compare(batch *pgx.Batch, t *touched, tree *cachedTree) {
	eff := tree.Effective[t.scope]
	var now *int64
	if eff.Own && eff.Limited {
		v := int64(eff.Allocation)
		now = &v
	}
	if now == nil && t.allocationBefore == nil {
		return
	}
	if t.allocationBefore == nil || now == nil || *now != *t.allocationBefore {
		batch.Queue(`UPDATE balances SET allocation = $3 WHERE scope_id = $1 AND cycle_start = to_timestamp($2)`, t.scope, t.cycle, now)
	}
	if now == nil {
		return
	}
	for _, percent := range tree.Thresholds {
		before := t.allocationBefore != nil && allocation.Reached(t.usedBefore, credit.Amount(*t.allocationBefore), percent)
		if !before && allocation.Reached(t.used, eff.Allocation, percent) {
			r.crossing(batch, t, tree, eff, percent)
		}
	}
}
