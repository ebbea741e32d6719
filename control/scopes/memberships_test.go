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
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/schemas/events"
)

const memberships = inIt + "/memberships"

// of are a user's memberships: of what, and which of them is the primary one.
func of(s *controltest.Server, query string) (found []scopes.Membership, keys []string) {
	var list struct{ Items []scopes.Membership }
	s.As(admin).Want(http.StatusOK, http.MethodGet, memberships+query, "").Into(&list)
	for _, m := range list.Items {
		key := m.User.Key + " " + m.Of.Key
		if m.Primary {
			key += "!"
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return list.Items, keys
}

func want(t *testing.T, s *controltest.Server, query string, keys ...string) {
	t.Helper()
	if _, have := of(s, query); !slices.Equal(have, keys) {
		t.Errorf("%s: %v, want %v", query, have, keys)
	}
}

func TestMemberships(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As("section_admin:acme/copilot")
	want(t, s, "?user=key:u-1", "u-1 platform!", "u-1 support")
	want(t, s, "?team=key:support", "u-1 support", "u-42 support!")
	want(t, s, "?team=key:support&primary=true", "u-42 support!")
	want(t, s, "?top=true", "u-5 acme!")
	want(t, s, "?organization=key:eng")
	want(t, s, "?user=key:nobody")
	var m, again scopes.Membership
	a.Want(http.StatusCreated, http.MethodPost, memberships, `{"user":"key:u-1","organization":"key:research"}`).Into(&m)
	a.Want(http.StatusCreated, http.MethodPost, memberships, `{"user":"key:u-1","organization":"key:research"}`).Into(&again)
	if m.ID != again.ID || m.Of.Kind != "organization" || m.Primary || !m.From.Equal(again.From) {
		t.Errorf("%+v and then %+v", m, again)
	}
	a.Want(http.StatusCreated, http.MethodPost, memberships, `{"user":"key:u-1","team":"key:sales","primary":true}`)
	want(t, s, "?user=key:u-1", "u-1 platform", "u-1 research", "u-1 sales!", "u-1 support")
	a.Want(http.StatusOK, http.MethodPost, memberships+"/"+m.ID+"/make-primary", "")
	a.Want(http.StatusOK, http.MethodPost, memberships+"/"+m.ID+"/make-primary", "")
	want(t, s, "?user=key:u-1&primary=true", "u-1 research!")
	if r := a.Do(http.MethodPost, memberships+"/"+m.ID+"/move", `{"team":"key:support"}`); r.Code() != "already_member" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	for _, bad := range []string{`{"user":"key:nobody"}`, `{"user":"key:g-1"}`, `{"user":"key:u-1","team":"key:nowhere"}`, `{"user":"key:u-1","team":"key:support","organization":"key:eng"}`,
		`{"user":"key:u-1","team":"key:eng"}`, `{"user":"key:u-1","team":"key:gateway"}`, `{}`} {
		a.Want(http.StatusUnprocessableEntity, http.MethodPost, memberships, bad)
	}
	elsewhere := "/v1/accounts/key:acme/sections/key:console/memberships/" + m.ID
	s.As(admin).Want(http.StatusNotFound, http.MethodDelete, elsewhere, "")
	s.As("account_viewer:acme").Want(http.StatusForbidden, http.MethodDelete, memberships+"/"+m.ID, "")
	s.As(admin).Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:u-4/erase", `{"reason":"asked"}`)
	want(t, s, "?team=key:sales", "u-1 sales", "u-6 sales!")
}

// Ending the primary one makes another that, down to the last; and what comes after the last begins anew.
func TestThereIsAPrimary(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	end := func(query string) {
		t.Helper()
		found, _ := of(s, query)
		for _, m := range found {
			var ended scopes.Membership
			if a.Want(http.StatusOK, http.MethodDelete, memberships+"/"+m.ID, "").Into(&ended); ended.To == nil || ended.Primary {
				t.Errorf("%+v", ended)
			}
			a.Want(http.StatusNotFound, http.MethodDelete, memberships+"/"+m.ID, "")
		}
	}
	a.Want(http.StatusCreated, http.MethodPost, memberships, `{"user":"key:u-1","team":"key:sales"}`)
	end("?user=key:u-1&primary=true")
	want(t, s, "?user=key:u-1", "u-1 sales", "u-1 support!")
	end("?user=key:u-1&primary=true")
	want(t, s, "?user=key:u-1", "u-1 sales!")
	end("?user=key:u-1")
	want(t, s, "?user=key:u-1")
	if to := use(t, s, "", time.Now()); to.Flags&events.NoMembership == 0 || to.User == 0 {
		t.Errorf("%+v", to)
	}
	a.Want(http.StatusCreated, http.MethodPost, memberships, `{"user":"key:u-1","team":"key:sales"}`)
	want(t, s, "?user=key:u-1", "u-1 sales!")
}

// use resolves usage of u-1 in acme's copilot.
func use(t *testing.T, s *controltest.Server, team string, at time.Time) (to metering.Resolution) {
	t.Helper()
	f, err := metering.Follow(t.Context(), s.Metering, slog.Default(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f.Current().Resolve(&metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-1", Team: team, Model: "gpt-5", TimeMicros: at.UnixMicro()}, &to)
	if to.Reason != 0 {
		t.Fatal(to.Detail)
	}
	return to
}

func TestAMovedMemberIsChargedWhereHeWas(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	found, _ := of(s, "?user=key:u-1&primary=true")
	early := time.Now()
	was, inTeam := use(t, s, "", early), use(t, s, "platform", early)
	var moved scopes.Membership
	a.Want(http.StatusOK, http.MethodPost, memberships+"/"+found[0].ID+"/move", `{"team":"key:sales"}`).Into(&moved)
	if moved.ID == found[0].ID || !moved.Primary || moved.Of.Key != "sales" {
		t.Errorf("%+v", moved)
	}
	now := time.Now()
	if to := use(t, s, "", early); to.Member != was.Member || !slices.Equal(to.Path.Scopes, was.Path.Scopes) {
		t.Errorf("late usage is charged along %v, and was along %v", to.Path.Scopes, was.Path.Scopes)
	}
	if to := use(t, s, "platform", early); to.Member != inTeam.Member || to.Flags != inTeam.Flags {
		t.Errorf("late usage of the team: %+v", to)
	}
	if to := use(t, s, "", now); to.Member == was.Member || slices.Equal(to.Path.Scopes, was.Path.Scopes) || to.Flags != 0 {
		t.Errorf("usage of after the move: %+v", to)
	}
	if to := use(t, s, "platform", now); to.Flags&events.TeamMismatch == 0 {
		t.Errorf("usage of the team that he left: %+v", to)
	}
}

// Memberships of one user end, begin and move at once: whenever he has any, one is primary.
func TestPrimariesAtOnce(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	teamOf := []string{"support", "platform", "sales", "language"}
	for round := range 4 {
		for _, team := range teamOf {
			a.Want(http.StatusCreated, http.MethodPost, memberships, `{"user":"key:u-1","team":"key:`+team+`"}`)
		}
		found, _ := of(s, "?user=key:u-1")
		found = slices.DeleteFunc(found, func(m scopes.Membership) bool { return m.Of.Kind == "account" })
		var g sync.WaitGroup
		for i, m := range found[:len(found)-1] {
			method, path := http.MethodDelete, memberships+"/"+m.ID
			if i == 0 {
				method, path = http.MethodPost, path+"/make-primary"
			}
			g.Go(func() {
				if r, err := a.Try(t.Context(), method, path, "", "Idempotency-Key", fmt.Sprint(round, m.ID)); err != nil || r.Status != http.StatusOK {
					t.Errorf("%+v %v", r, err)
				}
			})
		}
		for range 2 {
			g.Go(func() {
				if r, err := a.Try(t.Context(), http.MethodPost, memberships, `{"user":"key:u-1","primary":true}`); err != nil || r.Status != http.StatusCreated {
					t.Errorf("%+v %v", r, err)
				}
			})
		}
		g.Wait()
		if _, keys := of(s, "?user=key:u-1&primary=true"); len(keys) != 1 {
			t.Errorf("primary: %v", keys)
		}
		_, left := of(s, "?user=key:u-1&top=true")
		if len(left) != 1 {
			t.Errorf("the same membership began twice: %v", left)
		}
	}
	var overlap int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM primary_memberships p JOIN primary_memberships n USING (account_id, section_id, user_id)
		WHERE n.valid_from > p.valid_from AND n.valid_from < p.valid_to`).Scan(&overlap); err != nil || overlap > 0 {
		t.Errorf("%d overlap (%v)", overlap, err)
	}
}
