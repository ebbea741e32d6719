//go:build interop

package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The example client, on an origin of its own, in Chromium: somebody signs in there, reads, changes, and is refused what the
// client is not registered for although the person may.
func TestAClientOnAnotherOrigin(t *testing.T) {
	in := install(t)
	c := startCockpit(t, t.TempDir(), "embedded")
	mux := http.NewServeMux()
	page := httptest.NewServer(mux)
	t.Cleanup(page.Close)
	mux.Handle("/", http.FileServer(http.Dir(filepath.Join("..", "..", "docs", "examples", "client"))))
	mux.HandleFunc("/config.json", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"api": c.API, "issuer": c.API + "/issuer", "client_id": "example", "project_id": "cockpit-dev", "account": "acme"})
	})
	must(t, post(c.API+"/v1/platform/clients", strings.TrimSpace(c.do("token", "--as", "super_admin")), map[string]any{"key": "example", "name": "The example",
		"issuer": c.API + "/issuer", "client_id": "example", "permissions": []string{"account.read", "account.write"}, "origins": []string{page.URL}}))

	said := run(t, in.dir, "node", "client.mjs", page.URL+"/", "account_admin@acme")
	t.Log(strings.TrimSpace(said))
	var seen struct {
		Status, Before, Refused, AfterRename, After, Query string
		Sections, Errors                                   []string
	}
	must(t, json.Unmarshal([]byte(said), &seen))
	slices.Sort(seen.Sections)
	if seen.Status != "Signed in." || seen.Before != "Acme" || fmt.Sprint(seen.Sections) != "[console copilot]" || len(seen.Errors) > 0 || seen.Query != "" {
		t.Errorf("%+v", seen)
	}
	if !strings.HasPrefix(seen.Refused, "403: the client example is not registered for keys.read") {
		t.Errorf("refused: %q", seen.Refused)
	}
	if seen.AfterRename != "Renamed." || seen.After != "Renamed by a client" {
		t.Errorf("after renaming: %q, %q", seen.AfterRename, seen.After)
	}
	if log := c.do("audit", "show", "--account", "acme", "--json"); !strings.Contains(log, `"client":"example"`) || !strings.Contains(log, "account.updated") {
		t.Errorf("the audit log does not name both:\n%s", log)
	}
}

// An invite's link, in Chromium: whom it is not for is told so, and whom it is for signs in, accepts, and has the role.
func TestAnInvitesLink(t *testing.T) {
	in := install(t)
	c := startCockpit(t, t.TempDir(), "embedded")
	body := strings.NewReader(`{"email":"end-user@acme.example","role":"account_viewer"}`)
	req, err := http.NewRequest(http.MethodPost, c.API+"/v1/accounts/key:acme/invites", body)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(c.do("token", "--as", "account_admin:acme")))
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	var sent struct{ Link string }
	must(t, json.NewDecoder(res.Body).Decode(&sent))

	said := run(t, in.dir, "node", "invite.mjs", sent.Link, "account_viewer@globex", "end_user@acme")
	t.Log(strings.TrimSpace(said))
	var seen struct {
		Errors, Lines                       []string
		First, Address, Other, Offer, Again string
	}
	must(t, json.Unmarshal([]byte(said), &seen))
	if seen.First != "You are invited" || seen.Address != c.API+"/invite" || seen.Other != "This is for somebody else" || seen.Offer != "Join Acme" || seen.Again != "You are in" || len(seen.Errors) > 0 {
		t.Errorf("%+v", seen)
	}
	if log := c.do("audit", "show", "--account", "acme", "--json"); !strings.Contains(log, "invite.accepted") {
		t.Errorf("the audit log does not say who accepted:\n%s", log)
	}
}
