package tidy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root          = "../.."
	module        = "github.com/alchemi/cockpit/"
	fileLinesMax  = 500 // more is two files
	funcLinesMax  = 70  // more does not fit a screen
	generatedMark = "// Code generated"
)

// mayImport is the architecture's matrix: imports point upstream, towards where the data came from.
// The first matching prefix of a package decides.
var mayImport = []struct {
	pkg     string
	allowed []string
	why     string
}{
	{"schemas", []string{"schemas"}, "shapes that cross a boundary know nothing of who uses them"},
	{"ingest", []string{"schemas", "ingest"}, "the way in does not know what becomes of an event"},
	{"metering/credit", []string{"schemas", "metering/credit"}, "pure"},
	{"metering", []string{"schemas", "ingest", "metering"}, "metering decides; nothing downstream may steer it"},
	{"rollups", []string{"schemas", "ingest", "metering", "rollups"}, "rollups follow the journal"},
	{"alerts", []string{"schemas", "metering", "alerts"}, "alerts and rollups never import each other"},
	{"control", []string{"schemas", "ingest", "metering", "rollups", "alerts", "control", "internal/outgoing"}, "the API stands on everything"},
	{"cmd", []string{""}, "the only wiring"},
	{"deploy", []string{"deploy"}, "data"},
	{"internal/verify", []string{"schemas", "internal/verify"}, "books that share code with the path prove nothing"},
	{"internal/bench", []string{""}, "measures the path itself"},
	{"internal/interop", []string{"deploy", "internal/engine"}, "runs the built program from outside"},
	{"internal/journey", []string{""}, "tests the path from end to end"},
	{"internal/faults", []string{""}, "breaks the program from outside, and makes its traffic"},
	{"internal/faultpoint", nil, "is called from everywhere, so it knows nothing"},
	{"internal/schedules", []string{""}, "tests metering in virtual time"},
	{"internal/engine", []string{"schemas", "deploy", "internal/engine"}, "engines know nothing of the product"},
	{"internal", []string{"schemas", "deploy", "internal"}, "private ground under everything"},
}

// pure packages may not reach a store, a broker or a clock: what they decide must be a function of what they are given.
var pure = map[string][]string{
	"control/access": impure, "metering/credit": impure, "metering/price": impure, "metering/allocation": impure, "metering/dedupe": impure, "metering/decide": impure,
}

var impure = []string{"github.com/jackc", "github.com/twmb/franz-go", "net/http", "database/sql"}

var badNames = []string{"util", "utils", "common", "helpers", "models", "types", "base", "misc"}

type file struct {
	path, dir string // below the repository's root, slashes
	text      string
	ast       *ast.File
	set       *token.FileSet
}

// test says whether the file is no part of the product.
func (f *file) test() bool {
	return strings.HasSuffix(f.path, "_test.go") || f.dir == "control/controltest"
}

func tree(t *testing.T) []*file {
	t.Helper()
	var files []*file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || path != root && strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(string(text), generatedMark) {
			return nil
		}
		f := &file{text: string(text), set: token.NewFileSet()}
		rel, _ := filepath.Rel(root, path)
		f.path, f.dir = filepath.ToSlash(rel), filepath.ToSlash(filepath.Dir(rel))
		f.ast, err = parser.ParseFile(f.set, path, text, parser.ParseComments)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 5 {
		t.Fatalf("only %d Go files below %s: the test looks in the wrong place", len(files), root)
	}
	return files
}

func TestNamesAndSizes(t *testing.T) {
	t.Parallel()
	for _, f := range tree(t) {
		if slices.Contains(badNames, f.ast.Name.Name) {
			t.Errorf("%s: a package named %s says nothing of what it owns", f.path, f.ast.Name.Name)
		}
		if n := strings.Count(f.text, "\n"); n > fileLinesMax {
			t.Errorf("%s: %d lines, at most %d", f.path, n, fileLinesMax)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.set.Position(fn.End()).Line - f.set.Position(fn.Pos()).Line + 1; n > funcLinesMax {
				t.Errorf("%s: %s has %d lines, at most %d", f.path, fn.Name.Name, n, funcLinesMax)
			}
			if fn.Name.Name == "init" && fn.Recv == nil {
				t.Errorf("%s: init hides work from main; pass things in", f.path)
			}
		}
	}
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, f := range tree(t) {
		if f.test() {
			continue
		}
		documented[f.dir] = documented[f.dir] || f.ast.Doc != nil && len(f.ast.Doc.Text()) > 80
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment (what it owns, its invariants, how it fails)", dir)
		}
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, f := range tree(t) {
		for _, im := range f.ast.Imports {
			path := strings.Trim(im.Path.Value, `"`)
			checkPure(t, f, path)
			own, ok := strings.CutPrefix(path, module)
			if slices.Contains(forTests, own) && !f.test() {
				t.Errorf("%s: may not import %s: it is for tests", f.path, own)
			}
			if !ok || own == "internal/faultpoint" || f.test() && (strings.HasPrefix(own, "internal/testkit") || strings.HasPrefix(own, "internal/engine") || own == "deploy") {
				continue
			}
			checkMatrix(t, f, own)
		}
	}
}

func checkPure(t *testing.T, f *file, path string) {
	t.Helper()
	for _, bad := range pure[f.dir] {
		if !f.test() && strings.HasPrefix(path, bad) {
			t.Errorf("%s: imports %s, but %s is pure", f.path, path, f.dir)
		}
	}
	if path == "github.com/gin-gonic/gin" && !strings.HasPrefix(f.dir, "control") && !strings.HasPrefix(f.dir, "ingest/collector") && f.dir != "cmd/cockpit" && f.dir != "internal/bench" {
		t.Errorf("%s: gin belongs to control and the ingest collector", f.path)
	}
}

func checkMatrix(t *testing.T, f *file, own string) {
	t.Helper()
	for _, rule := range mayImport {
		if f.dir != rule.pkg && !strings.HasPrefix(f.dir, rule.pkg+"/") {
			continue
		}
		if f.dir == "control/controltest" || slices.Contains(forTests, own) {
			return
		}
		ok := slices.ContainsFunc(rule.allowed, func(a string) bool {
			return a == "" || own == a || strings.HasPrefix(own, a+"/")
		})
		a, b := noun(f.dir), noun(own)
		if name := strings.TrimPrefix(f.dir, "control/"); slices.Contains(ground, name) && b != "" {
			t.Errorf("%s: may not import %s: the ground knows no noun", f.path, own)
		}
		if !ok || a != "" && b != "" && a != b {
			t.Errorf("%s: may not import %s: %s", f.path, own, rule.why)
		}
		return
	}
	t.Errorf("%s: %s is in no row of the import matrix", f.path, f.dir)
}

// forTests are packages that only tests import, and that may import what tests may.
var forTests = []string{"metering/journal/journaltest", "control/controltest", "control/provisioning/zitadeltest"}

// ground are the packages of control that the nouns stand on, and that know no noun.
var ground = []string{"access", "api", "audit", "imports", "jobs", "naming", "pause", "provisioning", "secrets", "sheet", "signin"}

// noun is the X of control/X; the nouns never import each other.
func noun(dir string) string {
	rest, ok := strings.CutPrefix(dir, "control/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	if slices.Contains(ground, name) {
		return ""
	}
	return name
}

func TestNoFloatsInMetering(t *testing.T) {
	t.Parallel()
	for _, f := range tree(t) {
		if !strings.HasPrefix(f.dir, "metering") || f.test() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && (id.Name == "float64" || id.Name == "float32") {
				t.Errorf("%s:%d: money is exact: no floats in metering", f.path, f.set.Position(n.Pos()).Line)
			}
			return true
		})
	}
}

var traces = regexp.MustCompile(`(?i)(/root/|/work/|/home/[a-z]+/|registry\.npmjs\.org|proxy\.golang\.org|repo1?\.maven|files\.pythonhosted)`)

func TestNothingOfTheMachine(t *testing.T) {
	t.Parallel()
	for _, f := range tree(t) {
		if f.dir == "internal/tidy" {
			continue
		}
		if m := traces.FindString(f.text); m != "" {
			t.Errorf("%s: names %q: no machine's paths and no registry hosts", f.path, m)
		}
	}
}
