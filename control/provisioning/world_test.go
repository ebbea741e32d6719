package provisioning_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/provisioning/zitadeltest"
	"github.com/jackc/pgx/v5"
)

const secret = "webhook-secret"

// quick is a pace for tests.
var quick = provisioning.Pace{Idle: time.Millisecond, Backoff: 2 * time.Millisecond, BackoffMax: 8 * time.Millisecond, RowMax: 16 * time.Millisecond, Refused: 20 * time.Millisecond,
	Lease: 20 * time.Second, Settle: 60 * time.Millisecond, Reconcile: time.Hour}

// world is an API that is kept in step with a ZITADEL.
type world struct {
	*controltest.Server
	t    *testing.T
	z    *zitadeltest.Server
	p    *provisioning.Service
	logs bytes.Buffer
	hook string // the webhook's URL
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{t: t, z: zitadeltest.New(t, seed)}
	w.Server = on(t, w.z.URL)
	w.p = w.service(quick)
	server := httptest.NewServer(w.p.Handler())
	t.Cleanup(server.Close)
	w.hook = server.URL
	return w
}

// service is one more process.
func (w *world) service(pace provisioning.Pace) *provisioning.Service {
	w.t.Helper()
	p, err := provisioning.New(provisioning.Config{Issuer: w.z.URL, Key: zitadeltest.KeyFile(w.t), Project: zitadeltest.Project, Platform: zitadeltest.Platform, Secrets: []string{"older", secret},
		Pool: w.Stores.Platform, Audit: audit.NewLog(bytes.Repeat([]byte{7}, 32)), Log: slog.New(slog.NewTextHandler(&w.logs, nil)), Now: time.Now, Pace: pace})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// settle lets the service work until nothing is pending, or everything that is left is failed.
func (w *world) settle(p *provisioning.Service) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for {
		if _, err := p.Once(ctx); err != nil {
			w.t.Fatal(err)
		}
		if number(w.t, w.Server, `SELECT count(*) FROM provisioning WHERE state = 'pending'`) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
		if ctx.Err() != nil {
			w.t.Fatalf("it does not settle: %v", w.states())
		}
	}
}

func (w *world) states() (states []string) {
	rows, err := w.Owner.Query(context.Background(), `SELECT kind || ' ' || id || ' ' || email || ' ' || state || ' ' || attempts || ' ' || reason FROM provisioning ORDER BY id`)
	if err == nil {
		states, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		w.t.Error(err)
	}
	return states
}

// roles are what everybody has at ZITADEL, as login name, organization's name, roles.
func (w *world) roles() (list []string) {
	organizations, users := map[string]string{}, map[string]string{}
	for _, o := range w.z.Organizations() {
		organizations[o.ID] = o.Name
	}
	for _, u := range w.z.Users() {
		users[u.ID] = strings.ToLower(u.LoginName)
	}
	for _, a := range w.z.Authorizations() {
		line := users[a.User] + " in " + organizations[a.Organization] + ": " + strings.Join(slices.Sorted(slices.Values(a.Roles)), ",")
		if !a.Active {
			line += " (inactive)"
		}
		list = append(list, line)
	}
	slices.Sort(list)
	return list
}

// user is somebody at ZITADEL.
func (w *world) user(login string) *zitadeltest.User {
	for _, u := range w.z.Users() {
		if strings.EqualFold(u.LoginName, login) {
			return &u
		}
	}
	return nil
}

// deliver sends what happened since, and wants 200.
func (w *world) deliver(events ...zitadeltest.Event) {
	w.t.Helper()
	if len(events) == 0 {
		events = w.z.Events()
	}
	for _, e := range events {
		if status, err := w.z.Send(w.t.Context(), w.hook, secret, e); err != nil || status != 200 {
			w.t.Errorf("%s: %d %v", e.EventType, status, err)
		}
	}
}

// expect compares what there is with what was wanted.
func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nand not\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
