package scopes_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/scopes"
	"github.com/alchemi/cockpit/internal/testkit"
	metering "github.com/alchemi/cockpit/metering/directory"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	admin = "account_admin:acme"
	inIt  = "/v1/accounts/key:acme/sections/key:copilot"
	orgs  = inIt + "/organizations"
	teams = inIt + "/teams"
)

func keys(s *controltest.Server, path string) (keys []string) {
	var list struct{ Items []scopes.Scope }
	s.As(admin).Want(http.StatusOK, http.MethodGet, path, "").Into(&list)
	for _, one := range list.Items {
		keys = append(keys, one.Key)
	}
	return keys
}

func TestLists(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	a.Want(http.StatusCreated, http.MethodPost, teams, `{"key":"idle","name":"Ünused"}`)
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:idle/deactivate", "")
	for path, want := range map[string][]string{
		orgs:                           {"eng", "research"},
		orgs + "?top=true":             {"eng"},
		orgs + "?organization=key:eng": {"research"},
		teams:                          {"idle", "language", "platform", "sales", "support"},
		teams + "?state=inactive":      {"idle"},
		teams + "?q=%C3%BCN":           {"idle"},
		teams + "?key=idle":            {"idle"},
		teams + "?created_after=2999-01-01T00:00:00Z":     {},
		teams + "?top=true":                               {"sales"},
		teams + "?organization=key:eng&q=SUP":             {"support"},
		teams + "?sort=-name&state=active":                {"support", "sales", "platform", "language"},
		inIt[:len(inIt)-len("copilot")] + "console/teams": {"gateway"},
	} {
		if have := keys(s, path); !slices.Equal(have, want) {
			t.Errorf("%s: %v, want %v", path, have, want)
		}
	}
	s.As("account_viewer:acme").Want(http.StatusForbidden, http.MethodPost, teams, `{"name":"A"}`)
	s.As("section_admin:acme/console").Want(http.StatusNotFound, http.MethodPost, teams, `{"name":"A"}`)
}

// along is the path that usage of a time in a team of acme's copilot is charged along, in names.
func along(t *testing.T, s *controltest.Server, team string, at time.Time) (names []string) {
	t.Helper()
	f, err := metering.Follow(t.Context(), s.Metering, slog.Default(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var to metering.Resolution
	f.Current().Resolve(&metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", Team: team, Model: "gpt-5", TimeMicros: at.UnixMicro()}, &to)
	if to.Reason != 0 {
		t.Fatal(to.Detail)
	}
	for _, id := range to.Path.Scopes {
		var name string
		if err := s.Owner.QueryRow(t.Context(), `SELECT coalesce(key, kind) FROM scopes WHERE id = $1`, id).Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func TestAMoveCountsFromNowOn(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	f, err := metering.Follow(t.Context(), s.Metering, slog.Default(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	before := f.Current().Version
	early := time.Now()
	var moved scopes.Scope
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:platform/move", `{"organization":"key:research"}`).Into(&moved)
	if moved.Parent == nil || moved.Parent.Key != "research" || moved.State != "active" {
		t.Errorf("%+v", moved)
	}
	if err := f.Refresh(t.Context()); err != nil || f.Current().Version == before {
		t.Errorf("a follower did not look: %v", err)
	}
	middle := time.Now()
	a.Want(http.StatusOK, http.MethodPost, orgs+"/key:research/move", `{}`)
	now := time.Now()
	for _, c := range []struct {
		at   time.Time
		want []string
	}{{early, []string{"account", "eng", "platform"}}, {middle, []string{"account", "eng", "research", "platform"}}, {now, []string{"account", "research", "platform"}}} {
		if have := along(t, s, "platform", c.at); !slices.Equal(have, c.want) {
			t.Errorf("along %v, want %v", have, c.want)
		}
	}
	var edited int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM scope_parents p JOIN scope_parents n ON n.account_id = p.account_id AND n.scope_id = p.scope_id
		AND n.valid_from > p.valid_from AND n.valid_from < p.valid_to`).Scan(&edited); err != nil || edited > 0 {
		t.Errorf("%d links overlap (%v)", edited, err)
	}
}

func TestDeactivating(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	for _, full := range []string{orgs + "/key:eng", orgs + "/key:research", teams + "/key:support"} {
		if r := a.Do(http.MethodPost, full+"/deactivate", ""); r.Code() != "not_empty" {
			t.Errorf("%s: %d %s", full, r.Status, r.Body)
		}
	}
	a.Want(http.StatusCreated, http.MethodPost, orgs, `{"key":"old","name":"Old","organization":"key:eng"}`)
	a.Want(http.StatusCreated, http.MethodPost, teams, `{"key":"old","name":"Old","organization":"key:old"}`)
	var team scopes.Scope
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:old/deactivate", "").Into(&team)
	if team.State != "inactive" || team.Parent != nil {
		t.Errorf("%+v", team)
	}
	a.Want(http.StatusOK, http.MethodPost, orgs+"/key:old/deactivate", "")
	for _, r := range []*controltest.Response{a.Do(http.MethodPost, teams+"/key:old/deactivate", ""), a.Do(http.MethodPost, teams, `{"name":"A","organization":"key:old"}`),
		a.Do(http.MethodPost, teams+"/key:old/move", `{"organization":"key:old"}`), a.Do(http.MethodPost, teams, `{"key":"old","name":"Another"}`)} {
		if r.Status != http.StatusConflict {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	}
	if have := along(t, s, "old", time.Now()); !slices.Equal(have, []string{"account", "eng", "old", "old"}) {
		t.Errorf("usage that still names it is charged along %v", have)
	}
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:old/move", `{"organization":"key:research"}`)
	if have := along(t, s, "old", time.Now()); !slices.Equal(have, []string{"account", "eng", "research", "old"}) {
		t.Errorf("active again, along %v", have)
	}
}

func TestNamesAndKeys(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	first := a.Want(http.StatusOK, http.MethodGet, teams+"/key:support", "").Header.Get("ETag")
	a.Want(http.StatusOK, http.MethodPatch, teams+"/key:support", `{"name":"Care"}`, "If-Match", first)
	if r := a.Do(http.MethodPatch, teams+"/key:support", `{"name":"B"}`, "If-Match", first); r.Code() != "stale" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	a.Want(http.StatusNotFound, http.MethodGet, orgs+"/key:support", "")
	a.Want(http.StatusUnprocessableEntity, http.MethodPost, teams, `{"key":"a\u0308","name":"A"}`)
	a.Want(http.StatusUnprocessableEntity, http.MethodPatch, teams+"/key:support", `{"key":"x"}`, "If-Match", "*")
	if r := a.Do(http.MethodPost, "/v1/accounts/key:initech/sections/key:copilot/teams", `{"name":"A"}`); r.Status != http.StatusNotFound {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if r := s.As("account_admin:initech").Do(http.MethodPost, "/v1/accounts/key:initech/sections/key:copilot/teams", `{"name":"A"}`); r.Code() != "section_absent" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	status := make([]int, 8)
	var g sync.WaitGroup
	for i := range status {
		g.Go(func() {
			if r, err := a.Try(t.Context(), http.MethodPost, teams, `{"key":"race","name":"A"}`); err == nil {
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

// Two moves, each fine by itself, that would make a circle together.
func TestNoCircle(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	for _, body := range []string{`{"organization":"key:research"}`, `{"organization":"key:eng"}`} {
		if r := a.Do(http.MethodPost, orgs+"/key:eng/move", body); r.Code() != "circle" {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	}
	for i := range 6 {
		one, two := fmt.Sprintf("one%d", i), fmt.Sprintf("two%d", i)
		for _, key := range []string{one, two} {
			a.Want(http.StatusCreated, http.MethodPost, orgs, `{"key":"`+key+`","name":"A"}`)
		}
		var moved, refused int
		var mu sync.Mutex
		var g sync.WaitGroup
		for _, pair := range [][2]string{{one, two}, {two, one}} {
			g.Go(func() {
				r, err := a.Try(t.Context(), http.MethodPost, orgs+"/key:"+pair[0]+"/move", `{"organization":"key:`+pair[1]+`"}`, "Idempotency-Key", pair[0])
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && r.Status == http.StatusOK:
					moved++
				case err == nil && r.Code() == "circle":
					refused++
				default:
					t.Errorf("%+v %v", r, err)
				}
			})
		}
		g.Wait()
		if moved != 1 || refused != 1 {
			t.Errorf("%d moved and %d were refused", moved, refused)
		}
	}
	if _, err := metering.Follow(t.Context(), s.Metering, slog.Default(), time.Hour); err != nil {
		t.Error(err)
	}
}

// Sales has 5000 of its own: below Research, which has an equal share, as much as that is; not below what has less.
func TestAMoveSetsAsideNoMoreThanThereIs(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:sales/move", `{"organization":"key:eng"}`)
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO allocations (account_id, scope_id, kind, amount, valid_from, author)
		SELECT account_id, id, 'fixed', 1000000, now() - interval '1 hour', 'test' FROM scopes WHERE key = 'research'`); err != nil {
		t.Fatal(err)
	}
	r := a.Do(http.MethodPost, teams+"/key:sales/move", `{"organization":"key:research"}`)
	if r.Code() != "allocation_short" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	if have := keys(s, teams+"?organization=key:research"); !slices.Equal(have, []string{"language"}) {
		t.Errorf("it was moved all the same: %v", have)
	}
}

func TestTheLimitOfTeams(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	a.Want(http.StatusCreated, http.MethodPost, teams, `{"key":"idle","name":"A"}`)
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:idle/deactivate", "")
	s.As("super_admin").Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:acme", `{"limits":{"teams":7}}`, "If-Match", "*")
	var g sync.WaitGroup
	for range 6 {
		g.Go(func() {
			r, err := a.Try(t.Context(), http.MethodPost, teams, `{"name":"A"}`)
			if err != nil || r.Status != http.StatusCreated && r.Code() != "limit_reached" {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
	g.Wait()
	if n := len(keys(s, teams+"?state=active")); n != 6 { // and one in console
		t.Errorf("%d teams are active", n)
	}
	if r := a.Do(http.MethodPost, teams+"/key:idle/move", `{}`); r.Code() != "limit_reached" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:sales/move", `{}`)
	a.Want(http.StatusCreated, http.MethodPost, orgs, `{"name":"A"}`)
}

// Products go on naming a team by the key that it had: charged along the same path, at any time.
func TestRenaming(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As("section_admin:acme/copilot")
	resolve := func(team string, at time.Time) metering.Resolution {
		t.Helper()
		f, err := metering.Follow(t.Context(), s.Metering, slog.Default(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var to metering.Resolution
		f.Current().Resolve(&metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Team: team, Model: "gpt-5", TimeMicros: at.UnixMicro()}, &to)
		return to
	}
	was := resolve("support", time.Now())
	var team scopes.Scope
	a.Want(http.StatusOK, http.MethodPost, teams+"/key:support/rename", `{"key":"care"}`).Into(&team)
	if team.Key != "care" || !slices.Equal(team.Aliases, []string{"support"}) {
		t.Errorf("%+v", team)
	}
	for _, key := range []string{"support", "care"} {
		for _, at := range []time.Time{time.Now(), time.Now().Add(-24 * time.Hour)} {
			if to := resolve(key, at); !slices.Equal(to.Path.Scopes, was.Path.Scopes) || to.Member != was.Member || to.Flags != was.Flags {
				t.Errorf("%s: %+v, and was %+v", key, to, was)
			}
		}
		a.Want(http.StatusOK, http.MethodGet, teams+"/key:"+key, "")
		if r := a.Do(http.MethodPost, teams, `{"key":"`+key+`","name":"Another"}`); r.Code() != "key_taken" {
			t.Errorf("%s again: %d %s", key, r.Status, r.Body)
		}
		if r := a.Do(http.MethodPost, teams+"/key:sales/rename", `{"key":"`+key+`"}`); r.Code() != "key_taken" {
			t.Errorf("%s for another: %d %s", key, r.Status, r.Body)
		}
		a.Want(http.StatusCreated, http.MethodPost, orgs, `{"key":"`+key+`","name":"An organization, which is another thing"}`)
	}
	if have := keys(s, teams+"?q=UPPO"); !slices.Equal(have, []string{"care"}) {
		t.Errorf("by its alias: %q", have)
	}
	a.Want(http.StatusOK, http.MethodPost, orgs+"/key:eng/rename", `{"key":"engineering"}`)
	a.Want(http.StatusCreated, http.MethodPost, teams, `{"name":"Below it","organization":"key:eng"}`)
}
