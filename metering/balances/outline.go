package balances

import (
	"context"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/jackc/pgx/v5"
)

// Outline is what limits in a section's tree, to see what it would be if scopes stood elsewhere.
type Outline struct {
	scopes []allocation.Scope
	names  map[int64]Scope
}

// LoadOutline reads it as it is at an instant.
func LoadOutline(ctx context.Context, tx pgx.Tx, key TreeKey, at time.Time) (*Outline, error) {
	l := treeLoader{tx: tx, at: at, byScope: map[scopeOf]*allocation.Scope{}, sets: map[TreeKey]*scopeSet{key: {tree: &Tree{Until: allocation.Forever}}},
		accounts: []int64{key.Account}, sections: []int64{key.Section}, cycles: []int64{key.CycleStart}}
	if err := l.scopes(ctx, Limiting); err != nil {
		return nil, fmt.Errorf("load an outline: %w", err)
	}
	if err := l.amounts(ctx); err != nil {
		return nil, fmt.Errorf("load an outline: %w", err)
	}
	set := l.sets[key]
	o := &Outline{names: make(map[int64]Scope, len(set.nodes))}
	for i, node := range set.nodes {
		o.scopes, o.names[node.ID] = append(o.scopes, *node), set.tree.Scopes[i]
	}
	return o, nil
}

// Lacking are the scopes that would lack something with some below other parents, and how much. A scope that is not there is
// added, with nothing set aside for it.
func (o *Outline) Lacking(parents map[int64]int64) (lacking []string, err error) {
	scopes, placed := make([]allocation.Scope, 0, len(o.scopes)), make(map[int64]bool, len(parents))
	for _, s := range o.scopes {
		if parent, moved := parents[s.ID]; moved {
			s.Parent, placed[s.ID] = parent, true
		}
		scopes = append(scopes, s)
	}
	for id, parent := range parents {
		if !placed[id] {
			scopes = append(scopes, allocation.Scope{ID: id, Parent: parent})
		}
	}
	tree, err := allocation.Evaluate(scopes)
	if err != nil {
		return nil, err
	}
	for _, s := range tree.Shortfalls {
		lacking = append(lacking, fmt.Sprintf("%s %s lacks %s", o.names[s.Scope].Kind, o.names[s.Scope].Key, s.Missing))
	}
	return lacking, nil
}
