package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each token that the command prints is recognized for what it was asked for.
func TestTokensOfARunningDev(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	r := startDev(t, data)
	t.Cleanup(func() { _ = r.cmd.Process.Signal(os.Interrupt); _ = r.cmd.Wait() })
	for as, want := range map[string]struct{ kind, role string }{"super_admin": {"person", "super_admin"}, "account_admin:acme": {"person", "account_admin"},
		"account_viewer:acme": {"person", "account_viewer"}, "section_admin:acme/copilot": {"person", "section_admin"}, "end_user:acme": {"person", ""}, "product": {"service", "product"}} {
		for _, opaque := range []string{"--opaque=false", "--opaque=true"} {
			text, err := command(t, "token", "--data", data, "--as", as, opaque).Output()
			if err != nil {
				t.Fatalf("%s: %v", as, err)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.API+"/auth/session", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(text)))
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var said struct {
				Kind  string
				Roles []string
			}
			err = json.NewDecoder(res.Body).Decode(&said)
			res.Body.Close()
			if err != nil || said.Kind != want.kind || strings.Join(said.Roles, " ") != want.role {
				t.Errorf("%s: %s %+v %v", as, res.Status, said, err)
			}
		}
	}
	for _, as := range []string{"root", "account_admin:nobody", "section_admin:acme", ""} {
		if text, err := command(t, "token", "--data", data, "--as", as).Output(); err == nil || len(text) > 0 {
			t.Errorf("%q: %s", as, text)
		}
	}
	for _, file := range []string{"keys.json", endpointsFile} {
		if info, err := os.Stat(filepath.Join(data, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", file, info, err)
		}
	}
}
