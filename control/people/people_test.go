package people_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const ofAcme = "/v1/accounts/key:acme/assignments"

type assignment struct {
	ID      string
	Role    string
	Person  struct{ ID, Name, Email string }
	Section *struct{ ID, Key string }
}

// person is the id of a caller, who is known from when he called.
func person(t *testing.T, s *controltest.Server, as string) (id string) {
	t.Helper()
	s.As(as).Do(http.MethodGet, "/v1/accounts/key:acme", "")
	var list struct {
		Items []struct{ ID, Subject string }
	}
	s.As("super_admin").Want(http.StatusOK, http.MethodGet, "/v1/platform/people?limit=200", "").Into(&list)
	for _, p := range list.Items {
		if p.Subject == as {
			return p.ID
		}
	}
	t.Fatalf("%s is not there: %+v", as, list)
	return ""
}

func TestAssignments(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	var a, again assignment
	admin.Want(http.StatusCreated, http.MethodPost, ofAcme, `{"email":"GRACE@acme.example","role":"section_admin","section":"key:copilot"}`).Into(&a)
	if a.Person.Name != "Grace Hopper" || a.Section == nil || a.Section.Key != "copilot" {
		t.Errorf("%+v", a)
	}
	admin.Want(http.StatusCreated, http.MethodPost, ofAcme, `{"subject":"grace","role":"section_admin","section":"`+a.Section.ID+`"}`).Into(&again)
	if again.ID != a.ID {
		t.Errorf("the same again: %+v", again)
	}
	admin.Want(http.StatusCreated, http.MethodPost, ofAcme, `{"person":"`+a.Person.ID+`","role":"account_viewer"}`)
	var list struct{ Items []assignment }
	if admin.Want(http.StatusOK, http.MethodGet, ofAcme+"?role=section_admin&section=key:copilot&person="+a.Person.ID, "").Into(&list); len(list.Items) != 1 || list.Items[0].Person.Email != "grace@acme.example" {
		t.Errorf("%+v", list)
	}
	if r := admin.Want(http.StatusOK, http.MethodGet, ofAcme+".csv", ""); strings.Count(string(r.Body), "\n") != 3 || !strings.Contains(string(r.Body), "person.email") {
		t.Errorf("%s", r.Body)
	}
	admin.Want(http.StatusOK, http.MethodDelete, ofAcme+"/"+a.ID, "")
	admin.Want(http.StatusNotFound, http.MethodDelete, ofAcme+"/"+a.ID, "")
	s.As("account_viewer:acme").Want(http.StatusOK, http.MethodGet, ofAcme, "")
	s.As("account_viewer:acme").Want(http.StatusForbidden, http.MethodPost, ofAcme, `{"subject":"grace","role":"account_viewer"}`)
	s.As("section_admin:acme/copilot").Want(http.StatusForbidden, http.MethodGet, ofAcme, "")
}

func TestWhatAnAssignmentCannotBe(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	if _, err := s.Owner.Exec(t.Context(), `INSERT INTO people (issuer, subject, name, email) VALUES ('test', 'one', 'One', 'shared@acme.example'), ('test', 'two', 'Two', 'Shared@acme.example');
		INSERT INTO sections (key, unit, models_owner) VALUES ('unused', 'credits', 'platform')`); err != nil {
		t.Fatal(err)
	}
	admin := s.As("account_admin:acme")
	for _, body := range []string{`{}`, `{"role":"account_viewer"}`, `{"subject":"grace","role":"super_admin"}`, `{"subject":"grace","role":"product"}`, `{"subject":"grace","email":"grace@acme.example","role":"account_viewer"}`,
		`{"subject":"nobody","role":"account_viewer"}`, `{"subject":"grace","role":"section_admin"}`, `{"subject":"grace","role":"section_admin","section":"key:nowhere"}`,
		`{"subject":"grace","role":"section_admin","section":"key:unused"}`, `{"subject":"grace","role":"account_admin","section":"key:copilot"}`, `{"person":"per_0","role":"account_viewer"}`} {
		admin.Want(http.StatusUnprocessableEntity, http.MethodPost, ofAcme, body)
	}
	if r := admin.Want(http.StatusConflict, http.MethodPost, ofAcme, `{"email":"shared@acme.example","role":"account_viewer"}`); r.Code() != "person_ambiguous" {
		t.Errorf("%s", r.Body)
	}
	// By id only whom the account knows: or ids counted up would give everybody's name and e-mail.
	foreign := person(t, s, "account_admin:globex")
	known := admin.Want(http.StatusUnprocessableEntity, http.MethodPost, ofAcme, `{"person":"`+foreign+`","role":"account_viewer"}`)
	absent := admin.Want(http.StatusUnprocessableEntity, http.MethodPost, ofAcme, `{"person":"per_zzzzz","role":"account_viewer"}`)
	if cut := func(b []byte) string { before, _, _ := strings.Cut(string(b), "request_id"); return before }; cut(known.Body) != cut(absent.Body) {
		t.Errorf("somebody of another account answers %s, and nobody %s", known.Body, absent.Body)
	}
}

func TestNobodyChangesHisOwnRole(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin := s.As("account_admin:acme")
	self := person(t, s, "account_admin:acme")
	if r := admin.Want(http.StatusConflict, http.MethodPost, ofAcme, `{"subject":"account_admin:acme","role":"account_viewer"}`); r.Code() != "own_assignment" {
		t.Errorf("%s", r.Body)
	}
	person(t, s, "account_admin:acme@b")
	var a assignment
	s.As("account_admin:acme@b").Want(http.StatusCreated, http.MethodPost, ofAcme, `{"subject":"account_admin:acme","role":"account_admin"}`).Into(&a)
	if a.Person.ID != self {
		t.Fatalf("%+v", a)
	}
	admin.Want(http.StatusConflict, http.MethodDelete, ofAcme+"/"+a.ID, "")
	s.As("account_admin:acme@b").Want(http.StatusOK, http.MethodDelete, ofAcme+"/"+a.ID, "")
}

// Two admins who make viewers of each other at once: one does, and the account keeps an admin.
func TestAnAccountKeepsAnAdmin(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	for i := range 8 {
		pair := []string{fmt.Sprintf("account_admin:acme@a%d", i), fmt.Sprintf("account_admin:acme@b%d", i)}
		person(t, s, pair[0])
		person(t, s, pair[1])
		var wait sync.WaitGroup
		for j, as := range pair {
			wait.Go(func() {
				r, err := s.As(as).Try(t.Context(), http.MethodPost, ofAcme, `{"subject":"`+pair[1-j]+`","role":"account_viewer"}`)
				if err != nil || r.Status != http.StatusCreated && r.Code() != "narrowed" {
					t.Errorf("%v %+v", err, r)
				}
			})
		}
		wait.Wait()
		var narrowed int
		if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM assignments x JOIN people p ON p.id = x.person_id WHERE p.subject = ANY($1)`, pair).Scan(&narrowed); err != nil || narrowed != 1 {
			t.Errorf("%d of two were narrowed (%v)", narrowed, err)
		}
	}
}

func TestShuttingOut(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super, viewer := s.As("super_admin"), s.As("account_viewer:acme")
	id := person(t, s, "account_viewer:acme")
	viewer.Want(http.StatusOK, http.MethodGet, "/v1/accounts/key:acme", "")
	var p struct{ State string }
	if super.Want(http.StatusOK, http.MethodPost, "/v1/platform/people/"+id+"/deactivate", `{"reason":"left"}`).Into(&p); p.State != "inactive" {
		t.Errorf("%+v", p)
	}
	viewer.Want(http.StatusUnauthorized, http.MethodGet, "/v1/accounts/key:acme", "")
	var list struct{ Items []struct{ ID string } }
	if super.Want(http.StatusOK, http.MethodGet, "/v1/platform/people?state=inactive&q=VIEWER", "").Into(&list); len(list.Items) != 1 || list.Items[0].ID != id {
		t.Errorf("%+v", list)
	}
	super.Want(http.StatusOK, http.MethodPost, "/v1/platform/people/"+id+"/reactivate", `{"reason":"came back"}`)
	viewer.Want(http.StatusOK, http.MethodGet, "/v1/accounts/key:acme", "")
	self := person(t, s, "super_admin")
	if r := super.Want(http.StatusConflict, http.MethodPost, "/v1/platform/people/"+self+"/deactivate", `{"reason":"oops"}`); r.Code() != "own_person" {
		t.Errorf("%s", r.Body)
	}
	super.Want(http.StatusUnprocessableEntity, http.MethodPost, "/v1/platform/people/"+id+"/deactivate", `{"reason":""}`)
	super.Want(http.StatusNotFound, http.MethodPost, "/v1/platform/people/per_zzzzz/deactivate", `{"reason":"x"}`)
	s.As("account_admin:acme").Want(http.StatusForbidden, http.MethodPost, "/v1/platform/people/"+id+"/deactivate", `{"reason":"x"}`)
}

// Two super admins who shut each other out at once: one does.
func TestThePlatformKeepsASuperAdmin(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	for i := range 8 {
		pair := []string{fmt.Sprintf("super_admin@a%d", i), fmt.Sprintf("super_admin@b%d", i)}
		ids := []string{person(t, s, pair[0]), person(t, s, pair[1])}
		var wait sync.WaitGroup
		for j, as := range pair {
			wait.Go(func() {
				if _, err := s.As(as).Try(t.Context(), http.MethodPost, "/v1/platform/people/"+ids[1-j]+"/deactivate", `{"reason":"a race"}`); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		var out int
		if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM people WHERE subject = ANY($1) AND state = 'inactive'`, pair).Scan(&out); err != nil || out != 1 {
			t.Errorf("%d of two are shut out (%v)", out, err)
		}
	}
}
