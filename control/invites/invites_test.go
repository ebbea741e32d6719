package invites_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/invites"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	admin  = "account_admin:acme"
	all    = "/v1/accounts/key:acme/invites"
	inIt   = "/v1/accounts/key:acme/sections/key:copilot/invites"
	accept = "/v1/invites/accept"
)

// called makes the e-mail of whoever calls as that, as the issuer would say it.
func called(t *testing.T, s *controltest.Server, as, email string) *controltest.Client {
	t.Helper()
	c := s.As(as)
	c.Want(http.StatusOK, http.MethodGet, "/v1/me", "")
	if tag, err := s.Owner.Exec(t.Context(), `UPDATE people SET email = $2 WHERE subject = $1`, as, email); err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("%v %v", tag, err)
	}
	return c
}

// invite sends one, and returns it with what a browser would send to accept it.
func invite(t *testing.T, s *controltest.Server, as, path, body string) (i invites.Sent, token string) {
	t.Helper()
	s.As(as).Want(http.StatusCreated, http.MethodPost, path, body).Into(&i)
	return i, tokenOf(t, i)
}

func tokenOf(t *testing.T, i invites.Sent) string {
	t.Helper()
	_, token, ok := strings.Cut(i.Link, "/invite#")
	if !ok {
		t.Fatalf("no link: %+v", i)
	}
	return `{"token":"` + token + `"}`
}

func count(t *testing.T, s *controltest.Server, sql string, args ...any) (n int) {
	t.Helper()
	if err := s.Owner.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAnInviteToARole(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	i, token := invite(t, s, admin, all, `{"email":"Bo@Acme.example","name":"Bo","role":"account_viewer"}`)
	if i.State != "pending" || i.InvitedBy == nil || i.Sends != 1 {
		t.Errorf("%+v", i)
	}
	if n := count(t, s, `SELECT count(*) FROM invites WHERE encode(token_hash, 'escape') LIKE '%inv_%'`); n != 0 {
		t.Error("the link's text can be read in the database")
	}
	first := token
	again, token := invite(t, s, admin, all, `{"email":"bo@ACME.example","role":"account_viewer"}`)
	if again.ID != i.ID || again.Sends != 2 {
		t.Errorf("invited twice: %+v, and then %+v", i, again)
	}
	// The wrong person sees what it is, and gets nothing.
	other := called(t, s, "end_user@mallory", "mallory@acme.example")
	var o invites.Offer
	if other.Want(http.StatusOK, http.MethodPost, "/v1/invites/look", token).Into(&o); o.Yours || o.Account.Key != "acme" || o.Role != "account_viewer" {
		t.Errorf("%+v", o)
	}
	if r := other.Do(http.MethodPost, accept, token); r.Code() != "other_email" {
		t.Errorf("another person: %d %s", r.Status, r.Body)
	}
	bo := called(t, s, "end_user@bo", "bo@acme.EXAMPLE")
	if bo.Want(http.StatusOK, http.MethodPost, "/v1/invites/look", token).Into(&o); !o.Yours {
		t.Errorf("%+v", o)
	}
	if r := bo.Do(http.MethodPost, accept, first); r.Status != http.StatusNotFound {
		t.Errorf("the link before: %d %s", r.Status, r.Body)
	}
	// All at once is accepted once, by one person.
	status := make([]int, 8)
	var g sync.WaitGroup
	for n := range status {
		g.Go(func() {
			if r, err := bo.Try(t.Context(), http.MethodPost, accept, token, "Idempotency-Key", fmt.Sprint(n)); err == nil {
				status[n] = r.Status
			}
		})
	}
	g.Wait()
	for _, got := range status {
		if got != http.StatusOK {
			t.Errorf("%v", status)
		}
	}
	if n := count(t, s, `SELECT count(*) FROM assignments x JOIN people p ON p.id = x.person_id WHERE p.subject = 'end_user@bo' AND x.role = 'account_viewer'`); n != 1 {
		t.Errorf("%d assignments", n)
	}
	if r := other.Do(http.MethodPost, accept, token); r.Code() != "invite_accepted" {
		t.Errorf("a used link: %d %s", r.Status, r.Body)
	}
	for _, verb := range []string{"resend", "revoke"} {
		if r := s.As(admin).Do(http.MethodPost, all+"/"+i.ID+"/"+verb, `{}`); r.Code() != "invite_accepted" {
			t.Errorf("%s: %d %s", verb, r.Status, r.Body)
		}
	}
	var list struct{ Items []invites.Invite }
	s.As(admin).Want(http.StatusOK, http.MethodGet, all+"?state=accepted&q=BO@", "").Into(&list)
	if len(list.Items) != 1 || list.Items[0].AcceptedBy == nil || list.Items[0].AcceptedBy.Name != "end_user@bo" {
		t.Errorf("%+v", list.Items)
	}
}

func TestSendingAgainRevokingAndExpiring(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	bo := called(t, s, "end_user@bo", "bo@acme.example")
	i, first := invite(t, s, admin, all, `{"email":"bo@acme.example","role":"section_admin","section":"key:copilot","expires_in_days":1}`)
	s.Advance(25 * time.Hour)
	if r := bo.Do(http.MethodPost, accept, first); r.Code() != "invite_expired" {
		t.Errorf("late: %d %s", r.Status, r.Body)
	}
	var list struct{ Items []invites.Invite }
	if s.As(admin).Want(http.StatusOK, http.MethodGet, all+"?state=expired", "").Into(&list); len(list.Items) != 1 || list.Items[0].State != "expired" {
		t.Errorf("%+v", list.Items)
	}
	var again invites.Sent
	s.As(admin).Want(http.StatusOK, http.MethodPost, all+"/"+i.ID+"/resend", `{"expires_in_days":2}`).Into(&again)
	if again.ID != i.ID || again.Sends != 2 || again.State != "pending" || again.Link == i.Link {
		t.Errorf("%+v", again)
	}
	if r := bo.Do(http.MethodPost, accept, first); r.Status != http.StatusNotFound {
		t.Errorf("the link before: %d %s", r.Status, r.Body)
	}
	s.As(admin).Want(http.StatusOK, http.MethodPost, all+"/"+i.ID+"/revoke", "")
	if r := bo.Do(http.MethodPost, accept, tokenOf(t, again)); r.Code() != "invite_revoked" {
		t.Errorf("revoked: %d %s", r.Status, r.Body)
	}
	// What is revoked is no obstacle to another one.
	_, third := invite(t, s, admin, all, `{"email":"bo@acme.example","role":"section_admin","section":"key:copilot"}`)
	bo.Want(http.StatusOK, http.MethodPost, accept, third)
}

func TestDomains(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	_, before := invite(t, s, admin, all, `{"email":"bo@elsewhere.example","role":"account_viewer"}`)
	a.Want(http.StatusUnprocessableEntity, http.MethodPatch, "/v1/accounts/key:acme", `{"invite_domains":["no domain"]}`, "If-Match", "*")
	a.Want(http.StatusOK, http.MethodPatch, "/v1/accounts/key:acme", `{"invite_domains":["ACME.example","bücher.example"]}`, "If-Match", "*")
	for email, status := range map[string]int{"a@acme.EXAMPLE": http.StatusCreated, "a@xn--bcher-kva.example": http.StatusCreated, "a@acme.example.evil.example": http.StatusConflict,
		"a@sub.acme.example": http.StatusConflict, "a@notacme.example": http.StatusConflict} {
		if r := a.Do(http.MethodPost, all, `{"email":"`+email+`","role":"account_viewer"}`); r.Status != status || status == http.StatusConflict && r.Code() != "domain_not_allowed" {
			t.Errorf("%s: %d %s", email, r.Status, r.Body)
		}
	}
	if r := called(t, s, "end_user@bo", "bo@elsewhere.example").Do(http.MethodPost, accept, before); r.Code() != "domain_not_allowed" {
		t.Errorf("an invite of before: %d %s", r.Status, r.Body)
	}
}

func TestAnEndUser(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	a := s.As(admin)
	for user, code := range map[string]string{"u-6": "user_inactive", "u-3": "no_email", "u-4": "no_membership"} {
		if user == "u-3" {
			a.Want(http.StatusOK, http.MethodPatch, "/v1/accounts/key:acme/users/key:u-3", `{"email":""}`, "If-Match", "*")
		}
		if user == "u-4" { // who is in no section at all
			a.Want(http.StatusCreated, http.MethodPost, "/v1/accounts/key:acme/users", `{"key":"lone","name":"Lone","email":"lone@acme.example"}`)
			user = "lone"
		}
		if r := a.Do(http.MethodPost, inIt, `{"user":"key:`+user+`"}`); r.Code() != code {
			t.Errorf("%s: %d %s", user, r.Status, r.Body)
		}
	}
	a.Want(http.StatusOK, http.MethodPatch, "/v1/accounts/key:acme/users/key:u-1", `{"email":"ada@acme.example"}`, "If-Match", "*")
	i, token := invite(t, s, "section_admin:acme/copilot", inIt, `{"user":"key:u-1"}`)
	if i.Email != "ada@acme.example" || i.User.Key != "u-1" || i.Section.Key != "copilot" {
		t.Errorf("%+v", i)
	}
	if n := count(t, s, `SELECT count(*) FROM audit_entries WHERE changes::text LIKE '%ada@%' AND object_kind = 'invite'`); n != 0 {
		t.Error("the audit log has an end user's e-mail")
	}
	ada := called(t, s, "end_user@ada", "ada@acme.example")
	ada.Want(http.StatusOK, http.MethodPost, accept, token)
	if n := count(t, s, `SELECT count(*) FROM users u JOIN people p ON p.id = u.person_id WHERE u.key = 'u-1' AND p.subject = 'end_user@ada'`); n != 1 {
		t.Error("the user has no person")
	}
	if r := a.Do(http.MethodPost, inIt, `{"user":"key:u-1"}`); r.Code() != "user_linked" {
		t.Errorf("again: %d %s", r.Status, r.Body)
	}
	// An account-wide invite is not one of the section.
	role, _ := invite(t, s, admin, all, `{"email":"bo@acme.example","role":"section_admin","section":"key:copilot"}`)
	a.Want(http.StatusNotFound, http.MethodGet, inIt+"/"+role.ID, "")
	a.Want(http.StatusNotFound, http.MethodPost, inIt+"/"+role.ID+"/revoke", "")
	// Erasing a user takes what invites say of him.
	_, two := invite(t, s, admin, inIt, `{"user":"key:u-2"}`)
	a.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/users/key:u-2/erase", `{"reason":"asked"}`)
	if r := called(t, s, "end_user@alan", "u2@acme.example").Do(http.MethodPost, accept, two); r.Code() != "invite_revoked" {
		t.Errorf("of an erased user: %d %s", r.Status, r.Body)
	}
}

func TestOnePersonInSeveralAccounts(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	bo := called(t, s, "end_user@bo", "bo@both.example")
	for _, account := range []string{"acme", "globex"} {
		_, token := invite(t, s, "account_admin:"+account, "/v1/accounts/key:"+account+"/invites", `{"email":"bo@both.example","role":"account_viewer"}`)
		bo.Want(http.StatusOK, http.MethodPost, accept, token)
	}
	_, token := invite(t, s, "super_admin", "/v1/platform/accounts/key:initech/invites", `{"email":"bo@both.example"}`)
	bo.Want(http.StatusOK, http.MethodPost, accept, token)
	if n := count(t, s, `SELECT count(DISTINCT account_id) FROM assignments x JOIN people p ON p.id = x.person_id WHERE p.subject = 'end_user@bo'`); n != 3 {
		t.Errorf("in %d accounts", n)
	}
	if n := count(t, s, `SELECT count(*) FROM audit_entries e JOIN accounts a USING (account_id) WHERE action = 'invite.accepted' AND a.key IN ('acme', 'globex', 'initech')`); n != 3 {
		t.Errorf("%d entries in the accounts' logs", n)
	}
}

func TestAnAdminIsNotMadeLess(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	boss := called(t, s, "account_admin:acme@boss", "boss@acme.example")
	_, token := invite(t, s, admin, all, `{"email":"boss@acme.example","role":"account_viewer"}`)
	boss.Want(http.StatusOK, http.MethodPost, accept, token)
	if n := count(t, s, `SELECT count(*) FROM assignments x JOIN people p ON p.id = x.person_id WHERE p.subject = 'account_admin:acme@boss'`); n != 0 {
		t.Error("whom the issuer calls admin was narrowed")
	}
}
