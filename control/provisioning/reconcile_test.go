package provisioning_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/provisioning/zitadeltest"
)

// differences reconciles, and gives what was told.
func (w *world) differences(apply bool) (told []string) {
	w.t.Helper()
	time.Sleep(quick.Settle + 10*time.Millisecond) // what changed a moment ago is left for the next time
	err := w.p.Reconcile(w.t.Context(), apply, func(d provisioning.Difference) {
		told = append(told, fmt.Sprintf("%s %s %s: %s -> %s, %s", d.Kind, d.Name, d.Field, d.Here, d.There, d.Rule))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(told)
	return told
}

// Every webhook of a while is lost, and lists make up for them.
func TestLostEvents(t *testing.T) {
	t.Parallel()
	w, ada, bob := peopled(t)
	w.z.AddUser(zitadeltest.User{ID: "eve", Organization: zitadeltest.Platform, GivenName: "Eve", FamilyName: "E", Email: "eve@example.com", Verified: true})
	organization := ""
	for _, a := range w.z.Authorizations() {
		organization = a.Organization
		if a.User == ada.ID {
			w.z.Unauthorize(a.ID)
		} else {
			w.z.SetRoles(a.ID, "account_admin")
		}
	}
	w.z.Authorize("eve", organization, "end_user")
	w.z.Rename(ada.ID, "Augusta", "King")
	w.z.Move(bob.ID, "deactivate")
	want := []string{
		"membership Somebody roles:  -> end_user, given by hand: on record, and left",
		"membership ada@example.com roles: account_admin -> , set back at ZITADEL",
		"membership bob@example.com roles: end_user -> account_admin, set back at ZITADEL",
		"user ada@example.com name: Ada L -> Augusta King, taken from ZITADEL",
		"user bob@example.com state: active -> inactive, taken from ZITADEL",
	}
	expect(t, "without --apply", w.differences(false), want...)
	expect(t, "nothing was mended", w.differences(true), want...)
	w.settle(w.p)
	expect(t, "roles", w.roles(), "ada@example.com in Acme: account_admin", "bob@example.com in Acme: end_user", "eve@example.com in Acme: end_user")
	if n := number(t, w.Server, `SELECT count(*) FROM people WHERE name = 'Augusta King' AND state = 'active' OR subject = $1 AND state = 'inactive'`, bob.ID); n != 2 {
		t.Error("people are not as they are at ZITADEL")
	}
	expect(t, "once more", w.differences(true), want[0])
	w.z.Move(ada.ID, "remove")
	if told := w.differences(true); !slices.Contains(told, "user ada@example.com state: active -> removed, taken from ZITADEL") {
		t.Errorf("%q", told)
	}
}

// ZITADEL is away for long: requests succeed, it is not hammered, and when it is back all is done soon. Its webhooks of
// that time are lost.
func TestAnOutage(t *testing.T) {
	t.Parallel()
	w, ada, _ := peopled(t)
	var slow = quick
	slow.Backoff, slow.BackoffMax, slow.RowMax = 20*time.Millisecond, 20*time.Millisecond, 400*time.Millisecond
	p := w.service(slow)
	go func() { _ = p.Run(t.Context()) }()
	w.z.Away(true)
	before := len(w.z.Calls())
	acme := account(t, w.Server, "acme")
	for i := range 120 {
		invite(t, w.Server, provisioning.Invitee{Account: acme, Email: fmt.Sprintf("u%d@example.com", i), Roles: []string{provisioning.EndUser}})
	}
	w.As("super_admin").Want(http.StatusOK, http.MethodPatch, "/v1/platform/accounts/key:acme", `{"name":"Acme Corp"}`, "If-Match", "*")
	w.z.Move(ada.ID, "deactivate")
	w.z.Events() // lost
	for len(w.z.Calls())-before < 20 {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // that it is away is known now, and one row is tried a pause
	before = len(w.z.Calls())
	began := time.Now()
	time.Sleep(500 * time.Millisecond)
	if calls, most := len(w.z.Calls())-before, 20+int(time.Since(began)/(20*time.Millisecond)); calls > most {
		t.Errorf("%d calls while it was away for %v", calls, time.Since(began))
	}
	if n := number(t, w.Server, `SELECT count(*) FROM provisioning WHERE state = 'failed'`); n != 0 {
		t.Error("rows are failed, and it was away")
	}
	w.z.Away(false)
	for number(t, w.Server, `SELECT count(*) FROM provisioning WHERE state <> 'synced'`) > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	for number(t, w.Server, `SELECT count(*) FROM people WHERE subject = $1 AND state = 'inactive'`, ada.ID) != 1 {
		time.Sleep(5 * time.Millisecond)
	}
	if users := w.z.Users(); len(users) != 122 {
		t.Errorf("%d users", len(users))
	}
	if o := w.z.Organizations(); len(o) != 1 || o[0].Name != "Acme Corp" {
		t.Errorf("%+v", o)
	}
}

// More than a page of everything.
func TestManyPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	acme := account(t, w.Server, "acme")
	for i := range 230 {
		invite(t, w.Server, provisioning.Invitee{Account: acme, Email: fmt.Sprintf("u%03d@example.com", i), Roles: []string{provisioning.EndUser}})
	}
	w.settle(w.p)
	for _, u := range w.z.Users() {
		w.z.Rename(u.ID, "New", u.Email)
	}
	for _, a := range w.z.Authorizations() {
		w.z.SetRoles(a.ID, "account_admin")
	}
	if told := w.differences(true); len(told) != 460 {
		t.Errorf("%d differences", len(told))
	}
	w.settle(w.p)
	if told := w.differences(true); len(told) != 0 {
		t.Errorf("%q", told)
	}
}

// What a proxy says while ZITADEL is away says nothing of a user.
func TestAProxysWordIsNotTaken(t *testing.T) {
	t.Parallel()
	w, ada, _ := peopled(t)
	time.Sleep(quick.Settle + 10*time.Millisecond)
	for _, f := range []zitadeltest.Faults{{Proxy: 100}, {Broken: 100}, {Closed: 100}, {Error: 100}, {Limited: 100}} {
		w.z.Misbehave(f)
		if err := w.p.Reconcile(t.Context(), true, func(d provisioning.Difference) { t.Errorf("%+v: %+v", f, d) }); err == nil {
			t.Errorf("%+v: it compared with nothing", f)
		}
	}
	if n := number(t, w.Server, `SELECT count(*) FROM people WHERE subject = $1 AND state = 'active'`, ada.ID); n != 1 {
		t.Error("she is inactive")
	}
	w.z.Misbehave(zitadeltest.Faults{Proxy: 100})
	invite(t, w.Server, provisioning.Invitee{Account: account(t, w.Server, "acme"), Email: "cy@example.com", Roles: []string{provisioning.EndUser}})
	for range 20 {
		if _, err := w.p.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(quick.RowMax)
	}
	if n := number(t, w.Server, `SELECT count(*) FROM provisioning WHERE state = 'failed'`); n != 0 {
		t.Errorf("a proxy refuses, and rows are failed: %v", w.states())
	}
	if strings.Contains(w.logs.String(), "SECRETCODE") {
		t.Error("a code of a mail is in the log")
	}
}
