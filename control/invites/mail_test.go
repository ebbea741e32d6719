package invites_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/invites"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/provisioning/zitadeltest"
)

// world is an API that provisions a ZITADEL.
type world struct {
	*controltest.Server
	t *testing.T
	z *zitadeltest.Server
	p *provisioning.Service
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Server: controltest.New(t, controltest.Options{}), t: t, z: zitadeltest.New(t, 1)}
	if err := provisioning.Switch(t.Context(), w.Stores.Platform, w.z.URL); err != nil {
		t.Fatal(err)
	}
	var err error
	w.p, err = provisioning.New(provisioning.Config{Issuer: w.z.URL, Key: zitadeltest.KeyFile(t), Project: zitadeltest.Project, Platform: zitadeltest.Platform, Pool: w.Stores.Platform,
		Audit: audit.NewLog(bytes.Repeat([]byte{7}, 32)), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Pace: provisioning.Pace{Idle: time.Millisecond, Backoff: time.Millisecond, BackoffMax: 8 * time.Millisecond, RowMax: 16 * time.Millisecond, Refused: 20 * time.Millisecond, Lease: 20 * time.Second, Settle: time.Millisecond, Reconcile: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	w.Work()
	return w
}

// settle lets ZITADEL become what is wanted.
func (w *world) settle() {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); count(w.t, w.Server, `SELECT count(*) FROM provisioning WHERE state <> 'synced'`) > 0; time.Sleep(time.Millisecond) {
		if _, err := w.p.Once(w.t.Context()); err != nil || time.Now().After(deadline) {
			w.t.Fatalf("it does not settle: %v", err)
		}
	}
	time.Sleep(2 * time.Millisecond) // what changed a moment ago is not compared with lists
}

// told is ZITADEL's side of somebody, who must be one.
func (w *world) told(email string) (u zitadeltest.User, roles []string, active bool) {
	w.t.Helper()
	n := 0
	for _, one := range w.z.Users() {
		if one.Email == email {
			u = one
			n++
		}
	}
	if n != 1 {
		w.t.Fatalf("%d users have the e-mail %s", n, email)
	}
	for _, a := range w.z.Authorizations() {
		if a.User == u.ID {
			roles, active = append(roles, a.Roles...), a.Active
		}
	}
	return u, roles, active
}

// follows is what somebody does with ZITADEL's mail; its webhook is lost.
func (w *world) follows(email string) {
	w.t.Helper()
	u, _, _ := w.told(email)
	if w.z.Mails(u.ID) == 0 {
		w.t.Fatalf("%s got no mail", email)
	}
	w.z.SetUp(u.ID)
	if err := w.p.Reconcile(w.t.Context(), true, func(provisioning.Difference) {}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) until(state string, invite string) (i invites.Invite) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); i.State != state; time.Sleep(50 * time.Millisecond) {
		if w.As(admin).Want(http.StatusOK, http.MethodGet, all+"/"+invite, "").Into(&i); time.Now().After(deadline) {
			w.t.Fatalf("%+v, want %s", i, state)
		}
	}
	return i
}

func TestByTheIssuersMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var sent invites.Sent
	w.As(admin).Want(http.StatusCreated, http.MethodPost, all, `{"email":"bo@acme.example","name":"Bo van Dyck","role":"account_admin","delivery":"mail"}`).Into(&sent)
	if sent.Link != "" || sent.State != "pending" {
		t.Errorf("%+v", sent)
	}
	w.settle()
	u, roles, _ := w.told("bo@acme.example")
	if u.GivenName != "Bo van" || u.FamilyName != "Dyck" || !slices.Equal(roles, []string{"account_admin"}) {
		t.Errorf("%+v %v", u, roles)
	}
	w.follows("bo@acme.example")
	if i := w.until("accepted", sent.ID); i.AcceptedBy == nil || i.AcceptedBy.Name != "Bo van Dyck" {
		t.Errorf("%+v", i)
	}
	if n := count(t, w.Server, `SELECT count(*) FROM assignments x JOIN people p ON p.id = x.person_id WHERE p.subject = $1 AND x.role = 'account_admin'`, u.ID); n != 1 {
		t.Errorf("%d assignments", n)
	}
	// A further account is a further role of the same user, which needs no mail.
	var other invites.Sent
	w.As("account_admin:globex").Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:globex/invites", `{"email":"Bo@acme.example","role":"account_viewer","delivery":"mail"}`).Into(&other)
	w.settle()
	if again, roles, _ := w.told("bo@acme.example"); again.ID != u.ID || len(roles) != 2 || w.z.Mails(u.ID) != 1 {
		t.Errorf("%+v %v, %d mails", again, roles, w.z.Mails(u.ID))
	}
	for deadline := time.Now().Add(time.Minute); count(t, w.Server, `SELECT count(*) FROM assignments x JOIN people p ON p.id = x.person_id WHERE p.subject = $1`, u.ID) != 2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the invite of the other account is not accepted")
		}
	}
}

func TestWhatIsRevokedIsTakenBackAtTheIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	send := func(role string) (sent invites.Sent) {
		w.As(admin).Want(http.StatusCreated, http.MethodPost, all, `{"email":"bo@acme.example","role":"`+role+`","delivery":"mail"}`).Into(&sent)
		w.settle()
		return sent
	}
	boss, viewer := send("account_admin"), send("account_viewer")
	if _, roles, _ := w.told("bo@acme.example"); !slices.Equal(roles, []string{"account_admin", "end_user"}) {
		t.Errorf("%v", roles)
	}
	w.As(admin).Want(http.StatusOK, http.MethodPost, all+"/"+boss.ID+"/revoke", "")
	w.settle()
	if _, roles, _ := w.told("bo@acme.example"); !slices.Equal(roles, []string{"end_user"}) {
		t.Errorf("%v", roles)
	}
	w.As(admin).Want(http.StatusOK, http.MethodPost, all+"/"+viewer.ID+"/revoke", "")
	w.settle()
	if users := w.z.Users(); len(users) != 0 {
		t.Errorf("nobody wants him any more: %+v", users)
	}
}

// done waits until a job has ended.
func (w *world) done(path, id string) (j jobs.Job) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); j.State != "done"; time.Sleep(50 * time.Millisecond) {
		if w.As(admin).Want(http.StatusOK, http.MethodGet, path+"/"+id, "").Into(&j); time.Now().After(deadline) {
			w.t.Fatalf("%+v", j)
		}
	}
	return j
}

func TestManyByMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.As(admin)
	const section, bulk = "/v1/accounts/key:acme/sections/key:copilot", "/v1/accounts/key:acme/sections/key:copilot/jobs"
	for _, user := range []string{"u-1", "u-42"} {
		a.Want(http.StatusOK, http.MethodPatch, "/v1/accounts/key:acme/users/key:"+user, `{"email":"`+user+`@acme.example"}`, "If-Match", "*")
	}
	a.Want(http.StatusOK, http.MethodPatch, "/v1/accounts/key:acme/users/key:u-3", `{"email":""}`, "If-Match", "*")
	var job jobs.Job
	a.Want(http.StatusAccepted, http.MethodPost, bulk, `{"operation":"invites.send","ids":["key:u-1","key:u-42","key:u-3","key:nobody"],"reason":"all of them"}`).Into(&job)
	if job = w.done(bulk, job.ID); job.Items.Done != 2 || job.Items.Failed != 2 {
		t.Fatalf("%+v", job)
	}
	w.settle()
	w.follows("u-42@acme.example")
	for deadline := time.Now().Add(time.Minute); count(t, w.Server, `SELECT count(*) FROM users WHERE key = 'u-42' AND person_id IS NOT NULL`) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("whoever followed the mail is not the user")
		}
	}
	// Deactivated here, he may not use the products any more; active again, he may.
	for verb, active := range map[string]bool{"deactivate": false} {
		a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:u-42/"+verb, "")
		w.settle()
		if _, _, is := w.told("u-42@acme.example"); is != active {
			t.Errorf("%s: the authorization is active: %v", verb, is)
		}
	}
	a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:u-42/reactivate", "")
	w.settle()
	if u, _, is := w.told("u-42@acme.example"); !is || u.State != "active" {
		t.Errorf("%+v, and the authorization is active: %v", u, is)
	}
	var again jobs.Job
	a.Want(http.StatusAccepted, http.MethodPost, bulk, `{"operation":"invites.resend","filter":{"state":"pending"}}`).Into(&again)
	if again = w.done(bulk, again.ID); again.Items.Done != 1 {
		t.Errorf("%+v", again)
	}
	w.settle()
	if u, _, _ := w.told("u-1@acme.example"); w.z.Mails(u.ID) != 2 {
		t.Errorf("%d mails", w.z.Mails(u.ID))
	}
	// Undoing takes back what was not accepted.
	a.Want(http.StatusAccepted, http.MethodPost, bulk+"/"+job.ID+"/undo", `{}`).Into(&again)
	if again = w.done(bulk, again.ID); again.Items.Done != 1 || again.Items.Failed != 1 {
		t.Errorf("%+v", again)
	}
	w.settle()
	if users := w.z.Users(); len(users) != 1 || users[0].Email != "u-42@acme.example" {
		t.Errorf("%+v", users)
	}
	a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:u-42/erase", `{"reason":"asked"}`)
	w.settle()
	if all := w.z.Authorizations(); len(all) != 0 {
		t.Errorf("of an erased user: %+v", all)
	}
	text, err := json.Marshal(w.z.Users())
	if err != nil || bytes.Contains(text, []byte("u-1@")) {
		t.Errorf("%s %v", text, err)
	}
}
