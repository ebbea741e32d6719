package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/internal/testkit"
)

// on runs a command of the program on a database, and returns its output and exit code.
func on(t *testing.T, database, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := command(t, append(args, "--data", filepath.Join(t.TempDir(), "none"))...)
	c.Env = append(c.Env, "COCKPIT_POSTGRES_URL="+database)
	var out, diagnostics bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &diagnostics
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), diagnostics.String(), c.ProcessState.ExitCode()
}

// The exit codes and streams of apply, diff and export are those of the contract.
func TestDirectoryCommands(t *testing.T) {
	t.Parallel()
	database := testkit.Database(t)
	demo := filepath.Join(t.TempDir(), "demo.yaml")
	if err := os.WriteFile(demo, deploy.Demo, 0o600); err != nil {
		t.Fatal(err)
	}
	expect := func(want int, in string, args ...string) string {
		t.Helper()
		stdout, stderr, code := on(t, database, in, args...)
		if code != want {
			t.Fatalf("%q exits with %d, want %d\n%s\n%s", args, code, want, stdout, stderr)
		}
		return stdout
	}
	if out := expect(1, "", "diff", "-f", demo); !strings.Contains(out, "account acme: added") {
		t.Errorf("diff of an empty database: %s", out)
	}
	expect(0, "", "apply", "-f", demo, "--dry-run")
	expect(1, "", "diff", "-f", demo) // neither changed anything
	expect(0, "", "apply", "-f", demo)
	expect(0, "", "diff", "-f", demo)
	exported := expect(0, "", "export")
	expect(0, exported, "diff", "-f", "-")
	if out := expect(0, exported, "apply", "-f", "-", "--prune", "--json"); out != "" {
		t.Errorf("applying the export changed %s", out)
	}
	expect(0, expect(0, "", "export", "--account", "acme"), "diff", "-f", "-")
	expect(1, "", "export", "--account", "nobody")
	expect(1, "version: 2", "diff", "-f", "-")
	expect(1, "", "diff", "-f", filepath.Join(t.TempDir(), "missing.yaml"))
	expect(2, "", "diff")
	expect(2, "", "apply", "-f", demo, "more")
	expect(2, "", "export", "--acount", "acme")
}
