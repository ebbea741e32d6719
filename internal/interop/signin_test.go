//go:build interop

package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	oidcProject = "urn:cockpit:interop"
	oidcSecret  = "interop-0123456789abcdef0123456789abcdef"
)

// Signing in at npm's oidc-provider, in Chromium: in, forged requests, out by the issuer's back channel, out by ourselves.
// Then a program's token, and what `cockpit zitadel check` says of the issuer.
func TestSigningInAtAnotherIssuer(t *testing.T) {
	in := install(t)
	dir := t.TempDir()
	issuer := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	c := &cockpit{t: t, bin: filepath.Join(dir, "cockpit"), data: filepath.Join(dir, "data")}
	run(t, "../..", "go", "build", "-o", c.bin, "./cmd/cockpit")
	settings := []string{"COCKPIT_ISSUER=" + issuer, "COCKPIT_CLIENT_ID=cockpit", "COCKPIT_CLIENT_SECRET=" + oidcSecret, "COCKPIT_PROJECT_ID=" + oidcProject,
		"COCKPIT_PLATFORM_ORGANIZATION=org-platform", "COCKPIT_PUBLIC_URL=http://" + listen}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		t.Setenv(name, value)
	}
	background(t, dir, filepath.Join(dir, "cockpit.log"), nil, c.bin, "dev", "--data", c.data, "--listen", listen)
	endpoints := struct{ Postgres string }{}
	eventually(t, 2*time.Minute, func() error {
		text, err := os.ReadFile(filepath.Join(c.data, "endpoints.json"))
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &endpoints)
	})
	conn, err := pgx.Connect(t.Context(), endpoints.Postgres)
	must(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `UPDATE accounts SET issuer_organization = 'org-acme' WHERE key = 'acme'`)
	must(t, err)
	_, err = conn.Exec(t.Context(), `INSERT INTO clients (key, name, issuer, client_id, permissions) VALUES ('web', 'Web', $1, 'alchemi-web', '{account.read}')`, issuer)
	must(t, err)
	awayThenThere(t, in, dir, "http://"+listen, issuer)

	var seen struct {
		Session struct {
			Name  string
			Roles []string
		}
		Cookies []struct {
			HTTPOnly bool
			SameSite string
			Length   int
		}
		Script                                       string
		WithoutToken, AfterForgery, AfterBackChannel int
		AfterLogout                                  string
	}
	said := run(t, in.dir, "node", "browse.mjs", "http://"+listen, issuer)
	t.Log(strings.TrimSpace(said))
	must(t, json.Unmarshal([]byte(said), &seen))
	if seen.Session.Name != "The admin@acme" || fmt.Sprint(seen.Session.Roles) != "[account_admin]" {
		t.Errorf("signed in as %+v", seen.Session)
	}
	if len(seen.Cookies) != 1 || !seen.Cookies[0].HTTPOnly || seen.Cookies[0].SameSite != "Lax" || seen.Cookies[0].Length != 43 || seen.Script != "" {
		t.Errorf("cookies %+v, of which a script sees %q", seen.Cookies, seen.Script)
	}
	if seen.WithoutToken != 403 || seen.AfterForgery != 200 || seen.AfterBackChannel != 401 || seen.AfterLogout != "unauthenticated" {
		t.Errorf("%+v", seen)
	}
	token := clientToken(t, issuer)
	if status := me(t, "http://"+listen, token); status != http.StatusOK {
		t.Errorf("a program's token: %d", status)
	}
	check := run(t, "", c.bin, "zitadel", "check", "--token", token)
	t.Log(check)
	if strings.Contains(check, "failed") {
		t.Error("check found something wrong")
	}
}

// awayThenThere shows that signing in says why it does not work before the issuer is there, and starts it.
func awayThenThere(t *testing.T, in installed, dir, cockpit, issuer string) {
	t.Helper()
	res, err := http.Get(cockpit + "/auth/login")
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("signing in without an issuer: %s", res.Status)
	}
	at, err := url.Parse(issuer)
	must(t, err)
	background(t, in.dir, filepath.Join(dir, "oidc.log"), nil, "node", "oidc.mjs", at.Port(), cockpit, oidcProject, oidcSecret)
	eventually(t, time.Minute, func() error {
		res, err := http.Get(issuer + "/.well-known/openid-configuration")
		if err == nil {
			res.Body.Close()
		}
		return err
	})
	time.Sleep(3 * time.Second) // as long as an issuer that failed is not tried again
}

// clientToken is a JWT of a program, by client credentials.
func clientToken(t *testing.T, issuer string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, issuer+"/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}, "resource": {oidcProject}}.Encode()))
	must(t, err)
	req.SetBasicAuth("alchemi-web", oidcSecret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	var said map[string]any
	must(t, json.NewDecoder(res.Body).Decode(&said))
	token, ok := said["access_token"].(string)
	if !ok {
		t.Fatalf("%v", said)
	}
	return token
}

// me is the status of a request with a token.
func me(t *testing.T, cockpit, token string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, cockpit+"/auth/session", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	return res.StatusCode
}
