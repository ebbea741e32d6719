package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
)

// What commands change is in the audit log like everything else, in the log of the account that it concerns.
func TestCommandsAreOnRecord(t *testing.T) {
	t.Parallel()
	database := testkit.Database(t)
	dir := t.TempDir()
	demo, keysFile := filepath.Join(dir, "demo.yaml"), filepath.Join(dir, "keys.json")
	if err := os.WriteFile(demo, deploy.Demo, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(env string, args ...string) (stderr string) {
		t.Helper()
		c := command(t, append(args, "--data", filepath.Join(dir, "none"))...)
		c.Env = append(c.Env, "COCKPIT_POSTGRES_URL="+database, env)
		var diagnostics strings.Builder
		c.Stderr = &diagnostics
		if err := c.Run(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, diagnostics.String())
		}
		return diagnostics.String()
	}
	if err := secrets.Create(keysFile); err != nil {
		t.Fatal(err)
	}
	env := "COCKPIT_KEYS_FILE=" + keysFile
	run(env, "apply", "-f", demo, "--dry-run")
	run(env, "apply", "-f", demo)
	run(env, "apply", "-f", demo) // no change, no entry
	run(env, "keys", "create", "gateway")
	run(env, "keys", "revoke", "1")
	if said := run("COCKPIT_KEYS_FILE=", "keys", "create", "unrecorded"); !strings.Contains(said, "not on record") {
		t.Errorf("without a key file it says nothing: %s", said)
	}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var entries string
	if err := conn.QueryRow(t.Context(), `SELECT string_agg(coalesce(a.key, '-') || ' ' || e.action || ' ' || e.object_name, ', ' ORDER BY e.at, e.id)
		FROM audit_entries e LEFT JOIN accounts a USING (account_id) WHERE e.actor->>'name' LIKE 'cli%' AND length(e.changes::text) >= 2`).Scan(&entries); err != nil {
		t.Fatal(err)
	}
	want := "- directory.applied , acme directory.applied acme, globex directory.applied globex, initech directory.applied initech, umbrella directory.applied umbrella, - key.created gateway, - key.revoked gateway"
	if entries != want {
		t.Errorf("on record:\n%s, want\n%s", entries, want)
	}
}
