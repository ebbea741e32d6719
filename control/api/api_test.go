package api_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	all  = "/v1/platform/accounts"
	acme = "/v1/accounts/key:acme"
)

// account is what these tests look at of one.
type account struct {
	Key       string
	Name      string
	CreatedAt time.Time `json:"created_at"`
}

func count(t *testing.T, s *controltest.Server, sql string, args ...any) (n int) {
	t.Helper()
	if err := s.Owner.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheSameRequestTwiceIsOneEffect(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	body := `{"key":"once","name":"Once","time_zone":"UTC"}`
	answers := make([]*controltest.Response, 12)
	var g sync.WaitGroup
	for i := range answers {
		g.Go(func() { answers[i], _ = super.Try(t.Context(), http.MethodPost, all, body, "Idempotency-Key", "k1") })
	}
	g.Wait()
	for _, r := range answers {
		if r == nil || r.Status != http.StatusCreated || string(r.Body) != string(answers[0].Body) || r.Header.Get("ETag") != answers[0].Header.Get("ETag") {
			t.Errorf("%+v, and the first %+v", r, answers[0])
		}
	}
	if n := count(t, s, `SELECT count(*) FROM audit_entries WHERE action = 'account.created' AND object_name = 'once'`); n != 1 {
		t.Errorf("%d entries for one effect", n)
	}
	if r := super.Do(http.MethodPost, all, strings.Replace(body, "once", "twice", 1), "Idempotency-Key", "k1"); r.Code() != api.CodeKeyReused {
		t.Errorf("another request under the same key: %d %s", r.Status, r.Body)
	}
	// Another caller's key of the same text is another key.
	if r := s.As("super_admin@other").Do(http.MethodPost, all, body, "Idempotency-Key", "k1"); r.Code() != "key_taken" {
		t.Errorf("another caller: %d %s", r.Status, r.Body)
	}
	// What failed left nothing, so it may be tried again under its key.
	r := super.Do(http.MethodPost, all, `{"key":"later","name":"Later","time_zone":"Nowhere/Atlantis"}`, "Idempotency-Key", "k2")
	if r.Status != http.StatusUnprocessableEntity {
		t.Errorf("a bad time zone: %d", r.Status)
	}
	super.Want(http.StatusCreated, http.MethodPost, all, `{"key":"later","name":"Later","time_zone":"UTC"}`, "Idempotency-Key", "k2")
	if n := count(t, s, `SELECT count(*) FROM idempotency_keys WHERE encode(answer, 'escape') LIKE '%Later%'`); n != 0 {
		t.Error("answers can be read in the database")
	}
	s.Advance(25 * time.Hour)
	if r := super.Do(http.MethodPost, all, body, "Idempotency-Key", "k1"); r.Code() != "key_taken" {
		t.Errorf("after a day the key is forgotten, and the request is made again: %d %s", r.Status, r.Body)
	}
}

func TestTwoWriteAtOnceAndOneWins(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	tag := s.As("account_admin:acme").Want(http.StatusOK, http.MethodGet, acme, "").Header.Get("ETag")
	answers := make([]*controltest.Response, 8)
	var g sync.WaitGroup
	for i := range answers {
		g.Go(func() {
			who := s.As(fmt.Sprintf("account_admin:acme@%d", i))
			answers[i], _ = who.Try(t.Context(), http.MethodPatch, acme, fmt.Sprintf(`{"name":"Acme %d"}`, i), "If-Match", tag)
		})
	}
	g.Wait()
	won := 0
	for i, r := range answers {
		switch {
		case r != nil && r.Status == http.StatusOK:
			won++
		case r == nil || r.Status != http.StatusConflict || r.Code() != api.CodeStale:
			t.Errorf("%+v", r)
		default:
			var p struct {
				Current account
				Yours   struct{ Name string }
			}
			r.Into(&p)
			if !strings.HasPrefix(p.Current.Name, "Acme ") || p.Yours.Name != fmt.Sprintf("Acme %d", i) || r.Header.Get("ETag") == tag {
				t.Errorf("both values are not there: %s", r.Body)
			}
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
	admin := s.As("account_admin:acme")
	if r := admin.Do(http.MethodPatch, acme, `{"name":"Acme"}`); r.Status != http.StatusPreconditionRequired {
		t.Errorf("without If-Match: %d", r.Status)
	}
	fresh := admin.Want(http.StatusOK, http.MethodGet, acme, "").Header.Get("ETag")
	if r := admin.Do(http.MethodGet, acme, "", "If-None-Match", "W/"+fresh); r.Status != http.StatusNotModified || len(r.Body) != 0 || r.Header.Get("ETag") != fresh {
		t.Errorf("If-None-Match: %d %s %v", r.Status, r.Body, r.Header)
	}
	var before, after string
	err := s.Owner.QueryRow(t.Context(), `SELECT c->>'before', c->>'after' FROM audit_entries e, json_array_elements(e.changes) c
		WHERE action = 'account.updated' AND c->>'field' = 'name'`).Scan(&before, &after)
	if err != nil || before != "Acme" || !strings.HasPrefix(after, "Acme ") {
		t.Errorf("on record: %q, then %q (%v)", before, after, err)
	}
}

type page struct {
	Items      []account
	NextCursor string `json:"next_cursor"`
	Total      *int
}

func TestListsAreWalkedWhole(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO accounts (key, name, time_zone) SELECT 'many-' || n, 'Name ' || n % 7, 'UTC' FROM generate_series(1, 60) n`); err != nil {
		t.Fatal(err)
	}
	super := s.As("super_admin")
	for _, sort := range []string{"key", "-key", "name", "-name", "created_at", "-created_at"} {
		var keys, sorted []string
		cursor := ""
		for {
			var p page
			super.Want(http.StatusOK, http.MethodGet, all+"?q=MANY&limit=7&total=true&sort="+sort+"&cursor="+cursor, "").Into(&p)
			if *p.Total != 60 {
				t.Fatalf("%d in all", *p.Total)
			}
			for _, a := range p.Items {
				keys = append(keys, a.Key)
				sorted = append(sorted, map[string]string{"key": a.Key, "name": a.Name, "created_at": a.CreatedAt.String()}[strings.TrimPrefix(sort, "-")])
			}
			if cursor = p.NextCursor; cursor == "" {
				break
			}
		}
		if strings.HasPrefix(sort, "-") {
			slices.Reverse(sorted)
		}
		if !slices.IsSorted(sorted) {
			t.Errorf("%s: not in order", sort)
		}
		slices.Sort(keys)
		if len(keys) != 60 || len(slices.Compact(keys)) != 60 {
			t.Errorf("%s: %d accounts", sort, len(keys))
		}
	}
	var p page
	super.Want(http.StatusOK, http.MethodGet, all+"?limit=2", "").Into(&p)
	for name, query := range map[string]string{"of another order": "sort=name&cursor=" + p.NextCursor, "of nothing": "cursor=abc", "no base64": "cursor=!!!",
		"a limit too high": "limit=201", "a limit of none": "limit=0", "no order": "sort=secret", "no filter": "secret=1"} {
		if r := super.Do(http.MethodGet, all+"?"+query, ""); r.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
}

func TestCSVIsTheFilteredView(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	const n = 4500 // more than two pages of the file
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO accounts (key, name, time_zone) SELECT 'row-' || lpad(n::text, 5, '0'),
		(ARRAY['=1+1', '+1', '-1', '@sum', E'\tx', 'plain, "quoted"', 'Ünïcödé 🚀'])[n % 7 + 1], 'UTC' FROM generate_series(1, $1) n`, n); err != nil {
		t.Fatal(err)
	}
	r := s.As("super_admin").Want(http.StatusOK, http.MethodGet, all+".csv?q=row-&sort=-key", "")
	lines, err := csv.NewReader(strings.NewReader(string(r.Body))).ReadAll()
	if err != nil || len(lines) != n+1 {
		t.Fatalf("%d lines: %v", len(lines), err)
	}
	names := lines[0]
	if key := slices.Index(names, "key"); lines[1][key] != "row-04500" || lines[n][key] != "row-00001" {
		t.Errorf("not in the list's order: %q … %q", lines[1], lines[n])
	}
	if !slices.Contains(names, "limits.users") {
		t.Errorf("nested fields are no columns: %q", names)
	}
	for _, line := range lines[1:] {
		if name := line[slices.Index(names, "name")]; strings.ContainsRune("=+-@\t", rune(name[0])) {
			t.Fatalf("a spreadsheet would take %q for a formula", name)
		}
	}
	if got := r.Header.Get("Content-Type"); got != "text/csv; charset=utf-8" {
		t.Error(got)
	}
	if r := s.As("account_admin:acme").Do(http.MethodGet, all+".csv", ""); r.Status != http.StatusForbidden {
		t.Errorf("of the platform, for an account's admin: %d", r.Status)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	for name, c := range map[string]struct {
		body   string
		status int
		field  string
	}{
		"no JSON":             {`{"key":`, http.StatusBadRequest, "body"},
		"no object":           {`[]`, http.StatusUnprocessableEntity, "body"},
		"an unknown field":    {`{"key":"a","name":"A","time_zone":"UTC","root":true}`, http.StatusUnprocessableEntity, "body.root"},
		"a missing field":     {`{"key":"a","time_zone":"UTC"}`, http.StatusUnprocessableEntity, "body"},
		"another type":        {`{"key":1,"name":"A","time_zone":"UTC"}`, http.StatusUnprocessableEntity, "body.key"},
		"a key too long":      {`{"key":"` + strings.Repeat("a", 129) + `","name":"A","time_zone":"UTC"}`, http.StatusUnprocessableEntity, "body.key"},
		"a key with capitals": {`{"key":"Acme","name":"A","time_zone":"UTC"}`, http.StatusUnprocessableEntity, "body.key"},
		"no time zone":        {`{"key":"a","name":"A","time_zone":"Mars/Olympus"}`, http.StatusUnprocessableEntity, "body.time_zone"},
		"a nested one":        {`{"key":"a","name":"A","time_zone":"UTC","limits":{"users":-1}}`, http.StatusUnprocessableEntity, "body.limits.users"},
		"a NUL":               {`{"key":"a","name":"A\u0000","time_zone":"UTC"}`, http.StatusUnprocessableEntity, ""},
		"too deep":            {`{"key":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, http.StatusUnprocessableEntity, ""},
		"too large":           {`{"key":"` + strings.Repeat("a", 1<<20) + `"}`, http.StatusRequestEntityTooLarge, ""},
		"no body":             {``, http.StatusBadRequest, ""},
	} {
		r := super.Do(http.MethodPost, all, c.body)
		var p api.Problem
		r.Into(&p)
		if r.Status != c.status || p.Code == "" || p.RequestID == "" || p.RequestID != r.Header.Get("X-Request-Id") || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
		if c.field != "" && !slices.ContainsFunc(p.Errors, func(e api.FieldError) bool { return e.Field == c.field }) {
			t.Errorf("%s: no error at %s: %s", name, c.field, r.Body)
		}
	}
	if r := super.Do(http.MethodPost, all, `{}`, "Content-Type", "application/xml"); r.Status != http.StatusUnsupportedMediaType {
		t.Errorf("XML: %d %s", r.Status, r.Body)
	}
	if r := s.As("anonymous").Do(http.MethodPost, all, `{"key":`); r.Status != http.StatusUnauthorized {
		t.Errorf("who is not signed in learns nothing of his input: %d", r.Status)
	}
	if r := super.Do(http.MethodGet, "/v1/nothing", ""); r.Status != http.StatusNotFound || r.Code() == "" {
		t.Errorf("no route: %d %s", r.Status, r.Body)
	}
	if r := super.Do(http.MethodPut, all, "{}"); r.Status != http.StatusMethodNotAllowed || r.Code() == "" {
		t.Errorf("no method: %d %s", r.Status, r.Body)
	}
	name := "Ünïcödé \u202e 🚀 " + strings.Repeat("é", 150)
	text, err := json.Marshal(map[string]string{"key": "unicode", "name": name, "time_zone": "UTC"})
	if err != nil {
		t.Fatal(err)
	}
	var a account
	super.Want(http.StatusCreated, http.MethodPost, all, string(text)).Into(&a)
	if a.Name != name {
		t.Errorf("%q became %q", name, a.Name)
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	admin.Want(http.StatusOK, http.MethodPatch, acme, `{"name":"A"}`, "If-Match", "*", "X-Request-Id", "mine-1")
	if n := count(t, s, `SELECT count(*) FROM audit_entries WHERE request_id = 'mine-1'`); n != 1 {
		t.Error("the audit log does not have the request's id")
	}
	for _, bad := range []string{"with space", strings.Repeat("x", 65), `"quoted"`, "é"} {
		if r := admin.Do(http.MethodGet, acme, "", "X-Request-Id", bad); r.Header.Get("X-Request-Id") == bad || r.Header.Get("X-Request-Id") == "" {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{RequestsPerSecond: 3})
	refused := func(c *controltest.Client) (n int) {
		for range 20 {
			r := c.Do(http.MethodGet, acme, "")
			if r.Status == http.StatusTooManyRequests {
				n++
				if r.Header.Get("Retry-After") == "" || r.Code() != api.CodeRateLimited {
					t.Errorf("%v %s", r.Header, r.Body)
				}
			}
		}
		return n
	}
	if refused(s.As("account_admin:acme@a")) == 0 {
		t.Error("20 at once, and none was refused")
	}
	if r := s.As("account_admin:acme@b").Do(http.MethodGet, acme, ""); r.Status != http.StatusOK {
		t.Errorf("another caller waits for the first: %d", r.Status)
	}
	s.Advance(time.Hour)
	if r := s.As("account_admin:acme@a").Do(http.MethodGet, acme, ""); r.Status != http.StatusOK {
		t.Errorf("later: %d", r.Status)
	}
	s.As("super_admin").Want(http.StatusOK, http.MethodPatch, all+"/key:acme", `{"limits":{"requests_per_second":1}}`, "If-Match", "*")
	n := 0
	for i := range 10 {
		if r := s.As(fmt.Sprintf("account_admin:acme@%d", i)).Do(http.MethodGet, acme, ""); r.Status == http.StatusTooManyRequests {
			n++
		}
	}
	if n == 0 {
		t.Error("the account's limit bounds nobody")
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{Origins: []string{"https://cockpit.example"}})
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO clients (key, name, issuer, client_id, permissions, origins, state) VALUES
		('web', 'Web', 'i', 'c', '{}', '{https://web.example}', 'active'), ('old', 'Old', 'i', 'o', '{}', '{https://old.example}', 'inactive')`); err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{"https://cockpit.example": true, "https://web.example": true, "https://old.example": false, "https://evil.example": false,
		"https://cockpit.example.evil.example": false, "null": false} {
		r := s.As("anonymous").Do(http.MethodOptions, acme, "", "Origin", origin, "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization,if-match")
		if got := r.Header.Get("Access-Control-Allow-Origin") == origin; got != want || r.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", origin, r.Header)
		}
	}
}

func TestTheDocumentAndItsPage(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	var document struct{ Paths map[string]any }
	s.As("anonymous").Want(http.StatusOK, http.MethodGet, "/openapi.json", "").Into(&document)
	text := string(s.As("anonymous").Want(http.StatusOK, http.MethodGet, "/docs", "").Body)
	for _, op := range s.API.Operations() {
		if document.Paths[op.Path] == nil || !strings.Contains(text, `id="`+op.ID+`"`) {
			t.Errorf("%s is not described", op.ID)
		}
	}
	if elsewhere := regexp.MustCompile(`<script|(src|href)="(https?:)?//`).FindString(text); elsewhere != "" {
		t.Errorf("the page has %s: it loads nothing from elsewhere", elsewhere)
	}
}
