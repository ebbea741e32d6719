package clients_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	path = "/v1/platform/clients"
	one  = path + "/key:reports"
)

type client struct {
	ID, Key, State, Name           string
	Permissions, Sections, Origins []string
}

func body(change ...string) string {
	text := `{"key":"reports","name":"Reports","issuer":"https://id.example.com","client_id":"1","permissions":["section.read","account.read","account.read"],"sections":["key:copilot"],"origins":["https://reports.example.com"]}`
	return strings.NewReplacer(change...).Replace(text)
}

func TestTheLifeOfAClient(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	var c client
	r := super.Want(http.StatusCreated, http.MethodPost, path, body())
	if r.Into(&c); !slices.Equal(c.Permissions, []string{"account.read", "section.read"}) || !slices.Equal(c.Sections, []string{"copilot"}) || c.State != "active" {
		t.Errorf("%+v", c)
	}
	super.Want(http.StatusNotModified, http.MethodGet, path+"/"+c.ID, "", "If-None-Match", r.Header.Get("ETag"))
	super.Want(http.StatusPreconditionRequired, http.MethodPatch, one, `{"name":"x"}`)
	first := r.Header.Get("ETag")
	r = super.Want(http.StatusOK, http.MethodPatch, one, `{"name":"New name"}`, "If-Match", first)
	if r.Into(&c); c.Name != "New name" || !slices.Equal(c.Sections, []string{"copilot"}) {
		t.Errorf("%+v", c)
	}
	if r := super.Want(http.StatusConflict, http.MethodPatch, one, `{"name":"x"}`, "If-Match", first); r.Code() != "stale" {
		t.Errorf("%s", r.Body)
	}
	var all client
	if super.Want(http.StatusOK, http.MethodPatch, one, `{"sections":[],"origins":[]}`, "If-Match", "*").Into(&all); len(all.Sections) != 0 || len(all.Origins) != 0 || len(all.Permissions) != 2 {
		t.Errorf("%+v", all)
	}
	for verb, state := range map[string]string{"deactivate": "inactive", "reactivate": "active"} {
		if super.Want(http.StatusOK, http.MethodPost, one+"/"+verb, "").Into(&c); c.State != state {
			t.Errorf("%s: %+v", verb, c)
		}
	}
	var n int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM audit_entries WHERE account_id IS NULL AND object_kind = 'client'`).Scan(&n); err != nil || n != 5 {
		t.Errorf("%d entries: %v", n, err)
	}
	s.As("account_admin:acme").Want(http.StatusForbidden, http.MethodGet, path, "")
}

func TestWhatAClientCannotBe(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	const origin = `"https://reports.example.com"`
	for _, b := range []string{
		body(`"section.read"`, `"no.such"`), body(`"section.read"`, `"accounts.manage"`), body(`"section.read"`, `"clients.manage"`), body(`"section.read"`, `"accounts.elevate"`),
		body(`["section.read","account.read","account.read"]`, `[]`), body(`key:copilot`, `key:nowhere`), body(`"reports"`, `"Re ports"`), body(`https://id`, `http://id`), body(`https://id.example.com`, `id`),
		body(origin, `"*"`), body(origin, `"null"`), body(origin, `"http://reports.example.com"`), body(origin, `"https://reports.example.com/"`), body(origin, `"https://*.example.com"`),
		body(origin, `"https://Reports.example.com"`), body(origin, `"https://a:b@reports.example.com"`), body(origin, `"https://reports.example.com:443"`), body(origin, `"https://reports.example.com?x"`),
		body(origin, `"https://reports.example.com#x"`), body(origin, `"https://"`), body(origin, `"https://:8080"`), body(origin, `"https://reports.example.com:"`), body(origin, `"javascript:alert(1)"`),
		body(origin, `"http://localhost.example.com"`), body(origin, `""`),
	} {
		if r := super.Do(http.MethodPost, path, b); r.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", b, r.Status, r.Body)
		}
	}
	for i, o := range []string{"https://reports.example.com:8443", "http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000", "https://xn--bcher-kva.example"} {
		super.Want(http.StatusCreated, http.MethodPost, path, body(`"reports"`, fmt.Sprintf(`"r%d"`, i), `"1"`, fmt.Sprintf(`"c%d"`, i), "https://reports.example.com", o))
	}
	super.Want(http.StatusCreated, http.MethodPost, path, body())
	if r := super.Want(http.StatusConflict, http.MethodPost, path, body(`"1"`, `"2"`)); r.Code() != "key_taken" {
		t.Errorf("%s", r.Body)
	}
	if r := super.Want(http.StatusConflict, http.MethodPost, path, body(`"reports"`, `"other"`)); r.Code() != "client_id_taken" {
		t.Errorf("%s", r.Body)
	}
	super.Want(http.StatusUnprocessableEntity, http.MethodPatch, one, `{"permissions":["platform.read"]}`, "If-Match", "*")
	super.Want(http.StatusConflict, http.MethodPatch, one, `{"client_id":"c1"}`, "If-Match", "*")
}

// Two admins change one client at once, each having seen the same: one does, the other gets 409.
func TestTwoChangesAtOnce(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	tag := s.As("super_admin").Want(http.StatusCreated, http.MethodPost, path, body()).Header.Get("ETag")
	var wait sync.WaitGroup
	status := make([]int, 6)
	for i := range status {
		wait.Go(func() {
			r, err := s.As("super_admin").Try(t.Context(), http.MethodPatch, one, fmt.Sprintf(`{"name":"name %d"}`, i), "If-Match", tag)
			if err != nil {
				t.Error(err)
				return
			}
			status[i] = r.Status
		})
	}
	wait.Wait()
	if slices.Sort(status); status[0] != http.StatusOK || status[1] != http.StatusConflict || status[len(status)-1] != http.StatusConflict {
		t.Errorf("%v", status)
	}
}
