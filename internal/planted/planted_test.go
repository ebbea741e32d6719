//go:build planted

package planted

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// atOnce bounds how many tests are built and run side by side: each brings stores of its own.
const atOnce = 2

// TestEveryBugIsCaught plants each bug (or that of BUG) and runs the test that must see it. It prints which did, and with what words.
func TestEveryBugIsCaught(t *testing.T) {
	t.Parallel()
	all := bugs(t)
	var mu sync.Mutex
	var table []string
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, b := range all {
		if one := os.Getenv("BUG"); one != "" && one != b.name {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			line, err := b.caught(t)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s: %v", b.name, err)
				return
			}
			table = append(table, line)
		})
	}
	wg.Wait()
	slices.Sort(table)
	t.Logf("%d of %d bugs are caught:\n%s", len(table), len(all), strings.Join(table, "\n"))
}

// TestWithoutBugsAllPass runs the same tests on the tree as it is.
func TestWithoutBugsAllPass(t *testing.T) {
	t.Parallel()
	type group struct{ in, tags string }
	tests := map[group][]string{}
	for _, b := range bugs(t) {
		g := group{b.in, b.tags}
		if !slices.Contains(tests[g], b.caughtBy) {
			tests[g] = append(tests[g], b.caughtBy)
		}
	}
	for g, of := range tests {
		var top, below []string // -run matches level by level
		for _, name := range of {
			first, rest, _ := strings.Cut(name, "/")
			top, below = append(top, regexp.QuoteMeta(first)), append(below, regexp.QuoteMeta(rest))
		}
		run := "^(" + strings.Join(top, "|") + ")$"
		if below[0] != "" {
			run += "/^(" + strings.Join(below, "|") + ")$"
		}
		out, err := runTests(g.in, g.tags, run, "")
		if err != nil {
			t.Errorf("%s fails without a bug: %v\n%s", g.in, err, out)
		}
		for _, name := range of {
			if !strings.Contains(out, "--- PASS: "+name+" ") {
				t.Errorf("%s: %s did not run", g.in, name)
			}
		}
	}
}

// caught runs the test with the bug. The error says that the bug was not seen, or not by a failing test.
func (b *bug) caught(t *testing.T) (line string, err error) {
	files, err := b.apply()
	if err != nil {
		return "", err
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range files {
		original, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			return "", err
		}
		changed := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o644); err != nil {
			return "", err
		}
		overlay.Replace[original] = changed
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return "", err
	}
	var levels []string
	for level := range strings.SplitSeq(b.caughtBy, "/") {
		levels = append(levels, "^"+regexp.QuoteMeta(level)+"$")
	}
	out, err := runTests(b.in, b.tags, strings.Join(levels, "/"), path)
	if err == nil {
		return "", fmt.Errorf("%s passes although %s", b.caughtBy, b.what)
	}
	if !strings.Contains(out, "--- FAIL: "+b.caughtBy+" ") {
		return "", fmt.Errorf("%s did not fail, but something did:\n%s", b.caughtBy, out)
	}
	return fmt.Sprintf("%-24s %-58s %s", b.name, b.caughtBy, firstMessage(out)), nil
}

// message is a line that t.Error wrote, or what stands in the line after it.
var message = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)$|^\s+\w+\.go:\d+: (.*)$`)

func firstMessage(out string) string {
	m := message.FindStringSubmatch(out)
	if m == nil {
		return ""
	}
	text := m[1] + m[2]
	if len(text) > 160 {
		text = text[:160] + "…"
	}
	return text
}

func runTests(in, tags, run, overlay string) (string, error) {
	args := []string{"test", "-count=1", "-v", "-timeout", "120s", "-run", run}
	if tags != "" {
		args = append(args, "-tags", tags)
	}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.Command("go", append(args, in)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}
