package issuer

import (
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control/signin"
)

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	good := signin.Config{Issuer: w.url + "/issuer", ClientID: ClientID, ClientSecret: w.issuer.Load().ClientSecret(), ProjectID: ProjectID, Organization: Organization, PublicURL: w.url}
	token := w.machine("account_admin@acme", w.issuer.Load().ServiceSecret())
	for name, c := range map[string]struct {
		change func(*signin.Config)
		token  string
		failed string // the check
		detail string
	}{
		"nothing":           {func(*signin.Config) {}, token, "", ""},
		"no token":          {func(*signin.Config) {}, "", "", ""},
		"opaque":            {func(*signin.Config) {}, w.machine("opaque:super_admin", w.issuer.Load().ServiceSecret()), "", ""},
		"settings":          {func(c *signin.Config) { c.PublicURL = "http://cockpit.example" }, "", "settings", "https"},
		"another issuer":    {func(c *signin.Config) { c.Issuer = strings.Replace(c.Issuer, "127.0.0.1", "localhost", 1) }, "", "discovery", "issuer does not match"},
		"no issuer":         {func(c *signin.Config) { c.Issuer = w.url + "/elsewhere" }, "", "discovery", "/elsewhere/.well-known"},
		"another client":    {func(c *signin.Config) { c.ClientID = "nobody" }, "", "application and redirect URI", "registered"},
		"another redirect":  {func(c *signin.Config) { c.PublicURL = "http://localhost:1" }, "", "application and redirect URI", "http://localhost:1/auth/callback"},
		"another secret":    {func(c *signin.Config) { c.ClientSecret = "wrong" }, "", "introspection", "secret"},
		"another project":   {func(c *signin.Config) { c.ProjectID = "270" }, token, "token", "project"},
		"a token cut short": {func(*signin.Config) {}, token[:len(token)-5], "token", "well formed"},
	} {
		cfg := good
		c.change(&cfg)
		var failed []signin.Finding
		for _, f := range signin.Check(t.Context(), cfg, c.token) {
			if f.Result == "failed" {
				failed = append(failed, f)
			}
		}
		if c.failed == "" && len(failed) > 0 {
			t.Errorf("%s: %+v", name, failed)
		}
		if c.failed != "" && !hasFinding(failed, c.failed, c.detail) {
			t.Errorf("%s: %+v", name, failed)
		}
	}
}

func hasFinding(all []signin.Finding, check, detail string) bool {
	for _, f := range all {
		if f.Check == check && strings.Contains(f.Detail, detail) {
			return true
		}
	}
	return false
}
