package control_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestTheDocumentIsCommitted(t *testing.T) {
	t.Parallel()
	want, err := control.New(api.Config{Version: "1"}).Document()
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../schemas/openapi.json")
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("schemas/openapi.json is not what the operations say: make generate (%v)", err)
	}
}

// made runs the first example of an operation for an account, and returns the id of what it made.
func made(t *testing.T, s *controltest.Server, id, as, account string) string {
	t.Helper()
	for _, op := range s.API.Operations() {
		if op.ID != id {
			continue
		}
		e := op.Examples[0]
		if as == "" {
			as = e.As
		}
		there := strings.NewReplacer("key:acme", "key:"+account, `"acme"`, `"`+account+`"`)
		if account == "globex" { // whose users the demo numbers otherwise
			there = strings.NewReplacer("key:acme", "key:globex", `"acme"`, `"globex"`, "key:u-", "key:g-")
		}
		r := s.As(as).Do(op.Method, there.Replace(e.Path), there.Replace(e.Body), pairs(e.Header)...)
		var object struct {
			ID string `json:"id"`
		}
		r.Into(&object)
		if r.Status != op.Status || object.ID == "" {
			t.Fatalf("%s made nothing: %d %s", id, r.Status, r.Body)
		}
		return object.ID
	}
	t.Fatalf("there is no operation %s to make something with", id)
	return ""
}

func pairs(header map[string]string) (flat []string) {
	for name, value := range header {
		flat = append(flat, name, value)
	}
	return flat
}

// Every example that the document shows does what it says.
func TestExamples(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{ClickHouse: testkit.ClickHouse(t)})
	for _, op := range s.API.Operations() {
		for i, e := range op.Examples {
			path := e.Path
			if e.Make != "" {
				path = strings.Replace(path, "{id}", made(t, s, e.Make, "", "acme"), 1)
			}
			want := e.Status
			if want == 0 {
				want = op.Status
			}
			if r := s.As(e.As).Do(op.Method, path, e.Body, pairs(e.Header)...); r.Status != want {
				t.Errorf("%s, example %d, as %s: %s %s: %d, want %d: %s", op.ID, i, e.As, op.Method, path, r.Status, want, r.Body)
			}
		}
	}
}

var idOf = regexp.MustCompile(`^([a-z]+)_`)

// seen is what a caller can tell from an answer.
func seen(r *controltest.Response) string {
	h := r.Header.Clone()
	for _, name := range []string{"Date", "X-Request-Id", "Content-Length"} {
		h.Del(name)
	}
	var body map[string]any
	if json.Unmarshal(r.Body, &body) == nil {
		delete(body, "request_id")
	}
	return fmt.Sprintf("%d %v %v", r.Status, h, body)
}

// Each operation, as each kind of caller, on what is his, on what is another account's, and on what is not there: what is
// foreign answers exactly as what is absent. Operations are taken from the description, so new ones are in here.
func TestForeignIsAbsent(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	callers := []string{"anonymous", "end_user", "account_admin:acme", "account_viewer:acme", "section_admin:acme/copilot", "account_admin:globex", "product", "super_admin"}
	for _, op := range s.API.Operations() {
		e := op.Examples[0]
		ofAccount := strings.Contains(op.Path, "{account}")
		for _, as := range callers {
			call := func(account, id string) *controltest.Response {
				path := strings.Replace(strings.Replace(e.Path, "key:acme", account, 1), "{id}", id, 1)
				return s.As(as).Do(op.Method, path, e.Body, pairs(e.Header)...)
			}
			foreignID, absentID := "x", "x"
			if e.Make != "" && ofAccount {
				foreignID = made(t, s, e.Make, "account_admin:globex", "globex")
				absentID = idOf.FindString(foreignID) + "zzzzzz"
			}
			switch {
			case as == "anonymous" || as == "end_user":
				want := map[string]int{"anonymous": http.StatusUnauthorized, "end_user": http.StatusForbidden}[as]
				for _, account := range []string{"key:acme", "key:globex", "key:nobody"} {
					if r := call(account, absentID); r.Status != want && !strings.HasPrefix(string(op.Permission), "self.") {
						t.Errorf("%s as %s: %d", op.ID, as, r.Status)
					}
				}
			case ofAccount && as != "super_admin" && as != "product":
				foreign := "key:globex"
				if as == "account_admin:globex" {
					foreign = "key:acme"
				}
				if a, b := seen(call(foreign, foreignID)), seen(call("key:nobody", absentID)); a != b {
					t.Errorf("%s as %s: a foreign account answers\n%s\nand one that is not there\n%s", op.ID, as, a, b)
				}
				if r := call(foreign, foreignID); r.Status != http.StatusNotFound && r.Status != http.StatusForbidden {
					t.Errorf("%s as %s: a foreign account answers %d", op.ID, as, r.Status)
				}
			case !ofAccount && as != "super_admin" && !strings.HasPrefix(string(op.Permission), "self."):
				if r := call("key:acme", absentID); r.Status != http.StatusForbidden {
					t.Errorf("%s as %s: %d, and is the platform's", op.ID, as, r.Status)
				}
			}
			if ofAccount && e.Make != "" && as != "account_admin:globex" {
				if a, b := seen(call("key:acme", foreignID)), seen(call("key:acme", absentID)); a != b {
					t.Errorf("%s as %s: a foreign object answers\n%s\nand one that is not there\n%s", op.ID, as, a, b)
				}
			}
		}
	}
}

func TestProductsHaveNothingHere(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.As("product").Want(http.StatusForbidden, http.MethodGet, "/v1/accounts/key:acme", "")
}

// Row-level security is what stands behind the rest: a test that reads the catalog, for tables to come.
func TestTenancyOfEveryTable(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	acrossAccounts := []string{"cockpit_metering", "cockpit_platform"}
	rows, err := s.Owner.Query(t.Context(), `SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
			EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey::smallint[]) WHERE i.indrelid = c.oid AND a.attname = 'account_id'),
			coalesce((SELECT array_agg(p.polname::text || ' to ' || array_to_string(ARRAY(SELECT r.rolname FROM pg_roles r WHERE r.oid = ANY(p.polroles)), ',') ||
				CASE WHEN pg_get_expr(p.polqual, p.polrelid) LIKE '%cockpit.account_id%' THEN ' own' WHEN pg_get_expr(p.polqual, p.polrelid) LIKE '%account_id IS NULL%' THEN ' platform rows' ELSE ' all' END)
				FROM pg_policy p WHERE p.polrelid = c.oid), '{}')
		FROM pg_class c JOIN pg_attribute x ON x.attrelid = c.oid AND x.attname = 'account_id' AND NOT x.attisdropped
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for rows.Next() {
		n++
		var table string
		var forced, indexed bool
		var policies []string
		if err := rows.Scan(&table, &forced, &indexed, &policies); err != nil {
			t.Fatal(err)
		}
		if !forced {
			t.Errorf("%s: row-level security is not enabled and forced", table)
		}
		if !indexed {
			t.Errorf("%s: account_id is in no key or index", table)
		}
		own := false
		for _, p := range policies {
			fields := strings.SplitN(p, " to ", 2)
			who, what, _ := strings.Cut(fields[1], " ")
			own = own || who == "cockpit_app" && what == "own"
			if what == "all" && !slices.Contains(acrossAccounts, who) {
				t.Errorf("%s: policy %s lets %s see all accounts", table, fields[0], who)
			}
		}
		if !own {
			t.Errorf("%s: cockpit_app has no policy for its own account: %v", table, policies)
		}
	}
	if rows.Err() != nil || n < 20 {
		t.Errorf("%d tables: %v", n, rows.Err())
	}
	var loose int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM pg_roles r WHERE r.rolname LIKE 'cockpit%' AND (r.rolbypassrls OR r.rolsuper
		OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid AND c.relnamespace = 'public'::regnamespace))`).Scan(&loose); err != nil || loose != 0 {
		t.Errorf("%d roles are owners or bypass row-level security (%v)", loose, err)
	}
}

// A cursor is a place in an order and no right: with one of another account's list a caller sees his own rows and nothing else.
func TestACursorOfAnotherAccount(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	type page struct {
		Items      []map[string]any
		NextCursor string `json:"next_cursor"`
	}
	lists, cursors := 0, 0
	for _, op := range s.API.Operations() {
		e := op.Examples[0]
		if op.Method != http.MethodGet || !strings.HasPrefix(e.Path, "/v1/accounts/key:acme/") || strings.Contains(op.Path, ".csv") || e.Make != "" {
			continue
		}
		foreign := strings.Replace(strings.SplitN(e.Path, "?", 2)[0], "key:acme", "key:globex", 1)
		r := s.As("account_admin:globex").Do(op.Method, foreign+"?limit=1", "")
		var theirs page
		if r.Status != http.StatusOK || json.Unmarshal(r.Body, &theirs) != nil || theirs.Items == nil {
			continue
		}
		lists++
		if theirs.NextCursor == "" {
			continue
		}
		cursors++
		own := strings.SplitN(e.Path, "?", 2)[0]
		all, with := s.As("account_admin:acme").Do(op.Method, own+"?limit=200", ""), s.As("account_admin:acme").Do(op.Method, own+"?limit=200&cursor="+theirs.NextCursor, "")
		var mine, got page
		all.Into(&mine)
		if with.Status == http.StatusUnprocessableEntity {
			continue
		}
		with.Into(&got)
		for _, item := range got.Items {
			if !slices.ContainsFunc(mine.Items, func(m map[string]any) bool { return fmt.Sprint(m["id"]) == fmt.Sprint(item["id"]) }) {
				t.Errorf("%s shows %v with another account's cursor", op.ID, item)
			}
		}
	}
	if lists < 4 || cursors < 1 {
		t.Errorf("only %d lists and %d cursors were tried", lists, cursors)
	}
}
