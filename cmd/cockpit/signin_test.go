package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSettingsOfSigningIn(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := map[string]string{"COCKPIT_ISSUER": "https://id.example", "COCKPIT_CLIENT_ID": "c", "COCKPIT_PROJECT_ID": "p", "COCKPIT_PUBLIC_URL": "https://cockpit.example", "COCKPIT_CLIENT_SECRET_FILE": secret}
	for name, c := range map[string]struct {
		change map[string]string
		wrong  string
	}{
		"all":              {nil, ""},
		"no public URL":    {map[string]string{"COCKPIT_PUBLIC_URL": ""}, ""},
		"http":             {map[string]string{"COCKPIT_ISSUER": "http://id.example"}, "https"},
		"no client":        {map[string]string{"COCKPIT_CLIENT_ID": ""}, "client id"},
		"no issuer":        {map[string]string{"COCKPIT_ISSUER": ""}, "COCKPIT_ISSUER is not"},
		"two secrets":      {map[string]string{"COCKPIT_CLIENT_SECRET": "x"}, "both set"},
		"no secret's file": {map[string]string{"COCKPIT_CLIENT_SECRET_FILE": secret + "x"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range good {
				if changed, ok := c.change[variable]; ok {
					value = changed
				}
				t.Setenv(variable, value)
			}
			if value, ok := c.change["COCKPIT_CLIENT_SECRET"]; ok {
				t.Setenv("COCKPIT_CLIENT_SECRET", value)
			}
			cfg, err := loadConfig()
			switch {
			case c.wrong == "" && (err != nil || cfg.ClientSecret != "s3cret"):
				t.Errorf("%v", err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("%v, want %q", err, c.wrong)
			}
			if err == nil && len(cfg.lacksSignin()) != map[bool]int{true: 2, false: 1}[cfg.PublicURL == ""] {
				t.Errorf("lacks %v", cfg.lacksSignin())
			}
		})
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"127.0.0.1:8080": "127.0.0.1:8080", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:80": "127.0.0.1:80", "[::1]:80": "[::1]:80", "cockpit:80": "cockpit:80"} {
		if got := local(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
