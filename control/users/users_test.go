package users_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/users"
	"github.com/alchemi/cockpit/internal/testkit"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/fold"
	"github.com/alchemi/cockpit/schemas/events"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	all   = "/v1/accounts/key:acme/users"
	admin = "account_admin:acme"
)

// keys are those of the users on a page.
func keys(s *controltest.Server, query string) (keys []string) {
	var list struct{ Items []users.User }
	s.As(admin).Want(http.StatusOK, http.MethodGet, all+query, "").Into(&list)
	for _, u := range list.Items {
		keys = append(keys, u.Key)
	}
	return keys
}

func TestFinding(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	a.Want(http.StatusCreated, http.MethodPost, all, `{"key":"Ünal","name":"Özlem ÇELİK 100%_","email":"oezlem@ACME.example"}`)
	a.Want(http.StatusOK, http.MethodPost, all+"/key:u-5/erase", `{"reason":"asked"}`)
	erased := keys(s, "?state=erased")
	if len(erased) != 1 || !strings.HasPrefix(erased[0], "erased-") {
		t.Fatalf("%v", erased)
	}
	for query, want := range map[string][]string{
		"?q=LOVE":                               {"u-1"},
		"?q=u-4":                                {"u-4", "u-42"},
		"?q=u-4&sort=-key":                      {"u-42", "u-4"},
		"?q=oezlem@acme":                        {"Ünal"},
		"?q=%C3%BCNAL":                          {"Ünal"},
		"?q=O%CC%88ZLEM":                        {"Ünal"}, // decomposed
		"?q=%25_":                               {"Ünal"},
		"?q=o_zlem":                             nil,
		"?q=knuth":                              nil,
		"?state=inactive":                       {"u-6"},
		"?section=key:console":                  {"u-2", "u-42"},
		"?section=key:copilot&team=key:support": {"u-1", "u-42"},
		"?section=key:copilot&organization=key:eng":          {"u-1", "u-2", "u-3", "u-42"},
		"?section=key:copilot&organization=key:research":     {"u-3"},
		"?section=key:copilot&organization=key:eng&q=turing": {"u-2"},
		"?without_team=true":                                 append(slices.Clone(erased), "Ünal"),
		"?without_team=true&section=key:console":             append(slices.Clone(erased), "u-1", "u-3", "u-4", "u-6", "Ünal"),
	} {
		have := keys(s, query)
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Errorf("%s: %v, want %v", query, have, want)
		}
	}
	for _, query := range []string{"?team=key:support", "?team=tem_zzz", "?section=key:nowhere", "?section=key:console&team=key:support", "?organization=key:eng"} {
		a.Want(http.StatusUnprocessableEntity, http.MethodGet, all+query, "")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	made := func(body string) *controltest.Response { return a.Do(http.MethodPost, all, body) }
	if r := made(`{"key":"U-1","name":"Case matters"}`); r.Status != http.StatusCreated {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	for _, bad := range []string{`{"key":"","name":"A"}`, `{"key":"a\u0308","name":"A"}`, `{"key":"a\u0000","name":"A"}`, `{"key":"` + strings.Repeat("é", 129) + `","name":"A"}`,
		`{"key":"k","name":""}`, `{"key":"k","name":"  "}`, `{"key":"k"}`, `{"key":"k","name":"A","email":"no"}`} {
		if r := made(bad); r.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", bad, r.Status, r.Body)
		}
	}
	if r := a.Do(http.MethodPatch, all+"/key:u-1", `{"key":"u-9"}`, "If-Match", "*"); r.Status != http.StatusUnprocessableEntity {
		t.Errorf("the key was changed: %d", r.Status)
	}
	first := a.Want(http.StatusOK, http.MethodGet, all+"/key:u-1", "").Header.Get("ETag")
	a.Want(http.StatusOK, http.MethodPatch, all+"/key:u-1", `{"email":""}`, "If-Match", first)
	if r := a.Do(http.MethodPatch, all+"/key:u-1", `{"name":"B"}`, "If-Match", first); r.Code() != "stale" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	// The same key at once, as with an Idempotency-Key of each request's own.
	status := make([]int, 8)
	var g sync.WaitGroup
	for i := range status {
		g.Go(func() {
			if r, err := a.Try(t.Context(), http.MethodPost, all, `{"key":"race","name":"A"}`, "Idempotency-Key", fmt.Sprint(i)); err == nil {
				status[i] = r.Status
			}
		})
	}
	g.Wait()
	slices.Sort(status)
	if want := append([]int{http.StatusCreated}, slices.Repeat([]int{http.StatusConflict}, 7)...); !slices.Equal(status, want) {
		t.Errorf("%v", status)
	}
}

// limit gives acme at most n users, and says how many are active.
func limit(t *testing.T, s *controltest.Server, n int) (active int) {
	t.Helper()
	s.As("super_admin").Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:acme", fmt.Sprintf(`{"limits":{"users":%d}}`, n), "If-Match", "*")
	return count(t, s)
}

func count(t *testing.T, s *controltest.Server) (active int) {
	t.Helper()
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM users JOIN accounts a USING (account_id) WHERE a.key = 'acme' AND users.state = 'active'`).Scan(&active); err != nil {
		t.Fatal(err)
	}
	return active
}

func TestTheLimitOfUsers(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	limit(t, s, limit(t, s, 100)+3)
	var g sync.WaitGroup
	for range 8 {
		g.Go(func() {
			r, err := a.Try(t.Context(), http.MethodPost, all, `{"name":"A"}`)
			if err != nil || r.Status != http.StatusCreated && r.Code() != "limit_reached" {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
	g.Wait()
	if n := count(t, s); n != 9 {
		t.Errorf("%d users are active, and 9 may be", n)
	}
	if r := a.Do(http.MethodPost, all+"/key:u-6/reactivate", ""); r.Code() != "limit_reached" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	limit(t, s, 1)
	a.Want(http.StatusOK, http.MethodPost, all+"/key:u-1/deactivate", "")
	a.Want(http.StatusOK, http.MethodPatch, all+"/key:u-2", `{"name":"Renamed"}`, "If-Match", "*")
}

// follow resolves usage of the user in acme's copilot with the directory as it is a moment later.
func follow(t *testing.T, s *controltest.Server, user string, at time.Time) (to metering.Resolution) {
	t.Helper()
	f, err := metering.Follow(t.Context(), s.Metering, slog.Default(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f.Current().Resolve(&metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: user, Model: "gpt-5", TimeMicros: at.UnixMicro()}, &to)
	if to.Reason != 0 {
		t.Fatalf("%s", to.Detail)
	}
	return to
}

func TestMeteringKnowsUsers(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	f, err := metering.Follow(t.Context(), s.Metering, slog.Default(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a.Want(http.StatusCreated, http.MethodPost, all, `{"key":"new","name":"New"}`)
	before := f.Current().Version
	if err := f.Refresh(t.Context()); err != nil || f.Current().Version == before {
		t.Fatalf("a follower did not look: %v", err)
	}
	now := time.Now()
	made := follow(t, s, "new", now)
	if made.User == 0 || made.Flags&events.UserInactive != 0 {
		t.Errorf("%+v", made)
	}
	a.Want(http.StatusOK, http.MethodPost, all+"/key:new/deactivate", "")
	if r := a.Do(http.MethodPost, all+"/key:new/deactivate", ""); r.Code() != "user_inactive" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if to := follow(t, s, "new", now); to.User != made.User || to.Flags&events.UserInactive == 0 {
		t.Errorf("inactive: %+v", to)
	}
	a.Want(http.StatusOK, http.MethodPost, all+"/key:new/reactivate", "")
	if to := follow(t, s, "new", now); to.Flags&events.UserInactive != 0 {
		t.Errorf("active: %+v", to)
	}
	var i users.Identity
	one := `{"source":"alchemi-web","value":"web-7"}`
	a.Want(http.StatusCreated, http.MethodPost, all+"/key:new/identities", one).Into(&i)
	var again users.Identity
	if a.Want(http.StatusCreated, http.MethodPost, all+"/key:new/identities", one).Into(&again); again.ID != i.ID || !again.From.Equal(i.From) {
		t.Errorf("%+v and then %+v", i, again)
	}
	if r := a.Do(http.MethodPost, all+"/key:u-1/identities", one); r.Code() != "identity_taken" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	a.Want(http.StatusNotFound, http.MethodDelete, all+"/key:u-1/identities/"+i.ID, "")
	if to := follow(t, s, "web-7", time.Now()); to.User != made.User {
		t.Errorf("by identity: %+v", to)
	}
	during := time.Now()
	a.Want(http.StatusOK, http.MethodDelete, all+"/key:new/identities/"+i.ID, "")
	a.Want(http.StatusNotFound, http.MethodDelete, all+"/key:new/identities/"+i.ID, "")
	a.Want(http.StatusCreated, http.MethodPost, all+"/key:u-1/identities", one)
	if was, is := follow(t, s, "web-7", during), follow(t, s, "web-7", time.Now()); was.User != made.User || is.User != follow(t, s, "u-1", time.Now()).User {
		t.Errorf("what ended is %+v before, and %+v since", was, is)
	}
}

func TestErasing(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	s.Charge(metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5"}, 1_000_000)
	if _, err := fold.New(s.Metering, slog.Default(), s.Now).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.Want(http.StatusOK, http.MethodPatch, all+"/key:u-42", `{"name":"Grace B. Hopper"}`, "If-Match", "*")
	a.Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:acme/sections/key:copilot/memberships", `{"user":"key:u-42","team":"key:sales"}`)
	var held map[string]json.RawMessage
	r := a.Want(http.StatusOK, http.MethodGet, all+"/key:u-42/export", "")
	if r.Into(&held); !strings.Contains(string(held["identities"]), "gateway-grace") || !strings.Contains(string(held["memberships"]), "support") ||
		!strings.Contains(string(held["amounts"]), `"20"`) || !strings.Contains(string(held["used"]), `"125"`) || !strings.Contains(string(held["audit_log"]), "user.updated") || !strings.Contains(string(held["audit_log"]), "membership.created") {
		t.Errorf("%s", r.Body)
	}
	var u users.User
	a.Want(http.StatusUnprocessableEntity, http.MethodPost, all+"/key:u-42/erase", `{"reason":""}`)
	a.Want(http.StatusOK, http.MethodPost, all+"/key:u-42/erase", `{"reason":"asked"}`).Into(&u)
	if u.State != "erased" || u.Name != "" || u.Email != "" || !strings.HasPrefix(u.Key, "erased-") {
		t.Errorf("%+v", u)
	}
	for _, change := range []*controltest.Response{a.Do(http.MethodPatch, all+"/"+u.ID, `{"name":"B"}`, "If-Match", "*"), a.Do(http.MethodPost, all+"/"+u.ID+"/reactivate", ""),
		a.Do(http.MethodPost, all+"/"+u.ID+"/identities", `{"source":"litellm","value":"x"}`), a.Do(http.MethodPost, all+"/"+u.ID+"/erase", `{"reason":"twice"}`)} {
		if change.Code() != "user_erased" {
			t.Errorf("%d %s", change.Status, change.Body)
		}
	}
	if to := follow(t, s, "u-42", time.Now()); to.User != 0 || to.AccountID == 0 {
		t.Errorf("%+v", to)
	}
	rows, err := s.Owner.Query(t.Context(), `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'people'`)
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, table)
	}
	for _, table := range tables {
		var n int
		if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM "`+table+`" t WHERE t::text ILIKE '%hopper%' OR t::text ILIKE '%grace%' OR t::text LIKE '%u-42%'`).Scan(&n); err != nil || n > 0 {
			t.Errorf("%d rows of %s say who he was (%v)", n, table, err)
		}
	}
	if r := a.Want(http.StatusOK, http.MethodGet, all+"/"+u.ID+"/export", ""); !strings.Contains(string(r.Body), `"125"`) || !strings.Contains(string(r.Body), "support") || strings.Contains(string(r.Body), "race") {
		t.Errorf("what is still held: %s", r.Body)
	}
}
