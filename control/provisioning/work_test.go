package provisioning_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/provisioning/zitadeltest"
	"github.com/jackc/pgx/v5"
)

func TestAnAccountWithItsPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.z.Before = func(c zitadeltest.Call) { // an id is in its row before anything is made by it, or a lost answer leaves somebody behind
		var in struct{ UserID, OrganizationID string }
		if err := json.Unmarshal([]byte(c.Body), &in); c.Path != "/v2/users/new" && c.Path != "/v2/organizations" || err != nil {
			return
		}
		var known bool
		err := w.Owner.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM issuer_users WHERE subject = $1) OR EXISTS (SELECT FROM issuer_organizations WHERE organization = $2 AND $1 = '')`,
			in.UserID, in.OrganizationID).Scan(&known)
		if err != nil || !known {
			t.Errorf("%s %s: no row has the id (%v)", c.Path, c.Body, err)
		}
	}
	w.As("super_admin").Want(http.StatusCreated, http.MethodPost, "/v1/platform/accounts", `{"key":"new","name":"New","time_zone":"UTC"}`)
	fresh, globex := account(t, w.Server, "new"), account(t, w.Server, "globex")
	ada := invite(t, w.Server, provisioning.Invitee{Account: fresh, Email: "Ada@example.com", GivenName: "Ada", FamilyName: "Lovelace", Roles: []string{provisioning.AccountAdmin}, Mail: true})
	invite(t, w.Server, provisioning.Invitee{Account: globex, Email: "ada@example.com", Roles: []string{provisioning.EndUser}})
	invite(t, w.Server, provisioning.Invitee{Account: fresh, Email: "bob@example.com", Roles: []string{provisioning.EndUser}})
	w.settle(w.p)
	expect(t, "roles", w.roles(), "ada@example.com in New: account_admin", "ada@example.com in Globex: end_user", "bob@example.com in New: end_user")
	if u := w.user("ada@example.com"); len(w.z.Users()) != 2 || w.z.Mails(u.ID) != 1 || u.GivenName != "Ada" || w.z.Mails(w.user("bob@example.com").ID) != 0 {
		t.Errorf("%+v", w.z.Users())
	}
	for _, c := range w.z.Calls() {
		if c.Status/100 != 2 {
			t.Errorf("%+v", c)
		}
	}
	var known provisioning.Known
	in(t, w.Server, fresh, func(ctx context.Context, tx pgx.Tx) (err error) {
		known, err = provisioning.Look(ctx, tx, ada, fresh)
		return err
	})
	if known.Subject != w.user("ada@example.com").ID || known.Person == 0 || known.Seen || known.Account != "synced" {
		t.Errorf("%+v", known)
	}
	w.As("super_admin").Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:new", `{"name":"Newer"}`, "If-Match", "*")
	before := len(w.z.Calls())
	in(t, w.Server, fresh, func(ctx context.Context, tx pgx.Tx) error { return provisioning.Mail(ctx, tx, ada) })
	w.settle(w.p)
	if calls := w.z.Calls()[before:]; len(calls) != 2 || w.z.Mails(known.Subject) != 2 || w.z.Organizations()[0].Name != "Newer" && w.z.Organizations()[1].Name != "Newer" {
		t.Errorf("%+v %+v", calls, w.z.Organizations())
	}
	in(t, w.Server, fresh, func(ctx context.Context, tx pgx.Tx) error { return provisioning.Revoke(ctx, tx, ada, fresh) })
	w.settle(w.p)
	expect(t, "revoked", w.roles(), "ada@example.com in Globex: end_user", "bob@example.com in Newer: end_user")
	in(t, w.Server, globex, func(ctx context.Context, tx pgx.Tx) error { return provisioning.Revoke(ctx, tx, ada, globex) })
	w.settle(w.p)
	if w.user("ada@example.com") != nil || len(w.z.Users()) != 1 {
		t.Errorf("nobody wants her, and she is there: %+v", w.z.Users())
	}
	invite(t, w.Server, provisioning.Invitee{Account: globex, Email: "ada@example.com", Roles: []string{provisioning.EndUser}})
	w.settle(w.p)
	expect(t, "wanted again", w.roles(), "ada@example.com in Globex: end_user", "bob@example.com in Newer: end_user")
}

// Whoever has the e-mail already is taken, if he proved that it is his.
func TestWhoIsThereAlready(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	acme := account(t, w.Server, "acme")
	w.z.AddUser(zitadeltest.User{ID: "theirs", Organization: zitadeltest.Platform, Email: "Ada@Example.com", LoginName: "ada", Verified: true})
	w.z.AddUser(zitadeltest.User{ID: "claims", Organization: zitadeltest.Platform, Email: "bob@example.com", LoginName: "mallory"})
	w.z.AddUser(zitadeltest.User{ID: "shut", Organization: zitadeltest.Platform, Email: "eve@example.com", Verified: true, State: "inactive"})
	for _, email := range []string{"ada@example.com", "bob@example.com", "eve@example.com"} {
		invite(t, w.Server, provisioning.Invitee{Account: acme, Email: email, Roles: []string{provisioning.EndUser}})
	}
	w.settle(w.p)
	expect(t, "roles", w.roles(), "ada in Acme: end_user", "eve@example.com in Acme: end_user")
	if len(w.z.Users()) != 3 {
		t.Errorf("%+v", w.z.Users())
	}
	if n := number(t, w.Server, `SELECT count(*) FROM provisioning WHERE email = 'bob@example.com' AND state = 'failed' AND reason LIKE '%not verified%'`); n != 2 {
		t.Errorf("%v", w.states())
	}
	if n := number(t, w.Server, `SELECT count(*) FROM people WHERE subject = 'shut' AND state = 'inactive'`); n != 1 {
		t.Error("who was deactivated there is active here")
	}
	// Whom we did not make is neither deactivated nor deleted for an account.
	id := number(t, w.Server, `SELECT id FROM issuer_users WHERE email = 'ada@example.com'`)
	in(t, w.Server, acme, func(ctx context.Context, tx pgx.Tx) error {
		return provisioning.SetState(ctx, tx, int64(id), acme, false)
	})
	w.settle(w.p)
	expect(t, "inactive", w.roles(), "ada in Acme: end_user (inactive)", "eve@example.com in Acme: end_user")
	in(t, w.Server, acme, func(ctx context.Context, tx pgx.Tx) error {
		return provisioning.Revoke(ctx, tx, int64(id), acme)
	})
	w.settle(w.p)
	if u := w.user("ada"); u == nil || u.State != "active" {
		t.Errorf("%+v", u)
	}
}

// An authorization that was given by hand before is taken with its roles: the account keeps its admin.
func TestRolesByHandAreTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.z.AddUser(zitadeltest.User{ID: "ada", Organization: zitadeltest.Platform, Email: "ada@example.com", Verified: true})
	acme := account(t, w.Server, "acme")
	invite(t, w.Server, provisioning.Invitee{Account: acme, Email: "bob@example.com", Roles: []string{provisioning.EndUser}})
	w.settle(w.p)
	w.z.Authorize("ada", w.z.Organizations()[0].ID, "account_admin")
	invite(t, w.Server, provisioning.Invitee{Account: acme, Email: "ada@example.com", Roles: []string{provisioning.EndUser}})
	w.settle(w.p)
	expect(t, "roles", w.roles(), "ada@example.com in Acme: account_admin,end_user", "bob@example.com in Acme: end_user")
}

// An account's admin shuts nobody out of another account.
func TestShutOutOfOneAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	acme, globex := account(t, w.Server, "acme"), account(t, w.Server, "globex")
	ada := invite(t, w.Server, provisioning.Invitee{Account: acme, Email: "ada@example.com", Roles: []string{provisioning.EndUser}})
	invite(t, w.Server, provisioning.Invitee{Account: globex, Email: "ada@example.com", Roles: []string{provisioning.EndUser}})
	set := func(account int64, active bool) {
		in(t, w.Server, account, func(ctx context.Context, tx pgx.Tx) error {
			return provisioning.SetState(ctx, tx, ada, account, active)
		})
		w.settle(w.p)
	}
	set(acme, false)
	expect(t, "of one", w.roles(), "ada@example.com in Acme: end_user (inactive)", "ada@example.com in Globex: end_user")
	if u := w.user("ada@example.com"); u.State != "active" {
		t.Errorf("%+v", u)
	}
	set(globex, false)
	if u := w.user("ada@example.com"); u.State != "inactive" {
		t.Errorf("of all, and she is %s", u.State)
	}
	set(acme, true)
	expect(t, "let in", w.roles(), "ada@example.com in Acme: end_user", "ada@example.com in Globex: end_user (inactive)")
	if u := w.user("ada@example.com"); u.State != "active" {
		t.Errorf("%+v", u)
	}
	// The account that she is at home in closes, and she can still sign in for the other.
	set(globex, true)
	super := w.As("super_admin")
	super.Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:acme/close", `{"reason":"x"}`)
	w.settle(w.p)
	closed := func(name string) bool {
		for _, o := range w.z.Organizations() {
			if o.Name == name {
				return !o.Active
			}
		}
		return false
	}
	if closed("Acme") {
		t.Error("her organization is deactivated")
	}
	super.Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:globex/close", `{"reason":"x"}`)
	w.settle(w.p)
	if !closed("Globex") {
		t.Error("the organization of a closed account is active")
	}
}

func TestNamesOfOrganizationsAreUnique(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for _, key := range []string{"one", "two"} {
		w.As("super_admin").Want(http.StatusCreated, http.MethodPost, "/v1/platform/accounts", `{"key":"`+key+`","name":"Same","time_zone":"UTC"}`)
	}
	w.settle(w.p)
	var names []string
	for _, o := range w.z.Organizations() {
		names = append(names, o.Name)
	}
	if all := strings.Join(names, "; "); len(names) != 2 || !strings.Contains(all, "Same (") {
		t.Errorf("%s", all)
	}
}
