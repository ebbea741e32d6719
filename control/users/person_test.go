package users_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/users"
)

// A person is one user of an account, in any number of accounts; what names the subject is charged to the user for as long.
func TestPeople(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	link := func(user, body string) *controltest.Response {
		return a.Do(http.MethodPut, all+"/"+user+"/person", body)
	}
	var u users.User
	if r := link("key:u-3", `{"email":"GRACE@acme.example"}`); r.Status != http.StatusOK {
		t.Fatalf("%d %s", r.Status, r.Body)
	} else if r.Into(&u); !strings.HasPrefix(u.Person, "per_") {
		t.Errorf("%+v", u)
	}
	link("key:u-3", `{"person":"`+u.Person+`"}`) // again is nothing
	if to := follow(t, s, "grace", time.Now()); to.User != follow(t, s, "u-3", time.Now()).User || to.User == 0 {
		t.Errorf("the subject is %+v", to)
	}
	s.As(admin+"@other").Want(http.StatusOK, http.MethodGet, all, "")
	for body, want := range map[string]string{`{"subject":"grace"}`: "person_linked", `{"subject":"nobody"}`: "invalid", `{}`: "invalid", `{"subject":"a","email":"b"}`: "invalid"} {
		if r := link("key:u-2", body); r.Code() != want {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
	}
	if r := link("key:u-3", `{"subject":"`+admin+`@other"}`); r.Code() != "user_linked" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	s.As("account_admin:globex").Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:globex/users", `{"key":"g","name":"Grace"}`)
	if r := s.As("account_admin:globex").Do(http.MethodPut, "/v1/accounts/key:globex/users/key:g/person", `{"person":"`+u.Person+`"}`); r.Code() != "invalid" {
		t.Errorf("an id of somebody who is nothing there: %d %s", r.Status, r.Body)
	}
	s.As("account_admin:globex").Want(http.StatusOK, http.MethodPut, "/v1/accounts/key:globex/users/key:g/person", `{"subject":"grace"}`)
	var list struct{ Items []users.PersonsUser }
	s.As("super_admin").Want(http.StatusOK, http.MethodGet, "/v1/platform/people/"+u.Person+"/users", "").Into(&list)
	if len(list.Items) != 2 || list.Items[0].Account.Key != "acme" || list.Items[0].Key != "u-3" || list.Items[1].Account.Key != "globex" || list.Items[1].Key != "g" {
		t.Errorf("%+v", list)
	}
	if csv := s.As("super_admin").Want(http.StatusOK, http.MethodGet, "/v1/platform/people/"+u.Person+"/users.csv", ""); !strings.Contains(string(csv.Body), "acme") {
		t.Errorf("%s", csv.Body)
	}
	s.As("super_admin").Want(http.StatusNotFound, http.MethodGet, "/v1/platform/people/per_zzzz/users", "")
	if r := a.Want(http.StatusOK, http.MethodGet, all+"?person="+u.Person, ""); strings.Count(string(r.Body), `"usr_`) != 1 {
		t.Errorf("%s", r.Body)
	}
	during := time.Now()
	u = users.User{}
	a.Want(http.StatusOK, http.MethodDelete, all+"/key:u-3/person", "").Into(&u)
	if was, is := follow(t, s, "grace", during), follow(t, s, "grace", time.Now()); u.Person != "" || was.User == 0 || is.User != 0 {
		t.Errorf("%+v: %+v before, and %+v since", u, was, is)
	}
	link("key:u-2", `{"subject":"grace"}`)
	a.Want(http.StatusOK, http.MethodPost, all+"/key:u-2/erase", `{"reason":"asked"}`).Into(&u)
	if u.Person != "" {
		t.Errorf("%+v", u)
	}
}

// Each field that is shown can be filtered by.
func TestFilters(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	before := time.Now()
	a.Want(http.StatusCreated, http.MethodPost, all, `{"key":"new","name":"New","email":"new@acme.example"}`)
	a.Want(http.StatusOK, http.MethodPut, all+"/key:new/person", `{"subject":"grace"}`)
	at := url.QueryEscape(before.UTC().Format(time.RFC3339Nano))
	for query, want := range map[string]int{"?key=new": 1, "?key=NEW": 0, "?email=NEW@acme.example": 1, "?created_after=" + at: 1, "?linked=true": 1, "?linked=true&created_before=" + at: 0,
		"?linked=false&created_after=" + at: 0} {
		var list struct{ Items []users.User }
		a.Want(http.StatusOK, http.MethodGet, all+query, "").Into(&list)
		if len(list.Items) != want {
			t.Errorf("%s: %d, want %d", query, len(list.Items), want)
		}
	}
	a.Want(http.StatusUnprocessableEntity, http.MethodGet, all+"?created_after=yesterday", "")
}
