package fold

import (
	"context"
	"fmt"
	"time"

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

type treeKey struct{ account, section, cycle int64 }

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
	seen := map[balances.Key]bool{}
	for i := range r.touched {
		seen[balances.Key{Scope: r.touched[i].scope, CycleStart: r.touched[i].cycle}] = true
	}
	if err := r.balancesOfChanged(ctx, seen); err != nil {
		return err
	}
	batch := &pgx.Batch{}
	for i := range r.touched {
		t := &r.touched[i]
		tree, err := r.tree(ctx, t, versions[t.account])
		if err != nil {
			return err
		}
		r.compare(batch, t, tree)
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

// balancesOfChanged adds the current balances of accounts that changed.
func (r *round) balancesOfChanged(ctx context.Context, seen map[balances.Key]bool) error {
	rows, err := r.tx.Query(ctx, `SELECT b.account_id, s.section_id, b.scope_id, extract(epoch FROM b.cycle_start)::bigint, b.used, b.used, b.allocation
		FROM accounts a JOIN balances b USING (account_id) JOIN scopes s ON s.account_id = b.account_id AND s.id = b.scope_id
		JOIN cycles c ON c.account_id = b.account_id AND c.section_id = s.section_id AND c.start_at = b.cycle_start
		WHERE a.crossings_version < a.version AND c.end_at > $1`, r.now)
	if err != nil {
		return err
	}
	more, err := pgx.CollectRows(rows, scanTouched)
	for _, t := range more {
		if !seen[balances.Key{Scope: t.scope, CycleStart: t.cycle}] {
			r.touched = append(r.touched, t)
		}
	}
	return err
}

func (r *round) tree(ctx context.Context, t *touched, version int64) (*cachedTree, error) {
	key := treeKey{t.account, t.section, t.cycle}
	if c := r.f.trees[key]; c != nil && c.version == version && r.now.Before(c.Until) {
		return c, nil
	}
	tree, err := balances.LoadTree(ctx, r.tx, t.account, t.section, r.now, time.Unix(t.cycle, 0))
	if err != nil {
		return nil, err
	}
	c := &cachedTree{Tree: tree, version: version, scopes: make(map[int64]balances.Scope, len(tree.Scopes))}
	for _, s := range tree.Scopes {
		c.scopes[s.ID] = s
	}
	if len(r.f.trees) >= treesMax {
		clear(r.f.trees)
	}
	r.f.trees[key] = c
	return c, nil
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
