package scopes

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/alchemi/cockpit/metering/balances"
)

// treePlan is what a line makes of an organization or a team: what the node is then.
type treePlan struct {
	*node
	was         node // before
	made, moved bool // moved: to another parent, or to none
}

// treeJudge has the section's tree, with what the lines before have made of it.
type treeJudge struct {
	nodes   map[string]*node
	loaded  bool
	active  int // teams, of all sections
	made    int
	drawn   bool              // outline was loaded
	outline *balances.Outline // nil: nothing limits
	places  map[int64]int64   // of those that lines put elsewhere
	undo    []func()          // takes back what this page made of the tree
}

func (j *treeJudge) load(ctx context.Context, c *api.Call, lines []*imports.Line) error {
	if err := findNodes(ctx, c, j.nodes, !j.loaded, teamsOf(lines)); err != nil {
		return err
	}
	if err := findUsed(ctx, c, j.nodes, lines); err != nil {
		return err
	}
	if err := countBelow(ctx, c, j.nodes, lines); err != nil || j.loaded {
		return err
	}
	if j.loaded, j.places = true, map[int64]int64{}; c.Account.Limits.Teams == nil {
		return nil
	}
	return c.Tx.QueryRow(ctx, activeTeams, c.Account.ID).Scan(&j.active)
}

// lines judges a page as if nothing of it were short of credits, and only where that is not so line by line.
func (j *treeJudge) lines(ctx context.Context, c *api.Call, lines []*imports.Line) ([]*treePlan, error) {
	if err := j.load(ctx, c, lines); err != nil {
		return nil, err
	}
	j.undo = nil
	before := make([]imports.Verdict, len(lines))
	for i, l := range lines {
		before[i] = l.Verdict
	}
	plans := j.page(c, lines)
	lacking, err := j.lacking(ctx, c, plans)
	if err != nil || len(lacking) == 0 {
		return plans, err
	}
	j.takeBack()
	for i, l := range lines {
		l.Verdict = before[i]
		plans[i] = j.page(c, lines[i:i+1])[0]
		if lacking, err = j.lacking(ctx, c, plans[i:i+1]); err != nil {
			return nil, err
		}
		if len(lacking) > 0 {
			j.takeBack()
			l.Fail("parent", codeShort, short(lacking))
		}
		j.undo = nil
	}
	return plans, nil
}

func (j *treeJudge) takeBack() {
	for i := len(j.undo) - 1; i >= 0; i-- {
		j.undo[i]()
	}
	j.undo = nil
}

func (j *treeJudge) page(c *api.Call, lines []*imports.Line) []*treePlan {
	plans := make([]*treePlan, len(lines))
	for i, l := range lines {
		if !l.Bad() {
			plans[i] = j.line(c, l)
		}
	}
	return plans
}

// lacking says what is short of credits, if any of the plans moves what was there.
func (j *treeJudge) lacking(ctx context.Context, c *api.Call, plans []*treePlan) (_ []string, err error) {
	if !slices.ContainsFunc(plans, func(p *treePlan) bool { return p != nil && p.moved && !p.made && p.active() }) {
		return nil, nil
	}
	if !j.drawn {
		if j.outline, err = outline(ctx, c, c.Now); err != nil {
			return nil, err
		}
		j.drawn = true
	}
	if j.outline == nil {
		return nil, nil
	}
	return j.outline.Lacking(j.places)
}

// line judges a line, and makes of the tree what it says.
func (j *treeJudge) line(c *api.Call, l *imports.Line) *treePlan {
	kind := l.Cell(treeKind)
	if kind != api.OrganizationKind.Name && kind != api.TeamKind.Name {
		l.Fail("kind", api.CodeInvalid, "a kind is organization or team")
		return nil
	}
	n := j.nodes[ref(kind, l.Cell(treeKey))]
	if n != nil && n.used {
		l.Fail("key", "key_taken", "another one had this key before; name it by the one that it has")
		return nil
	}
	p := &treePlan{node: n}
	if n != nil {
		p.was = *n
	} else {
		p = &treePlan{node: &node{id: int64(-1 - j.made), kind: kind, key: l.Cell(treeKey)}, made: true}
		l.Action = imports.Create
		if !api.WellFormedKey(p.key) {
			l.Fail("key", api.CodeInvalid, api.KeyRule)
		}
	}
	name, parent := j.name(l, p), j.place(l, p)
	if limit := c.Account.Limits.Teams; limit != nil && j.begins(p, parent) && j.active >= *limit {
		l.Fail("", "limit_reached", fmt.Sprintf("the account may have %d active teams, and has them", *limit))
	}
	if l.Bad() {
		return nil
	}
	j.take(p, name, parent)
	return p
}

// begins says whether one team more is active when p stands below parent. What ends makes room for the next file.
func (j *treeJudge) begins(p *treePlan, parent *node) bool {
	return p.kind == api.TeamKind.Name && !p.active() && parent != nil
}

// name is what the line calls it.
func (j *treeJudge) name(l *imports.Line, p *treePlan) string {
	said := l.Cell(treeName)
	switch {
	case said == "" && p.made:
		l.Fail("name", "required", "a new "+p.kind+" needs a name")
	case said == "" || said == p.name:
		return p.name
	case utf8.RuneCountInString(said) > nameMax:
		l.Fail("name", api.CodeInvalid, fmt.Sprintf("a name has at most %d characters", nameMax))
	}
	l.Change("name")
	return said
}

// place is what the line puts it below; nil where it is inactive. It says in p whether that is another place.
func (j *treeJudge) place(l *imports.Line, p *treePlan) *node {
	state := l.Cell(treeState)
	if state == "" {
		if state = "inactive"; p.made || p.active() {
			state = "active"
		}
	}
	switch {
	case state == "inactive" && p.made:
		l.Fail("state", p.kind+"_inactive", "what is not there can't be made inactive")
	case state == "inactive" && !p.active():
	case state == "inactive" && p.below > 0:
		l.Fail("state", "not_empty", "organizations, teams or members stand below it still; move or end them first")
	case state == "inactive":
		p.moved = true
		l.Change("state")
	case state != "active":
		l.Fail("state", api.CodeInvalid, "a state is active or inactive")
	case l.Cells[treeParent] == nil && !p.made && p.active():
		return p.parent
	case l.Cells[treeParent] == nil && !p.made:
		l.Fail("parent", "required", "what is made active again needs a parent, or an empty cell for the account")
	default:
		return j.below(l, p)
	}
	return nil
}

// below is the parent that the line names, or the account where it names none.
func (j *treeJudge) below(l *imports.Line, p *treePlan) *node {
	kind, _, ok := splitRef(l.Cell(treeParent))
	parent := j.nodes[l.Cell(treeParent)]
	switch {
	case !ok || kind == api.TeamKind.Name:
		l.Fail("parent", api.CodeInvalid, "a parent is organization: and its key, or empty for the account")
	case parent == nil && kind == "":
		l.Fail("", "section_absent", "the account never had this section")
	case parent == nil || parent.used:
		l.Fail("parent", "parent_unknown", "there is no such organization, or its own line is bad")
	case !parent.active():
		l.Fail("parent", "organization_inactive", "the organization is inactive: nothing can stand below it")
	case !p.made && parent.within(p.node):
		l.Fail("parent", "circle", "it can't stand below itself")
	case parent != p.parent:
		if p.moved = true; !p.made && !p.active() {
			l.Change("state")
		}
		l.Change("parent")
	}
	return parent
}

// take makes of the tree what the plan says, so that it can be undone.
func (j *treeJudge) take(p *treePlan, name string, parent *node) {
	n, before := p.node, *p.node
	begins := 0
	if j.begins(p, parent) {
		begins = 1
	}
	j.active += begins
	if p.made {
		j.made++
		j.nodes[n.ref()] = n
	}
	at, moved := j.places[n.id]
	if n.name = name; p.moved {
		n.put(parent)
		j.places[n.id] = n.place()
	}
	j.undo = append(j.undo, func() {
		j.active -= begins
		if p.made {
			delete(j.nodes, n.ref())
		}
		if p.moved {
			n.put(before.parent)
		}
		if n.name = before.name; moved {
			j.places[n.id] = at
		} else {
			delete(j.places, n.id)
		}
	})
}
