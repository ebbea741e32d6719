package planted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// bug is a patch with what its headers say.
type bug struct {
	name     string
	what     string
	caughtBy string // a test, as -run names it
	in       string // its package
	tags     string
	hunks    []hunk
}

// hunk replaces lines of a file. Where they stand is found by what they say: the numbers of a diff go stale with every edit above.
type hunk struct {
	file     string // below the root
	old, new string
}

func bugs(t *testing.T) (all []bug) {
	t.Helper()
	paths, err := filepath.Glob("bugs/*.patch")
	if err != nil || len(paths) < 14 {
		t.Fatalf("%d patches: %v", len(paths), err)
	}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		b := parse(strings.TrimSuffix(filepath.Base(p), ".patch"), string(text))
		if b.what == "" || b.caughtBy == "" || b.in == "" || len(b.hunks) == 0 {
			t.Errorf("%s: a patch has the headers bug, caught by and in, and a diff", p)
		}
		all = append(all, b)
	}
	return all
}

func parse(name, text string) bug {
	b := bug{name: name}
	var file string
	for line := range strings.Lines(text) {
		header := func(key string, to *string) {
			if v, ok := strings.CutPrefix(line, "# "+key+": "); ok {
				*to = strings.TrimSpace(v)
			}
		}
		header("bug", &b.what)
		header("caught by", &b.caughtBy)
		header("in", &b.in)
		header("tags", &b.tags)
		last := len(b.hunks) - 1
		switch {
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "--- "):
		case strings.HasPrefix(line, "+++ b/"):
			file = strings.TrimSpace(strings.TrimPrefix(line, "+++ b/"))
		case strings.HasPrefix(line, "@@"):
			b.hunks = append(b.hunks, hunk{file: file})
		case last >= 0 && line[0] == '-':
			b.hunks[last].old += line[1:]
		case last >= 0 && line[0] == '+':
			b.hunks[last].new += line[1:]
		case last >= 0:
			b.hunks[last].old += line[1:]
			b.hunks[last].new += line[1:]
		}
	}
	return b
}

// apply returns the files with the bug in them, by their paths below the root.
func (b *bug) apply() (map[string]string, error) {
	files := map[string]string{}
	for _, h := range b.hunks {
		if _, ok := files[h.file]; !ok {
			text, err := os.ReadFile(filepath.Join(root, h.file))
			if err != nil {
				return nil, err
			}
			files[h.file] = string(text)
		}
		if n := strings.Count(files[h.file], h.old); n != 1 {
			return nil, fmt.Errorf("these lines are %d times in %s, and must be once:\n%s", n, h.file, h.old)
		}
		files[h.file] = strings.Replace(files[h.file], h.old, h.new, 1)
	}
	return files, nil
}

// To refresh a patch that does not apply: change the product as the bug would, `git diff -U1`, put the diff under the headers of the patch,
// and take the change back.
func TestPatchesApply(t *testing.T) {
	t.Parallel()
	for _, b := range bugs(t) {
		if _, err := b.apply(); err != nil {
			t.Errorf("%s: %v", b.name, err)
		}
		test, _, _ := strings.Cut(b.caughtBy, "/")
		if !declared(t, filepath.Join(root, b.in), test) {
			t.Errorf("%s: %s has no %s", b.name, b.in, test)
		}
	}
}

func declared(t *testing.T, dir, test string) bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "func "+test+"(t *testing.T)") {
			return true
		}
	}
	return false
}
