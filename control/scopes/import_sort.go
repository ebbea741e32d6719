package scopes

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
)

// treeLinesMax is how many lines a file of a tree has at most: they are in memory together.
const treeLinesMax = 100_000

// sortTree puts parents before what the file puts below them, and behind those what it deactivates, from below. Lines that stand below
// themselves are bad.
func sortTree(ctx context.Context, c *api.Call, lines []*imports.Line) ([]*imports.Line, error) {
	if len(lines) > treeLinesMax {
		return nil, api.NewProblem(http.StatusUnprocessableEntity, "too_many_lines", fmt.Sprintf("A file of organizations and teams has at most %d lines.", treeLinesMax))
	}
	s := sorter{nodes: map[string]*node{}, lines: make(map[string]*imports.Line, len(lines)), depths: make(map[string]int, len(lines)), on: map[string]int{}}
	if err := findNodes(ctx, c, s.nodes, true, teamsOf(lines)); err != nil {
		return nil, err
	}
	for _, l := range lines {
		if name := lineRef(l); !l.Bad() && s.lines[name] == nil {
			s.lines[name] = l
		}
	}
	order := func(l *imports.Line) int {
		if l.Bad() {
			return 0
		}
		d := s.depth(lineRef(l))
		if l.Cell(treeState) == "inactive" {
			return math.MaxInt - d
		}
		return d
	}
	places := make(map[*imports.Line]int, len(lines))
	for _, l := range lines {
		places[l] = order(l)
	}
	slices.SortStableFunc(lines, func(a, b *imports.Line) int { return cmp.Compare(places[a], places[b]) })
	return lines, nil
}

func lineRef(l *imports.Line) string {
	if l.Bad() {
		return ""
	}
	return ref(l.Cell(treeKind), l.Cell(treeKey))
}

// sorter finds out how deep each stands when the whole file is applied.
type sorter struct {
	nodes  map[string]*node
	lines  map[string]*imports.Line
	depths map[string]int
	path   []string       // of those whose depth is being found
	on     map[string]int // where they are on it
}

func (s *sorter) depth(name string) int {
	if d, known := s.depths[name]; known || name == "" {
		return d
	}
	if at, again := s.on[name]; again {
		s.circle(s.path[at:])
		return 0
	}
	s.on[name], s.path = len(s.path), append(s.path, name)
	d := s.depth(s.parent(name)) + 1
	s.path = s.path[:len(s.path)-1]
	delete(s.on, name)
	s.depths[name] = d
	return d
}

// parent is what stands above it then: what the file says, where it says anything.
func (s *sorter) parent(name string) string {
	if l := s.lines[name]; l != nil && l.Cells[treeParent] != nil && l.Cell(treeState) != "inactive" {
		return l.Cell(treeParent)
	}
	if n := s.nodes[name]; n != nil && n.parent != nil {
		return n.parent.ref()
	}
	return ""
}

func (s *sorter) circle(names []string) {
	var numbers []string
	var lines []*imports.Line
	for _, name := range names {
		if l := s.lines[name]; l != nil {
			lines, numbers = append(lines, l), append(numbers, fmt.Sprint(l.Number))
		}
	}
	for _, l := range lines {
		l.Fail("parent", "circle", "it would stand below itself, by the lines "+strings.Join(numbers[:min(len(numbers), lackingMax)], ", "))
	}
}
