package balances

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/jackc/pgx/v5"
)

// Scope is a node as people see it.
type Scope struct {
	ID, Parent int64
	Kind       string // account, organization, team, membership, user
	Key        string // of memberships and users the user's key, of the account its own
	Name       string
}

// Tree is one section of an account at an instant: its scopes and what they may spend.
type Tree struct {
	*allocation.Tree
	Scopes      []Scope // parents before their children
	Thresholds  []int   // percents, of the root plan
	Enforcement string  // stop or notify
	Until       time.Time
}

// TreeKey names a section of an account in a cycle, which says what rollover counts.
type TreeKey struct {
	Account, Section int64
	CycleStart       int64 // Unix s
}

// Which scopes a tree is made of.
type Extent bool

const (
	AllScopes Extent = true
	// Limiting leaves out memberships and users' rows that nothing limits by themselves: most of them, and none that could
	// cross a threshold.
	Limiting Extent = false
)

// LoadTree reads one section as it is at an instant. Tree.Until is when an override ends or begins next.
func LoadTree(ctx context.Context, tx pgx.Tx, account, section int64, at, cycleStart time.Time) (*Tree, error) {
	key := TreeKey{account, section, cycleStart.Unix()}
	trees, err := LoadTrees(ctx, tx, []TreeKey{key}, at, AllScopes)
	return trees[key], err
}

// LoadTrees reads many sections at once, as they are at an instant.
func LoadTrees(ctx context.Context, tx pgx.Tx, keys []TreeKey, at time.Time, extent Extent) (map[TreeKey]*Tree, error) {
	l := treeLoader{tx: tx, at: at, byScope: map[scopeOf]*allocation.Scope{}, sets: map[TreeKey]*scopeSet{}}
	for _, k := range keys {
		l.accounts, l.sections, l.cycles = append(l.accounts, k.Account), append(l.sections, k.Section), append(l.cycles, k.CycleStart)
		l.sets[k] = &scopeSet{tree: &Tree{Until: allocation.Forever}}
	}
	for _, read := range []func(context.Context) error{l.plans, func(ctx context.Context) error { return l.scopes(ctx, extent) }, l.amounts} {
		if err := read(ctx); err != nil {
			return nil, fmt.Errorf("load trees: %w", err)
		}
	}
	out := make(map[TreeKey]*Tree, len(keys))
	for k, set := range l.sets {
		if set.tree.Enforcement == "" {
			return nil, fmt.Errorf("account %d has no plan in section %d", k.Account, k.Section)
		}
		var err error
		if set.tree.Tree, err = set.evaluate(); err != nil {
			return nil, fmt.Errorf("the tree of account %d, section %d: %w", k.Account, k.Section, err)
		}
		out[k] = set.tree
	}
	return out, nil
}

// scopeSet is a tree while it is read.
type scopeSet struct {
	tree  *Tree
	nodes []*allocation.Scope
}

func (s *scopeSet) evaluate() (*allocation.Tree, error) {
	scopes := make([]allocation.Scope, len(s.nodes))
	depth := make(map[int64]int, len(s.nodes))
	for i, n := range s.nodes {
		scopes[i] = *n
	}
	tree, err := allocation.Evaluate(scopes)
	if err != nil {
		return nil, err
	}
	parents := make(map[int64]int64, len(scopes))
	for _, sc := range s.tree.Scopes {
		parents[sc.ID] = sc.Parent
	}
	for _, sc := range s.tree.Scopes {
		for p := sc.Parent; p != 0; p = parents[p] {
			depth[sc.ID]++
		}
	}
	slices.SortStableFunc(s.tree.Scopes, func(a, b Scope) int {
		return cmp.Or(cmp.Compare(depth[a.ID], depth[b.ID]), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return tree, nil
}

// scopeOf is a scope in the cycle of one of the keys.
type scopeOf struct{ scope, cycle int64 }

type treeLoader struct {
	tx                         pgx.Tx
	at                         time.Time
	accounts, sections, cycles []int64
	sets                       map[TreeKey]*scopeSet
	byScope                    map[scopeOf]*allocation.Scope
}

// wanted is the keys as a table; every query begins with it.
const wanted = `WITH k AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS k(account_id, section_id, cycle)) `

func (l *treeLoader) query(ctx context.Context, sql string, dest []any, row func() error, args ...any) error {
	rows, err := l.tx.Query(ctx, wanted+sql, append([]any{l.accounts, l.sections, l.cycles}, args...)...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, dest, row)
	return err
}

func (l *treeLoader) plans(ctx context.Context) error {
	var k TreeKey
	var thresholds []int
	var enforcement string
	return l.query(ctx, `SELECT k.account_id, k.section_id, k.cycle, v.thresholds, v.enforcement FROM k JOIN account_sections s USING (account_id, section_id)
		JOIN LATERAL (SELECT v.* FROM scope_plans sp JOIN budget_plan_versions v USING (plan_id)
			WHERE sp.account_id = s.account_id AND sp.scope_id = s.root_scope_id ORDER BY sp.valid_from DESC, v.id DESC LIMIT 1) v ON true`,
		[]any{&k.Account, &k.Section, &k.CycleStart, &thresholds, &enforcement}, func() error {
			t := l.sets[k].tree
			t.Thresholds, t.Enforcement = slices.Clone(thresholds), enforcement
			return nil
		})
}

func (l *treeLoader) scopes(ctx context.Context, extent Extent) error {
	var k TreeKey
	var s Scope
	// Ended organizations, teams and memberships stay, below nothing, so that what was charged to them is seen.
	sql := `SELECT k.account_id, k.section_id, k.cycle, s.id, coalesce(p.parent_id, 0), s.kind, coalesce(s.key, u.key, a.key), coalesce(s.name, u.name, a.name)
		FROM k JOIN scopes s USING (account_id, section_id) JOIN accounts a USING (account_id)
		LEFT JOIN users u ON u.account_id = s.account_id AND u.id = s.user_id
		LEFT JOIN scope_parents p ON p.account_id = s.account_id AND p.scope_id = s.id AND p.valid_from <= $4 AND p.valid_to > $4`
	if extent == Limiting {
		sql += ` WHERE s.kind NOT IN ('membership', 'user') OR s.id IN (SELECT x.scope_id FROM k JOIN allocations x USING (account_id)
			UNION ALL SELECT x.scope_id FROM k JOIN caps x USING (account_id) UNION ALL SELECT x.scope_id FROM k JOIN overrides x USING (account_id))`
	}
	return l.query(ctx, sql, []any{&k.Account, &k.Section, &k.CycleStart, &s.ID, &s.Parent, &s.Kind, &s.Key, &s.Name}, func() error {
		set := l.sets[k]
		node := &allocation.Scope{ID: s.ID, Parent: s.Parent}
		set.tree.Scopes, set.nodes = append(set.tree.Scopes, s), append(set.nodes, node)
		l.byScope[scopeOf{s.ID, k.CycleStart}] = node
		return nil
	}, l.at)
}

// amounts reads allocations, caps, overrides and rollovers; of each scope the newest row that holds.
func (l *treeLoader) amounts(ctx context.Context) error {
	var k TreeKey
	var scope int64
	var kind string
	var amount *int64
	dest := []any{&k.Account, &k.Section, &k.CycleStart, &scope, &kind, &amount}
	set := func(f func(*allocation.Scope)) func() error {
		return func() error {
			if node := l.byScope[scopeOf{scope, k.CycleStart}]; node != nil {
				f(node)
			}
			return nil
		}
	}
	const newest = `SELECT DISTINCT ON (k.cycle, x.scope_id) k.account_id, k.section_id, k.cycle, x.scope_id, %s, x.amount FROM k JOIN scopes s USING (account_id, section_id)
		JOIN %s x ON x.account_id = s.account_id AND x.scope_id = s.id %s ORDER BY k.cycle, x.scope_id, x.id DESC`
	err := l.query(ctx, fmt.Sprintf(newest, "x.kind", "allocations", "AND x.valid_from <= $4"), dest, set(func(n *allocation.Scope) {
		n.Planned = map[string]allocation.Planned{"fixed": allocation.Fixed, "equal": allocation.Equal}[kind]
		if amount != nil {
			n.Amount = credit.Amount(*amount)
		}
	}), l.at)
	if err != nil {
		return err
	}
	if err := l.query(ctx, fmt.Sprintf(newest, "''", "caps", "AND x.valid_from <= $4"), dest, set(func(n *allocation.Scope) { n.Cap = micros(amount) }), l.at); err != nil {
		return err
	}
	if err := l.query(ctx, fmt.Sprintf(newest, "''", "rollovers", "AND x.to_cycle = to_timestamp(k.cycle)"), dest, set(func(n *allocation.Scope) { n.Rollover = credit.Amount(*amount) })); err != nil {
		return err
	}
	return l.overrides(ctx)
}

func (l *treeLoader) overrides(ctx context.Context) error {
	var k TreeKey
	var scope, amount int64
	var kind string
	var from time.Time
	var until *time.Time
	return l.query(ctx, `SELECT k.account_id, k.section_id, k.cycle, x.scope_id, x.kind, x.amount, x.valid_from, nullif(x.valid_until, 'infinity')
		FROM k JOIN scopes s USING (account_id, section_id) JOIN overrides x ON x.account_id = s.account_id AND x.scope_id = s.id AND x.valid_until > $4 ORDER BY x.id`,
		[]any{&k.Account, &k.Section, &k.CycleStart, &scope, &kind, &amount, &from, &until}, func() error {
			node, tree := l.byScope[scopeOf{scope, k.CycleStart}], l.sets[k].tree
			change := until
			if from.After(l.at) {
				change = &from
			}
			if change != nil && change.Before(tree.Until) {
				tree.Until = *change
			}
			switch {
			case node == nil || from.After(l.at):
			case kind == "cap":
				node.CapOverride = micros(&amount)
			default:
				node.Override = micros(&amount)
			}
			return nil
		}, l.at)
}

func micros(v *int64) *credit.Amount {
	if v == nil {
		return nil
	}
	a := credit.Amount(*v)
	return &a
}
