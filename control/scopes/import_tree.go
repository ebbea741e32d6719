package scopes

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/jackc/pgx/v5"
)

// The columns of a file of a section's tree, by their places.
const (
	treeKind = iota
	treeKey
	treeName
	treeParent
	treeState
)

var treeColumns = []imports.Column{treeKind: {Name: "kind", Required: true}, treeKey: {Name: "key", Required: true}, treeName: {Name: "name"}, treeParent: {Name: "parent"}, treeState: {Name: "state"}}

var treeFiles = imports.Kind[*treePlan]{Name: "teams", Columns: treeColumns, Fills: []string{"scopes", "scope_parents"}, Sort: sortTree, Apply: applyTree,
	Claims: func(l *imports.Line) []string {
		return []string{imports.Claim("key", ref(l.Cell(treeKind), l.Cell(treeKey)))}
	},
	Judge: func() imports.Judge[*treePlan] { return (&treeJudge{nodes: map[string]*node{}}).lines }}

// ref names a scope as files do; the account's own is "".
func ref(kind, key string) string {
	if kind == "" || kind == "account" {
		return ""
	}
	return kind + ":" + key
}

// splitRef reads a ref.
func splitRef(cell string) (kind, key string, ok bool) {
	kind, key, ok = strings.Cut(cell, ":")
	return kind, key, ok && (kind == api.OrganizationKind.Name || kind == api.TeamKind.Name) || cell == ""
}

// node is a scope of the tree as it is after the lines that were judged: an organization, a team, or the account's own.
type node struct {
	id        int64 // below 0: it is to be made
	kind, key string
	name      string
	used      bool  // it is only a name that another one had before
	parent    *node // nil of the account's own, and of what is inactive
	below     int   // how many stand below it: more or less than in the directory, until countBelow
}

func (n *node) ref() string  { return ref(n.kind, n.key) }
func (n *node) active() bool { return n.parent != nil || n.kind == "account" }
func (n *node) place() (p int64) {
	if n.parent != nil {
		p = n.parent.id
	}
	return p
}

// put gives n another parent.
func (n *node) put(parent *node) {
	if n.parent != nil {
		n.parent.below--
	}
	if n.parent = parent; parent != nil {
		parent.below++
	}
}

// within says whether n is other, or stands below it.
func (n *node) within(other *node) bool {
	for ; n != nil; n = n.parent {
		if n == other {
			return true
		}
	}
	return false
}

// findNodes reads all organizations of the section, and the teams that are named, into nodes; those that are there stay as they are.
func findNodes(ctx context.Context, c *api.Call, nodes map[string]*node, organizations bool, teams []string) error {
	rows, err := c.Tx.Query(ctx, `SELECT s.id, s.kind, coalesce(s.key, ''), coalesce(s.name, s.key, a.name),
			coalesce((SELECT p.parent_id FROM scope_parents p WHERE p.account_id = $1 AND p.scope_id = s.id AND p.valid_to = 'infinity'), 0)
		FROM (SELECT * FROM scopes WHERE account_id = $1 AND section_id = $2 AND kind = 'organization' AND key IS NOT NULL AND $3
			UNION ALL SELECT * FROM scopes WHERE account_id = $1 AND section_id = $2 AND kind = 'account' AND $3
			UNION ALL SELECT * FROM scopes WHERE account_id = $1 AND section_id = $2 AND kind = 'team' AND key = ANY($4)) s, accounts a WHERE a.account_id = $1`,
		c.Account.ID, c.Section.ID, organizations, teams)
	if err != nil {
		return err
	}
	byID, parents := map[int64]*node{}, map[*node]int64{}
	for _, n := range nodes {
		if !n.used {
			byID[n.id] = n
		}
	}
	var row node
	var parent int64
	_, err = pgx.ForEachRow(rows, []any{&row.id, &row.kind, &row.key, &row.name, &parent}, func() error {
		if nodes[row.ref()] == nil {
			n := row
			nodes[n.ref()], byID[n.id], parents[&n] = &n, &n, parent
		}
		return nil
	})
	for n, parent := range parents {
		n.parent = byID[parent]
	}
	return err
}

// findUsed puts a node for each key that lines name and that another organization or team had before.
func findUsed(ctx context.Context, c *api.Call, nodes map[string]*node, lines []*imports.Line) error {
	var kinds, keys []string
	for _, l := range lines {
		if !l.Bad() && nodes[lineRef(l)] == nil {
			kinds, keys = append(kinds, l.Cell(treeKind)), append(keys, l.Cell(treeKey))
		}
	}
	rows, err := c.Tx.Query(ctx, `SELECT n.kind, n.key FROM unnest($3::text[], $4::text[]) AS n(kind, key)
		WHERE EXISTS (SELECT FROM key_aliases a WHERE a.account_id = $1 AND a.section_id = $2 AND a.kind = n.kind AND a.key = n.key)`, c.Account.ID, c.Section.ID, kinds, keys)
	if err != nil {
		return err
	}
	var kind, key string
	_, err = pgx.ForEachRow(rows, []any{&kind, &key}, func() error {
		nodes[ref(kind, key)] = &node{kind: kind, key: key, used: true}
		return nil
	})
	return err
}

// countBelow finds out how many stand below those that lines make inactive.
func countBelow(ctx context.Context, c *api.Call, nodes map[string]*node, lines []*imports.Line) error {
	ended := map[int64]*node{}
	for _, l := range lines {
		if n := nodes[lineRef(l)]; n != nil && !l.Bad() && l.Cell(treeState) == "inactive" {
			ended[n.id] = n
		}
	}
	if len(ended) == 0 {
		return nil
	}
	rows, err := c.Tx.Query(ctx, `SELECT parent_id, count(*) FROM scope_parents WHERE account_id = $1 AND valid_to = 'infinity' AND parent_id = ANY($2) GROUP BY parent_id`,
		c.Account.ID, slices.Collect(maps.Keys(ended)))
	if err != nil {
		return err
	}
	var parent int64
	var below int
	_, err = pgx.ForEachRow(rows, []any{&parent, &below}, func() error { ended[parent].below += below; return nil })
	return err
}

// teamsOf are the keys of teams that lines are about.
func teamsOf(lines []*imports.Line) (keys []string) {
	for _, l := range lines {
		if !l.Bad() && l.Cell(treeKind) == api.TeamKind.Name {
			keys = append(keys, l.Cell(treeKey))
		}
	}
	return keys
}
