package provisioning_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/control/provisioning/zitadeltest"
	"github.com/jackc/pgx/v5"
)

// peopled is a world with ada, admin, and bob, end user, both of Acme, whose events were delivered.
func peopled(t *testing.T) (w *world, ada, bob *zitadeltest.User) {
	t.Helper()
	w = newWorld(t, 1)
	acme := account(t, w.Server, "acme")
	invite(t, w.Server, provisioning.Invitee{Account: acme, Email: "ada@example.com", GivenName: "Ada", FamilyName: "L", Roles: []string{provisioning.AccountAdmin}})
	invite(t, w.Server, provisioning.Invitee{Account: acme, Email: "bob@example.com", GivenName: "Bob", FamilyName: "M", Roles: []string{provisioning.EndUser}})
	w.settle(w.p)
	w.deliver()
	w.settle(w.p)
	return w, w.user("ada@example.com"), w.user("bob@example.com")
}

func (w *world) post(header string, body []byte) int {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.hook, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if header != "" {
		r.Header.Set("ZITADEL-Signature", header)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	body := []byte(`{"aggregateID":"x","aggregateType":"user","instanceID":"i","sequence":1,"event_type":"user.deactivated","userID":"a"}`)
	now := time.Now()
	sign := zitadeltest.Signature
	one := sign(now, body, secret)
	_, mac, _ := strings.Cut(one, ",")
	for name, c := range map[string]struct {
		header string
		body   []byte
		want   int
	}{
		"good":                {one, body, 200},
		"of the older secret": {sign(now, body, "older"), body, 200},
		"one of several":      {sign(now, body, "other", secret), body, 200},
		"4 minutes old":       {sign(now.Add(-4*time.Minute), body, secret), body, 200},
		"4 minutes ahead":     {sign(now.Add(4*time.Minute), body, secret), body, 200},
		"none":                {"", body, 401},
		"of another secret":   {sign(now, body, "other"), body, 401},
		"of another body":     {sign(now, append([]byte(" "), body...), secret), body, 401},
		"old":                 {sign(now.Add(-6*time.Minute), body, secret), body, 401},
		"of the future":       {sign(now.Add(6*time.Minute), body, secret), body, 401},
		"without a time":      {mac, body, 401},
		"with two times":      {one + ",t=1", body, 401},
		"of no hex":           {"t=" + now.Format("150405") + ",v1=zz", body, 401},
		"of another version":  {strings.Replace(one, "v1=", "v0=", 1), body, 401},
		"of what is no event": {sign(now, []byte(`[]`), secret), []byte(`[]`), 400},
		"without a sequence":  {sign(now, []byte(`{"aggregateID":"x","event_type":"y"}`), secret), []byte(`{"aggregateID":"x","event_type":"y"}`), 400},
		"too large":           {one, bytes.Repeat([]byte("x"), 1<<20+1), 413},
	} {
		if status := w.post(c.header, c.body); status != c.want {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
	}
	if n := number(t, w.Server, `SELECT count(*) FROM issuer_users`); n != 0 {
		t.Error("an event of somebody whom nobody knows made a row")
	}
}

// ZITADEL owns name, e-mail and log-in state.
func TestWhatZITADELOwns(t *testing.T) {
	t.Parallel()
	w, ada, bob := peopled(t)
	person := func(subject string) (p struct{ Name, Email, State string }) {
		if err := w.Owner.QueryRow(t.Context(), `SELECT name, email, state FROM people WHERE subject = $1`, subject).Scan(&p.Name, &p.Email, &p.State); err != nil {
			t.Fatal(err)
		}
		return p
	}
	w.z.Rename(ada.ID, "Augusta", "King")
	w.z.ChangeEmail(bob.ID, "robert@example.com")
	w.z.Move(bob.ID, "lock")
	w.deliver()
	w.settle(w.p)
	if p := person(ada.ID); p.Name != "Augusta King" {
		t.Errorf("%+v", p)
	}
	if p := person(bob.ID); p.Email != "robert@example.com" || p.State != "inactive" {
		t.Errorf("%+v", p)
	}
	acme := account(t, w.Server, "acme")
	again := invite(t, w.Server, provisioning.Invitee{Account: acme, Email: "Robert@example.com", Roles: []string{provisioning.AccountAdmin}})
	if n := number(t, w.Server, `SELECT id FROM issuer_users WHERE subject = $1`, bob.ID); int64(n) != again {
		t.Error("by his new e-mail he is somebody else")
	}
	w.settle(w.p)
	w.z.Move(bob.ID, "unlock")
	w.deliver()
	if p := person(bob.ID); p.State != "active" {
		t.Errorf("unlocked: %+v", p)
	}
	w.z.Move(ada.ID, "remove")
	w.deliver()
	w.settle(w.p)
	if p := person(ada.ID); p.State != "inactive" || len(w.z.Users()) != 1 {
		t.Errorf("removed there: %+v, %+v", p, w.z.Users())
	}
	if n := number(t, w.Server, `SELECT count(*) FROM audit_entries WHERE account_id IS NULL AND actor->>'name' = 'zitadel' AND action IN ('person.deactivated', 'person.reactivated', 'person.updated')`); n != 5 {
		t.Errorf("%d entries", n)
	}
	// Invited once more, she is somebody new there.
	invite(t, w.Server, provisioning.Invitee{Account: acme, Email: "ada@example.com", Roles: []string{provisioning.EndUser}})
	w.settle(w.p)
	if u := w.user("ada@example.com"); u == nil || u.ID == ada.ID {
		t.Errorf("%+v", u)
	}
}

// An e-mail that he claims and has not verified is not his.
func TestAClaimedEmail(t *testing.T) {
	t.Parallel()
	w, ada, _ := peopled(t)
	w.z.ChangeEmail(ada.ID, "boss@example.com")
	events := w.z.Events()
	w.deliver(events[0])
	if n := number(t, w.Server, `SELECT count(*) FROM issuer_users WHERE key = 'boss@example.com'`); n != 0 {
		t.Error("it is hers before she verified it")
	}
	w.deliver(events[1])
	if n := number(t, w.Server, `SELECT count(*) FROM issuer_users WHERE key = 'boss@example.com'`); n != 1 {
		t.Error("it is not hers")
	}
}

// A deactivation on either side wins, and each side takes back its own.
func TestADeactivationOnEitherSideWins(t *testing.T) {
	t.Parallel()
	w, ada, _ := peopled(t)
	super := w.As("super_admin")
	id := number(t, w.Server, `SELECT person_id FROM issuer_users WHERE subject = $1`, ada.ID)
	var list struct {
		Items []struct{ ID, Subject string }
	}
	super.Want(http.StatusOK, http.MethodGet, "/v1/platform/people?q="+ada.ID, "").Into(&list)
	path := "/v1/platform/people/" + list.Items[0].ID
	check := func(what, here, there string) {
		t.Helper()
		w.settle(w.p)
		w.deliver()
		w.settle(w.p)
		if n := number(t, w.Server, `SELECT count(*) FROM people WHERE id = $1 AND state = $2`, id, here); n != 1 || w.user("ada@example.com").State != there {
			t.Errorf("%s: here %s %d, there %s and not %s", what, here, n, w.user("ada@example.com").State, there)
		}
	}
	super.Want(http.StatusOK, http.MethodPost, path+"/deactivate", `{"reason":"x"}`)
	check("deactivated here", "inactive", "inactive")
	super.Want(http.StatusOK, http.MethodPost, path+"/reactivate", `{"reason":"x"}`) // what it did itself is not somebody else's
	check("taken back here", "active", "active")
	super.Want(http.StatusOK, http.MethodPost, path+"/deactivate", `{"reason":"x"}`)
	check("deactivated here again", "inactive", "inactive")
	w.z.Move(ada.ID, "reactivate")
	check("reactivated there", "inactive", "inactive")
	super.Want(http.StatusOK, http.MethodPost, path+"/reactivate", `{"reason":"x"}`)
	check("reactivated here", "active", "active")
	w.z.Move(ada.ID, "deactivate")
	check("deactivated there", "inactive", "inactive")
	if r := super.Do(http.MethodPost, path+"/reactivate", `{"reason":"x"}`); r.Code() != "shut_at_issuer" {
		t.Errorf("%s", r.Body)
	}
	check("still", "inactive", "inactive")
	w.z.Move(ada.ID, "reactivate")
	check("reactivated there", "active", "active")
}

// The cockpit owns who belongs where with which roles.
func TestWhatIsSetBack(t *testing.T) {
	t.Parallel()
	w, ada, bob := peopled(t)
	of := map[string]string{}
	for _, a := range w.z.Authorizations() {
		of[a.User] = a.ID
	}
	want := []string{"ada@example.com in Acme: account_admin", "bob@example.com in Acme: end_user"}
	w.z.SetRoles(of[bob.ID], "account_admin", "end_user")
	w.z.Unauthorize(of[ada.ID])
	w.deliver()
	w.settle(w.p)
	expect(t, "set back", w.roles(), want...)
	w.z.SetActive(of[bob.ID], false)
	w.deliver()
	w.settle(w.p)
	expect(t, "a deactivation wins", w.roles(), want[0], want[1]+" (inactive)")
	w.z.SetActive(of[bob.ID], true)
	w.deliver()
	w.settle(w.p)
	// What the cockpit ended is ended again, and what it never had to do with stays, on record once.
	acme := account(t, w.Server, "acme")
	id := int64(number(t, w.Server, `SELECT id FROM issuer_users WHERE subject = $1`, ada.ID))
	in(t, w.Server, acme, func(ctx context.Context, tx pgx.Tx) error { return provisioning.Revoke(ctx, tx, id, acme) })
	if _, err := w.Owner.Exec(t.Context(), `UPDATE people SET seen = true`); err != nil {
		t.Fatal(err)
	}
	w.settle(w.p)
	w.z.AddUser(zitadeltest.User{ID: "eve", Organization: zitadeltest.Platform, Email: "eve@example.com", Verified: true})
	organization := w.z.Organizations()[0].ID
	w.z.Authorize(ada.ID, organization, "account_admin")
	w.z.Authorize("eve", organization, "account_admin")
	events := w.z.Events()
	w.deliver(append(events, events...)...)
	w.settle(w.p)
	expect(t, "by hand", w.roles(), "bob@example.com in Acme: end_user", "eve@example.com in Acme: account_admin")
	for action, want := range map[string]int{"issuer_roles.set_back": 3, "issuer_roles.given_by_hand": 1, "issuer_roles.changed": 2} {
		if n := number(t, w.Server, `SELECT count(*) FROM audit_entries WHERE account_id = $1 AND action = $2 AND actor->>'name' = 'zitadel'`, acme, action); n != want {
			t.Errorf("%d entries of %s, want %d", n, action, want)
		}
	}
}

// Events come twice and in any order, and each is applied once.
func TestEventsTwiceAndInAnyOrder(t *testing.T) {
	t.Parallel()
	w, ada, _ := peopled(t)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		for range 5 {
			w.z.Move(ada.ID, []string{"deactivate", "reactivate", "lock", "unlock"}[r.IntN(4)])
		}
		w.z.Rename(ada.ID, "Ada", strings.Repeat("x", int(seed)+1))
		events := w.z.Events()
		events = append(events, events...)
		r.Shuffle(len(events), func(i, k int) { events[i], events[k] = events[k], events[i] })
		w.deliver(events...)
		w.settle(w.p)
		state := map[bool]string{true: "active", false: "inactive"}[w.user("ada@example.com").State == "active"]
		if n := number(t, w.Server, `SELECT count(*) FROM people WHERE subject = $1 AND state = $2 AND name = $3`, ada.ID, state, "Ada "+strings.Repeat("x", int(seed)+1)); n != 1 {
			t.Fatalf("seed %d: she is not %s", seed, state)
		}
	}
}

// What was not kept is answered so; and an object is read as well as base64.
func TestPayloads(t *testing.T) {
	t.Parallel()
	w, ada, _ := peopled(t)
	for i, payload := range []string{`{"firstName":"A","lastName":"B","displayName":"As object"}`, `"eyJkaXNwbGF5TmFtZSI6IkFzIGJhc2U2NCJ9"`} {
		body, err := json.Marshal(map[string]any{"aggregateID": ada.ID, "aggregateType": "user", "instanceID": "i", "sequence": 1000 + i, "event_type": "user.human.profile.changed",
			"userID": ada.ID, "event_payload": json.RawMessage(payload)})
		if err != nil {
			t.Fatal(err)
		}
		if status := w.post(zitadeltest.Signature(time.Now(), body, secret), body); status != 200 {
			t.Errorf("%s: %d", payload, status)
		}
		if n := number(t, w.Server, `SELECT count(*) FROM people WHERE name = $1`, []string{"As object", "As base64"}[i]); n != 1 {
			t.Errorf("%s", payload)
		}
	}
	if _, err := w.Owner.Exec(t.Context(), `ALTER TABLE people ADD CONSTRAINT refused CHECK (name <> 'Never N') NOT VALID`); err != nil {
		t.Fatal(err)
	}
	w.z.Rename(ada.ID, "Never", "N")
	e := w.z.Events()[0]
	e.Sequence = 2000
	if status, err := w.z.Send(t.Context(), w.hook, secret, e); err != nil || status != 500 {
		t.Errorf("not kept: %d %v", status, err)
	}
	if n := number(t, w.Server, `SELECT named FROM issuer_users WHERE subject = $1`, ada.ID); n != 1001 {
		t.Errorf("it counts as applied: %d", n)
	}
}
