// Package control is the control API: the ground (control/api) with every noun on it.
//
// It owns which nouns there are, and nothing else. How to add one: docs/adding-a-noun.md.
package control

import (
	"github.com/alchemi/cockpit/control/accounts"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/auditlog"
	"github.com/alchemi/cockpit/control/clients"
	"github.com/alchemi/cockpit/control/invites"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/alchemi/cockpit/control/keys"
	"github.com/alchemi/cockpit/control/people"
	"github.com/alchemi/cockpit/control/provisionings"
	"github.com/alchemi/cockpit/control/scopes"
	"github.com/alchemi/cockpit/control/sections"
	"github.com/alchemi/cockpit/control/sessions"
	"github.com/alchemi/cockpit/control/summaries"
	"github.com/alchemi/cockpit/control/unattributed"
	"github.com/alchemi/cockpit/control/users"
)

//go:generate sh -c "go run ../cmd/cockpit openapi > ../schemas/openapi.json"

// New returns the API with all operations. Without stores it can describe itself, and answers nothing.
func New(cfg api.Config) *api.API {
	a := api.New(cfg)
	describeEvents(a)
	accounts.Register(a)
	keys.Register(a)
	people.Register(a)
	provisionings.Register(a)
	sessions.Register(a)
	auditlog.Register(a)
	clients.Register(a)
	sections.Register(a)
	summaries.Register(a)
	users.Register(a)
	scopes.Register(a)
	invites.Register(a)
	unattributed.Register(a)
	j := jobs.New(a)
	accounts.RegisterJobs(j)
	users.RegisterJobs(j)
	scopes.RegisterJobs(j)
	users.RegisterFiles(a, j)
	scopes.RegisterFiles(a, j)
	invites.RegisterJobs(j, invites.Users[users.Filter]{IDs: users.Named, Filter: users.Selected})
	j.Serve()
	return a
}
