package api_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
)

// An operation that could not be checked does not start: no build with it passes its tests.
func TestWhatCanNotBeAnOperation(t *testing.T) {
	t.Parallel()
	good := api.Operation{Method: http.MethodGet, Path: "/v1/platform/x", ID: "x", Summary: "X", Tag: "X", Permission: access.PlatformRead, Examples: []api.Example{{As: "super_admin", Path: "/v1/platform/x"}}}
	for name, change := range map[string]func(*api.Operation){
		"good":                          func(*api.Operation) {},
		"no permission":                 func(o *api.Operation) { o.Permission = "" },
		"an unknown permission":         func(o *api.Operation) { o.Permission = "x.read" },
		"an account's, elsewhere":       func(o *api.Operation) { o.Permission = access.AccountRead },
		"the platform's, in an account": func(o *api.Operation) { o.Path = "/v1/accounts/{account}/x" },
		"a section's, in an account":    func(o *api.Operation) { o.Path, o.Permission = "/v1/accounts/{account}/x", access.SectionRead },
		"no example":                    func(o *api.Operation) { o.Examples = nil },
		"no id":                         func(o *api.Operation) { o.ID = "" },
	} {
		op := good
		change(&op)
		func() {
			defer func() {
				if stopped := recover() != nil; stopped != (name != "good") {
					t.Errorf("%s: refused: %t", name, stopped)
				}
			}()
			api.Read(api.New(api.Config{}), op, func(context.Context, *api.Call, *struct{}) (*struct{}, error) { return nil, nil })
		}()
	}
}
