package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/provisioning/zitadeltest"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
)

func TestSettingsOfProvisioning(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string][]byte{"key": zitadeltest.KeyFile(t), "bad": []byte("{}"), "secrets": []byte("new\nold\n"), "none": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := map[string]string{"COCKPIT_ISSUER": "https://id.example", "COCKPIT_CLIENT_ID": "c", "COCKPIT_PROJECT_ID": "p", "COCKPIT_PUBLIC_URL": "https://cockpit.example", "COCKPIT_PLATFORM_ORGANIZATION": "o",
		"COCKPIT_ZITADEL_KEY_FILE": filepath.Join(dir, "key"), "COCKPIT_ZITADEL_WEBHOOK_SECRET_FILE": filepath.Join(dir, "secrets"), "COCKPIT_ZITADEL_URL": "", "COCKPIT_ZITADEL_WEBHOOK_SECRET": ""}
	for name, c := range map[string]struct {
		variable, value, wrong string
	}{
		"all":              {"", "", ""},
		"no key":           {"COCKPIT_ZITADEL_KEY_FILE", "", "COCKPIT_ZITADEL_KEY_FILE is not"},
		"no such key":      {"COCKPIT_ZITADEL_KEY_FILE", filepath.Join(dir, "x"), "no such file"},
		"no key in it":     {"COCKPIT_ZITADEL_KEY_FILE", filepath.Join(dir, "bad"), "no key file of a service user"},
		"no organization":  {"COCKPIT_PLATFORM_ORGANIZATION", "", "COCKPIT_PLATFORM_ORGANIZATION is not"},
		"in the clear":     {"COCKPIT_ZITADEL_URL", "http://id.example", "https"},
		"two ways":         {"COCKPIT_ZITADEL_WEBHOOK_SECRET", "x", "both set"},
		"no secret in it":  {"COCKPIT_ZITADEL_WEBHOOK_SECRET_FILE", filepath.Join(dir, "none"), "is empty"},
		"no secret's file": {"COCKPIT_ZITADEL_WEBHOOK_SECRET_FILE", filepath.Join(dir, "x"), "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range good {
				if variable == c.variable {
					value = c.value
				}
				t.Setenv(variable, value)
			}
			cfg, err := loadConfig()
			switch {
			case c.wrong == "" && (err != nil || strings.Join(cfg.ZitadelSecrets, " ") != "new old"):
				t.Errorf("%v", err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("%v, want %q", err, c.wrong)
			}
		})
	}
}

// What was changed at ZITADEL while its events got lost, the command shows and mends.
func TestReconcileCommand(t *testing.T) {
	t.Parallel()
	dir, z := t.TempDir(), zitadeltest.New(t, 1)
	keys, key := filepath.Join(dir, "keys.json"), filepath.Join(dir, "zitadel.json")
	if err := secrets.Create(keys); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, zitadeltest.KeyFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	url := testkit.Database(t)
	pool := testkit.Pool(t, url, postgres.RolePlatform)
	if err := provisioning.Switch(t.Context(), pool, z.URL); err != nil {
		t.Fatal(err)
	}
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		var account int64
		err := tx.QueryRow(t.Context(), `INSERT INTO accounts (key, name, time_zone) VALUES ('acme', 'Acme', 'UTC') RETURNING account_id`).Scan(&account)
		if err == nil {
			_, err = provisioning.Invite(t.Context(), tx, provisioning.Invitee{Account: account, Email: "ada@example.com", Roles: provisioning.Roles})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := provisioning.New(provisioning.Config{Issuer: z.URL, Key: zitadeltest.KeyFile(t), Project: zitadeltest.Project, Platform: zitadeltest.Platform, Secrets: []string{"s"}, Pool: pool,
		Audit: audit.NewLog(bytes.Repeat([]byte{7}, auditKeyLen)), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Once(t.Context()); n != 3 || err != nil {
		t.Fatalf("%d rows: %v", n, err)
	}
	for _, f := range s.Check(t.Context()) {
		if f.Result != "ok" {
			t.Errorf("%+v", f)
		}
	}
	z.Rename(z.Users()[0].ID, "Ada", "Lovelace")
	owner, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = owner.Close(t.Context()) }()
	if _, err := owner.Exec(t.Context(), `UPDATE issuer_users SET changed_at = now() - interval '1 hour'; UPDATE issuer_grants SET changed_at = now() - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	run := func(want int, args ...string) string {
		cmd := command(t, append([]string{"zitadel", "reconcile", "--data", dir}, args...)...)
		cmd.Env = append(cmd.Env, "COCKPIT_POSTGRES_URL="+url, "COCKPIT_KAFKA_BROKERS=127.0.0.1:1", "COCKPIT_KEYS_FILE="+keys, "COCKPIT_ISSUER="+z.URL, "COCKPIT_CLIENT_ID=c", "COCKPIT_PUBLIC_URL=http://localhost",
			"COCKPIT_PROJECT_ID="+zitadeltest.Project, "COCKPIT_PLATFORM_ORGANIZATION="+zitadeltest.Platform, "COCKPIT_ZITADEL_KEY_FILE="+key)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != want {
			t.Errorf("%q: exit %d\n%s", args, cmd.ProcessState.ExitCode(), out)
		}
		return string(out)
	}
	if out := run(1); !strings.Contains(out, "Ada Lovelace") {
		t.Errorf("%s", out)
	}
	run(0, "--apply")
	var n int
	if err := owner.QueryRow(t.Context(), `SELECT count(*) FROM people p JOIN audit_entries e ON e.object_name = p.name WHERE p.name = 'Ada Lovelace' AND NOT p.seen`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d people with an entry: %v", n, err)
	}
}

// A service user that may nothing is told so.
func TestCheckOfRights(t *testing.T) {
	t.Parallel()
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"code":7,"message":"No matching permissions found (AUTH-5mWD2)"}`))
	}))
	defer refuses.Close()
	z := zitadeltest.New(t, 1)
	s, err := provisioning.New(provisioning.Config{Issuer: z.URL, URL: refuses.URL, Key: zitadeltest.KeyFile(t), Project: zitadeltest.Project, Platform: zitadeltest.Platform, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, f := range s.Check(t.Context()) {
		if f.Result == "failed" && strings.Contains(f.Detail, "may not") && strings.Contains(f.Detail, "permission_denied") {
			failed++
		}
	}
	if failed != 3 {
		t.Errorf("%+v", s.Check(t.Context()))
	}
}
