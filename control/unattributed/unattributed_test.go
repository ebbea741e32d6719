package unattributed_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/unattributed"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const acme = "/v1/accounts/key:acme"

// Without ClickHouse the list says so, and what is said of keys goes on.
func TestUsageThatCannotBeReadIsSaidSo(t *testing.T) {
	t.Parallel()
	gone := controltest.New(t, controltest.Options{ClickHouse: "http://127.0.0.1:1/test"})
	for _, s := range []*controltest.Server{controltest.New(t, controltest.Options{}), gone} {
		admin := s.As("account_admin:acme")
		for _, path := range []string{"/unattributed", "/unattributed.csv"} {
			r := admin.Want(http.StatusServiceUnavailable, http.MethodGet, acme+path, "")
			if r.Code() != "usage_unavailable" || r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %s", path, r.Body)
			}
		}
		admin.Want(http.StatusCreated, http.MethodPost, acme+"/attributions", `{"key":"x","user":"key:u-3","sources":["alchemi-ai"],"reason":"r"}`)
	}
}

// What can't be said of a key is refused, and changes nothing.
func TestAttributionsThatCannotBe(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	post := func(status int, body string) *controltest.Response {
		t.Helper()
		return admin.Want(status, http.MethodPost, acme+"/attributions", body)
	}
	var a unattributed.Attribution
	post(http.StatusCreated, `{"key":"old","user":"key:u-3","sources":["alchemi-ai","litellm"],"reason":"r"}`).Into(&a)
	if a.State != "done" || a.FinishedAt == nil || a.User.Key != "u-3" {
		t.Errorf("%+v", a)
	}
	for _, c := range []struct {
		status     int
		code, body string
	}{
		{409, "identity_taken", `{"key":"old","user":"key:u-2","sources":["litellm"],"reason":"r"}`},
		{409, "key_taken", `{"key":"u-1","user":"key:u-3","sources":["litellm"],"reason":"r"}`},
		{422, "invalid", `{"key":"new","user":"key:nobody","sources":["litellm"],"reason":"r"}`},
		{422, "invalid", `{"key":"new","user":"key:u-3","reason":"r"}`},
		{422, "invalid", `{"key":"new","user":"key:u-3","sources":[""],"reason":"r"}`},
		{422, "invalid", `{"key":"new","user":"key:u-3","sources":["x"],"section":"key:nowhere","reason":"r"}`},
	} {
		if r := post(c.status, c.body); r.Code() != c.code {
			t.Errorf("%s: %s", c.body, r.Body)
		}
	}
	// His own key needs no identity, and asks for a correction of what had no membership, say.
	post(http.StatusCreated, `{"key":"u-3","user":"key:u-3","correct":true,"reason":"r"}`).Into(&a)
	if r := admin.Want(http.StatusConflict, http.MethodPost, acme+"/attributions/"+a.ID+"/retry", ""); r.Code() != "attribution_waiting" {
		t.Errorf("%s", r.Body)
	}
	admin.Want(http.StatusOK, http.MethodPost, acme+"/users/key:u-3/erase", `{"reason":"he asked"}`)
	admin.Want(http.StatusOK, http.MethodGet, acme+"/attributions/"+a.ID, "").Into(&a)
	if a.State != "failed" || a.Key != "" || a.Reason != "" {
		t.Errorf("%+v", a)
	}
	if r := admin.Want(http.StatusConflict, http.MethodPost, acme+"/attributions/"+a.ID+"/retry", ""); r.Code() != "user_erased" {
		t.Errorf("%s", r.Body)
	}
	if list := admin.Want(http.StatusOK, http.MethodGet, acme+"/attributions.csv?state=done&user="+a.User.ID, ""); strings.Count(string(list.Body), "\n") != 2 {
		t.Errorf("%s", list.Body)
	}
}
