package auditlog_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	acme     = "/v1/accounts/key:acme/audit"
	platform = "/v1/platform/audit"
)

// written puts entries of an account on record, in sections by their keys.
func written(t *testing.T, s *controltest.Server, account string, sections ...string) {
	t.Helper()
	log := audit.NewLog(bytes.Repeat([]byte{7}, 32))
	err := pgx.BeginFunc(t.Context(), s.Stores.Platform, func(tx pgx.Tx) error {
		for _, section := range sections {
			e := &audit.Entry{At: s.Now(), Actor: audit.Actor{Kind: "person", ID: "per_zz", Name: "=cmd()"}, Action: "team.created", Object: audit.Object{Kind: "team", ID: section}}
			if err := tx.QueryRow(t.Context(), `SELECT a.account_id, coalesce(s.id, 0) FROM accounts a LEFT JOIN sections s ON s.key = $2 WHERE a.key = $1`, account, section).Scan(&e.Account, &e.Section); err != nil {
				return err
			}
			if err := log.Append(t.Context(), tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, c *controltest.Client, path string) (items []audit.Record, next string) {
	t.Helper()
	var page api.Items[audit.Record]
	c.Want(http.StatusOK, http.MethodGet, path, "").Into(&page)
	return page.Items, page.NextCursor
}

func objects(items []audit.Record) (ids []string) {
	for _, r := range items {
		ids = append(ids, r.Object.ID)
	}
	return ids
}

// A change through the API is found in its account's log, by any of its traits, by those who may see it.
func TestAChangeIsFound(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	r := admin.Want(http.StatusOK, http.MethodPatch, "/v1/accounts/key:acme", `{"name":"Acme Corp"}`, "If-Match", "*", "X-Request-Id", "patch-1")
	items, _ := listed(t, admin, acme)
	if len(items) != 1 || items[0].Action != "account.updated" || items[0].Account != "acme" || items[0].RequestID != r.Header.Get("X-Request-Id") ||
		len(items[0].Changes) != 1 || string(items[0].Changes[0].After) != `"Acme Corp"` || items[0].Actor.Role != "account_admin" {
		t.Fatalf("%+v", items)
	}
	e := items[0]
	for name, value := range map[string]string{"actor": e.Actor.ID, "action": "account.*", "object_kind": "account", "object_id": e.Object.ID, "request_id": e.RequestID, "from": "2020-01-01T00:00:00Z", "to": "2120-01-01T00:00:00Z"} {
		if found, _ := listed(t, admin, acme+"?"+name+"="+url.QueryEscape(value)); len(found) != 1 {
			t.Errorf("%s=%s finds %v", name, value, found)
		}
	}
	for name, value := range map[string]string{"actor": "per_0", "action": "team.*", "object_kind": "team", "object_id": "x", "request_id": "x", "to": "2020-01-01T00:00:00Z", "from": "2120-01-01T00:00:00Z", "section": "key:copilot"} {
		if found, _ := listed(t, admin, acme+"?"+name+"="+url.QueryEscape(value)); len(found) != 0 {
			t.Errorf("%s=%s finds %v", name, value, found)
		}
	}
	var one audit.Record
	s.As("account_viewer:acme").Want(http.StatusOK, http.MethodGet, acme+"/"+e.ID, "").Into(&one)
	if one.ID != e.ID || one.Action != e.Action {
		t.Errorf("%+v", one)
	}
	for _, path := range []string{"/v1/accounts/key:globex/audit/" + e.ID, acme + "/aud_zzzzzz", acme + "/acc_1"} {
		s.As("super_admin").Want(http.StatusNotFound, http.MethodGet, path, "")
	}
}

// Pages together are all there is, and a cursor of something else is refused.
func TestPages(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	written(t, s, "acme", "a", "b", "c", "d", "e", "f", "g")
	admin := s.As("account_admin:acme")
	var got []string
	for next := ""; ; {
		var items []audit.Record
		items, next = listed(t, admin, acme+"?limit=3&cursor="+next)
		if got = append(got, objects(items)...); next == "" {
			break
		}
	}
	if !slices.Equal(got, []string{"g", "f", "e", "d", "c", "b", "a"}) {
		t.Errorf("pages gave %v", got)
	}
	for _, bad := range []string{"x", "e30", "bnVsbA", "eyJBdCI6MX0"} {
		admin.Want(http.StatusUnprocessableEntity, http.MethodGet, acme+"?cursor="+bad, "")
	}
}

// A section admin sees what was done in the own sections, whatever is asked for, and exports nothing.
func TestSectionAdminsSeeTheirs(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	written(t, s, "acme", "copilot", "none", "console", "copilot")
	sectional, admin := s.As("section_admin:acme/copilot"), s.As("account_admin:acme")
	all, _ := listed(t, admin, acme)
	for path, want := range map[string][]string{acme: {"copilot", "copilot"}, acme + "?section=key:copilot": {"copilot", "copilot"}, acme + "?section=key:console": nil, acme + "?section=key:nope": nil, acme + "?object_id=none": nil} {
		if items, _ := listed(t, sectional, path); !slices.Equal(objects(items), want) {
			t.Errorf("%s shows %v, want %v", path, objects(items), want)
		}
	}
	if items, _ := listed(t, admin, acme+"?section=key:console"); len(all) != 4 || !slices.Equal(objects(items), []string{"console"}) {
		t.Errorf("an admin sees %v and %v", objects(all), objects(items))
	}
	for _, r := range all {
		want := map[string]int{"copilot": http.StatusOK}[r.Object.ID]
		if want == 0 {
			want = http.StatusNotFound
		}
		sectional.Want(want, http.MethodGet, acme+"/"+r.ID, "")
	}
	sectional.Want(http.StatusForbidden, http.MethodGet, acme+"/export", "")
	s.As("account_viewer:acme").Want(http.StatusForbidden, http.MethodGet, acme+"/export", "")
}

// An export has what was asked for, as CSV without formulas or as NDJSON, and is in the log itself, with what it was of.
func TestExportIsOnRecord(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	written(t, s, "acme", "copilot", "none")
	written(t, s, "globex", "none")
	admin := s.As("account_admin:acme")
	r := admin.Want(http.StatusOK, http.MethodGet, acme+"/export?object_kind=team", "")
	lines, err := csv.NewReader(bytes.NewReader(r.Body)).ReadAll()
	if err != nil || len(lines) != 3 || lines[0][0] != "id" || lines[1][6] != "'=cmd()" || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/csv") ||
		!strings.Contains(r.Header.Get("Content-Disposition"), "audit.csv") {
		t.Errorf("%v %v %v", err, r.Header, lines)
	}
	r = admin.Want(http.StatusOK, http.MethodGet, acme+"/export?format=ndjson", "")
	dec := json.NewDecoder(bytes.NewReader(r.Body))
	var actions []string
	for dec.More() {
		var e audit.Record
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		actions = append(actions, e.Action)
		if e.Action == "audit.exported" && len(actions) == 2 && (len(e.Changes) != 2 || e.Changes[1].Field != "object_kind") {
			t.Errorf("an export is on record as %+v", e)
		}
	}
	if want := []string{"audit.exported", "audit.exported", "team.created", "team.created"}; !slices.Equal(actions, want) {
		t.Errorf("the log has %v, want %v", actions, want)
	}
	admin.Want(http.StatusUnprocessableEntity, http.MethodGet, acme+"/export?format=xml", "")
}

// The platform's own log has what was done for the platform, and no account's entries.
func TestThePlatformsLog(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	written(t, s, "acme", "none")
	super := s.As("super_admin")
	for n := range 2 {
		r := super.Want(http.StatusOK, http.MethodGet, platform+"/export?format=ndjson", "")
		if lines := bytes.Count(r.Body, []byte("\n")); lines != n+1 || bytes.Count(r.Body, []byte(`"audit.exported"`)) != lines {
			t.Errorf("%d lines: %s", lines, r.Body)
		}
	}
	if items, _ := listed(t, super, platform); len(items) != 2 || items[0].Account != "" || items[0].Object.ID != "platform" {
		t.Errorf("%+v", items)
	}
	s.As("account_admin:acme").Want(http.StatusForbidden, http.MethodGet, platform, "")
}
