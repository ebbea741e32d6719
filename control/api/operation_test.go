package api_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/controltest"
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

// super is everybody.
type super struct{}

func (super) Authenticate(*http.Request) (*access.Principal, error) {
	return &access.Principal{Kind: access.Person, ID: 1, Grants: []access.Grant{{Role: access.SuperAdmin}}}, nil
}

// A write may work for longer than a body may take to come: it is not ended as if its caller had gone.
func TestAWriteThatTakesLong(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := api.New(api.Config{Stores: s.Stores, Authenticator: super{}, Audit: audit.NewLog(make([]byte, 32)), Log: slog.New(slog.DiscardHandler), Now: s.Now})
	op := api.Operation{Method: http.MethodPost, Path: "/v1/platform/x", ID: "x", Summary: "X", Tag: "X", Permission: access.AccountsManage, Examples: []api.Example{{As: "super_admin", Path: "/v1/platform/x"}}}
	type input struct{ Body struct{ Name string } }
	api.Write(a, op, func(ctx context.Context, c *api.Call, _ *input) (*struct{}, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(6 * time.Second): // huma's own deadline is 5
		}
		return nil, c.Record(ctx, api.Change{Action: "x.done", Object: audit.Object{Kind: "x", ID: "x"}})
	})
	server := httptest.NewServer(a.Handler())
	defer server.Close()
	r, err := http.Post(server.URL+"/v1/platform/x", "application/json", strings.NewReader(`{"Name":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK && r.StatusCode != http.StatusNoContent {
		t.Errorf("%d %s", r.StatusCode, text)
	}
}
