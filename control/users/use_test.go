package users_test

import (
	"log/slog"
	"net/http"
	"slices"
	"testing"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/users"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/fold"
)

// Who used nothing, and who used all that he may, is found as of the last checkpoint.
func TestFilterByUse(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	found := func(path string) (keys []string) {
		t.Helper()
		var list struct{ Items []users.User }
		a.Want(http.StatusOK, http.MethodGet, path, "").Into(&list)
		for _, u := range list.Items {
			keys = append(keys, u.Key)
		}
		return keys
	}
	everybody := found(all)
	s.Charge(metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-1", Model: "gpt-5"}, 1_000)
	s.Charge(metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5"}, 200_000_000) // he has 20
	if _, err := fold.New(s.Metering, slog.Default(), s.Now).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	rest := slices.DeleteFunc(slices.Clone(everybody), func(key string) bool { return key == "u-1" || key == "u-42" })
	const section = "/v1/accounts/key:acme/sections/key:copilot"
	for path, want := range map[string][]string{
		all + "?without_use=true":                           rest,
		all + "?without_use=true&section=key:copilot&q=u-2": {"u-2"},
		all + "?over_allocation=true":                       {"u-42"},
		all + "?over_allocation=true&without_use=true":      nil,
		all + "?over_allocation=true&section=key:console":   nil,
		section + "/teams?over_allocation=true":             {"support"}, // it has a cap of 9000
	} {
		if have := found(path); !slices.Equal(have, want) {
			t.Errorf("%s: %q, want %q", path, have, want)
		}
	}
	if unused := found(section + "/teams?without_use=true"); slices.Contains(unused, "support") || len(unused) == 0 {
		t.Errorf("teams without use: %q", unused)
	}
	if eng := found(section + "/organizations?without_use=true"); slices.Contains(eng, "eng") {
		t.Errorf("organizations without use: %q", eng)
	}
}
