package users_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/users"
)

// Whatever key he has or had, and whenever the event was, usage is the user's; and no key is ever another's.
func TestRenaming(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	var u users.User
	rename := func(who, key string) *controltest.Response {
		return a.Do(http.MethodPost, all+"/"+who+"/rename", `{"key":"`+key+`"}`)
	}
	past := time.Now().Add(-24 * time.Hour)
	was := follow(t, s, "u-3", time.Now())
	for _, key := range []string{"ada", "Ada", "lovelace"} {
		rename("key:u-3", key).Into(&u)
	}
	if u.Key != "lovelace" || !slices.Equal(u.Aliases, []string{"u-3", "ada", "Ada"}) {
		t.Errorf("%+v", u)
	}
	for _, key := range []string{"u-3", "ada", "Ada", "lovelace"} {
		for _, at := range []time.Time{past, time.Now()} {
			if to := follow(t, s, key, at); to.User != was.User || to.Member != was.Member || to.Flags != was.Flags {
				t.Errorf("%s at %s: %+v", key, at, to)
			}
		}
		a.Want(http.StatusOK, http.MethodGet, all+"/key:"+key, "")
		if r := a.Do(http.MethodPost, all, `{"key":"`+key+`","name":"Another"}`); r.Code() != "key_taken" {
			t.Errorf("%s again: %d %s", key, r.Status, r.Body)
		}
		if r := rename("key:u-2", key); r.Code() != "key_taken" {
			t.Errorf("%s of another: %d %s", key, r.Status, r.Body)
		}
	}
	if rename("key:lovelace", "u-3").Into(&u); u.Key != "u-3" || !slices.Equal(u.Aliases, []string{"ada", "Ada", "lovelace"}) {
		t.Errorf("back: %+v", u)
	}
	if list := a.Want(http.StatusOK, http.MethodGet, all+"?q=LOVEL", ""); !strings.Contains(string(list.Body), `"u-3"`) {
		t.Errorf("not found by an alias: %s", list.Body)
	}
	for _, bad := range []string{"", "a\\u0308", "erased-1"} {
		if r := rename("key:u-3", bad); r.Status != http.StatusUnprocessableEntity {
			t.Errorf("%q: %d", bad, r.Status)
		}
	}
	a.Want(http.StatusOK, http.MethodPost, all+"/key:u-3/erase", `{"reason":"asked"}`)
	for _, key := range []string{"u-3", "ada", "lovelace"} {
		if to := follow(t, s, key, time.Now()); to.User != 0 {
			t.Errorf("%s is still somebody: %+v", key, to)
		}
		if r := a.Do(http.MethodPost, all, `{"key":"`+key+`","name":"Another"}`); r.Code() != "key_taken" {
			t.Errorf("%s of an erased user: %d %s", key, r.Status, r.Body)
		}
		if r := rename("key:u-2", key); r.Code() != "key_taken" {
			t.Errorf("%s of an erased user, for another: %d %s", key, r.Status, r.Body)
		}
	}
	if r := s.As("account_admin:globex").Do(http.MethodPost, "/v1/accounts/key:globex/users", `{"key":"ada","name":"Ada"}`); r.Status != http.StatusCreated {
		t.Errorf("in another account: %d %s", r.Status, r.Body)
	}
	// Neither the API's roles nor what is left says which keys those were.
	for _, column := range []string{"identity_secret", "key_secret"} {
		var app, platform bool
		if err := s.Owner.QueryRow(t.Context(), `SELECT has_column_privilege('cockpit_app', 'deployment', $1, 'SELECT'), has_column_privilege('cockpit_platform', 'deployment', $1, 'SELECT')`, column).
			Scan(&app, &platform); err != nil || app || platform {
			t.Errorf("%s can be read by the API: %v %v (%v)", column, app, platform, err)
		}
	}
	var left int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM key_aliases`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d aliases are left (%v)", left, err)
	}
}
