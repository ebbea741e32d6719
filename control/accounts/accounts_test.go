package accounts_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/accounts"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	all  = "/v1/platform/accounts"
	acme = "/v1/accounts/key:acme"
)

func TestTheLifeOfAnAccount(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super, admin := s.As("super_admin"), s.As("account_admin:acme")
	because := `{"reason":"unpaid"}`
	var a accounts.Account
	super.Want(http.StatusOK, http.MethodPost, all+"/key:acme/suspend", because).Into(&a)
	if a.State != "suspended" || a.SuspendedReason != "unpaid" {
		t.Errorf("%+v", a)
	}
	admin.Want(http.StatusOK, http.MethodGet, acme, "").Into(&a)
	if a.SuspendedReason != "unpaid" {
		t.Errorf("its admins read why: %+v", a)
	}
	if r := admin.Do(http.MethodPatch, acme, `{"name":"B"}`, "If-Match", "*"); r.Code() != "account_suspended" {
		t.Errorf("its admins change it: %d %s", r.Status, r.Body)
	}
	if r := super.Do(http.MethodPost, all+"/key:acme/suspend", because); r.Code() != "account_suspended" || r.Status != http.StatusConflict {
		t.Errorf("twice: %d %s", r.Status, r.Body)
	}
	super.Want(http.StatusOK, http.MethodPost, all+"/key:acme/close", because).Into(&a)
	if in := a.ClosesAt.Sub(s.Now()); in > 30*24*time.Hour || in < 29*24*time.Hour {
		t.Errorf("erased in %v", in)
	}
	a = accounts.Account{}
	super.Want(http.StatusOK, http.MethodPost, all+"/key:acme/reactivate", because).Into(&a)
	if a.State != "active" || a.ClosesAt != nil || a.SuspendedReason != "" {
		t.Errorf("%+v", a)
	}
	admin.Want(http.StatusOK, http.MethodPatch, acme, `{"name":"B"}`, "If-Match", "*")
	var actions []string
	rows, err := s.Owner.Query(t.Context(), `SELECT action || ' ' || reason FROM audit_entries WHERE account_id = (SELECT account_id FROM accounts WHERE key = 'acme') AND action LIKE 'account.%' ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var action string
		if err := rows.Scan(&action); err != nil {
			t.Fatal(err)
		}
		actions = append(actions, action)
	}
	if fmt.Sprint(actions) != "[account.suspended unpaid account.closed unpaid account.reactivated unpaid account.updated ]" {
		t.Errorf("on record: %q", actions)
	}
}

// Each change raises the directory's version and the account's, by which metering knows of it; at once, none is lost.
func TestMeteringFollows(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	version := func() (v int64) {
		var account int64
		if err := s.Owner.QueryRow(t.Context(), `SELECT directory_version, (SELECT version FROM accounts WHERE key = 'acme') FROM deployment`).Scan(&v, &account); err != nil {
			t.Fatal(err)
		}
		return min(v, account)
	}
	before := version()
	var g sync.WaitGroup
	for i := range 10 {
		g.Go(func() {
			verb := []string{"on", "off"}[i%2]
			if r, err := s.As("super_admin").Try(t.Context(), http.MethodPost, all+"/key:acme/sections/key:console/"+verb, ""); err != nil || r.Status != http.StatusOK {
				t.Errorf("%+v %v", r, err)
			}
		})
	}
	g.Wait()
	if v := version(); v != before+10 {
		t.Errorf("10 changes raised the version from %d to %d", before, v)
	}
}

func TestSections(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	one := all + "/key:initech/sections/key:copilot"
	if r := super.Do(http.MethodPost, one+"/off", ""); r.Code() != "section_absent" {
		t.Errorf("off, and never had: %d %s", r.Status, r.Body)
	}
	if r := s.As("account_admin:initech").Do(http.MethodGet, "/v1/accounts/key:initech/sections/key:copilot", ""); r.Status != http.StatusOK {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	super.Want(http.StatusOK, http.MethodPost, one+"/on", "")
	var section accounts.Section
	s.As("section_admin:initech/copilot").Want(http.StatusOK, http.MethodGet, "/v1/accounts/key:initech/sections/key:copilot", "").Into(&section)
	if section.State != "on" || section.Unit != "credits" {
		t.Errorf("%+v", section)
	}
	var cycles int
	if err := s.Owner.QueryRow(t.Context(), `SELECT count(*) FROM cycles JOIN accounts USING (account_id) WHERE key = 'initech'`).Scan(&cycles); err != nil || cycles == 0 {
		t.Errorf("%d cycles: usage could not be charged (%v)", cycles, err)
	}
	if r := s.As("section_admin:initech/copilot").Do(http.MethodGet, "/v1/accounts/key:initech/sections/key:console", ""); r.Status != http.StatusNotFound {
		t.Errorf("another section: %d", r.Status)
	}
}

func TestASuperAdminViewsAndWritesOnlyElevated(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	sam := s.As("super_admin@sam")
	for range 3 {
		sam.Want(http.StatusOK, http.MethodGet, acme, "")
	}
	entries := func(action string) (n int, who string) {
		if err := s.Owner.QueryRow(t.Context(), `SELECT count(*), coalesce(max(actor->>'name'), '') FROM audit_entries e JOIN accounts a USING (account_id) WHERE a.key = 'acme' AND action = $1`, action).Scan(&n, &who); err != nil {
			t.Fatal(err)
		}
		return n, who
	}
	if n, who := entries("account.viewed"); n != 1 || who != "super_admin@sam" {
		t.Errorf("viewed three times: %d entries by %q", n, who)
	}
	write := func() *controltest.Response {
		return sam.Do(http.MethodPatch, acme, `{"name":"By Sam"}`, "If-Match", "*")
	}
	if r := write(); r.Status != http.StatusForbidden {
		t.Errorf("not elevated: %d", r.Status)
	}
	for _, bad := range []string{`{"reason":"","minutes":5}`, `{"reason":"x","minutes":0}`, `{"reason":"x","minutes":241}`, `{"minutes":5}`} {
		if r := sam.Do(http.MethodPost, acme+"/elevations", bad); r.Status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", bad, r.Status)
		}
	}
	sam.Want(http.StatusCreated, http.MethodPost, acme+"/elevations", `{"reason":"ticket 1","minutes":30}`)
	if r := write(); r.Status != http.StatusOK {
		t.Errorf("elevated: %d %s", r.Status, r.Body)
	}
	if r := sam.Do(http.MethodPatch, "/v1/accounts/key:globex", `{"name":"By Sam"}`, "If-Match", "*"); r.Status != http.StatusForbidden {
		t.Errorf("elevated in another account: %d", r.Status)
	}
	if r := s.As("super_admin@tom").Do(http.MethodPatch, acme, `{"name":"By Tom"}`, "If-Match", "*"); r.Status != http.StatusForbidden {
		t.Errorf("somebody else was elevated: %d", r.Status)
	}
	if n, who := entries("account.updated"); n != 1 || who != "super_admin@sam" {
		t.Errorf("%d entries by %q", n, who)
	}
	s.Advance(31 * time.Minute)
	if r := write(); r.Status != http.StatusForbidden {
		t.Errorf("after its time: %d", r.Status)
	}
	if r := s.As("account_admin:acme").Do(http.MethodPost, acme+"/elevations", `{"reason":"x","minutes":5}`); r.Status != http.StatusForbidden {
		t.Errorf("an account's admin elevates: %d", r.Status)
	}
}

func TestWhatIsTaken(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	super.Want(http.StatusOK, http.MethodPatch, all+"/key:acme", `{"issuer_organization":"org-1"}`, "If-Match", "*")
	for body, code := range map[string]string{`{"key":"acme","name":"A","time_zone":"UTC"}`: "key_taken", `{"key":"new","name":"A","time_zone":"UTC","issuer_organization":"org-1"}`: "issuer_organization_taken"} {
		if r := super.Do(http.MethodPost, all, body); r.Code() != code || r.Status != http.StatusConflict {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
	}
	if r := super.Do(http.MethodPatch, all+"/key:acme", `{"region":"us"}`, "If-Match", "*"); r.Status != http.StatusUnprocessableEntity {
		t.Errorf("the region was changed: %d", r.Status)
	}
	var g sync.WaitGroup
	made := make([]int, 8)
	for i := range made {
		g.Go(func() {
			if r, err := super.Try(t.Context(), http.MethodPost, all, `{"key":"race","name":"A","time_zone":"UTC"}`); err == nil {
				made[i] = r.Status
			}
		})
	}
	g.Wait()
	n := map[int]int{}
	for _, status := range made {
		n[status]++
	}
	if n[http.StatusCreated] != 1 || n[http.StatusConflict] != len(made)-1 {
		t.Errorf("the same key at once: %v", n)
	}
}

// A file that is applied and requests of the API change the same account at once, and do not wait for each other in a circle.
func TestAppliedWhileTheAPIChanges(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	var g sync.WaitGroup
	for i := range 6 {
		g.Go(func() {
			for k := range 5 {
				r, err := s.As("super_admin").Try(t.Context(), http.MethodPatch, all+"/key:acme", fmt.Sprintf(`{"name":"Acme %d-%d"}`, i, k), "If-Match", "*")
				if err != nil || r.Status != http.StatusOK {
					t.Errorf("%+v %v", r, err)
				}
			}
		})
	}
	for range 5 {
		s.Apply(string(deploy.Demo))
	}
	g.Wait()
}

// Requests with an Idempotency-Key name the account before they wait for each other, and do not wait in a circle.
func TestChangesWithAKeyAtOnce(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	var g sync.WaitGroup
	for i := range 6 {
		g.Go(func() {
			for k := range 10 {
				r, err := s.As("account_admin:acme").Try(t.Context(), http.MethodPatch, acme, fmt.Sprintf(`{"name":"Acme %d-%d"}`, i, k), "If-Match", "*", "Idempotency-Key", fmt.Sprint(i, k))
				if err != nil || r.Status != http.StatusOK {
					t.Errorf("%+v %v", r, err)
				}
			}
		})
	}
	g.Wait()
}
