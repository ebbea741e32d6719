package accounts_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/controltest"
	metering "github.com/alchemi/cockpit/metering/directory"
)

const factors = all + "/key:acme/sections/key:copilot/factors"

func factor(value string, from time.Time) string {
	return fmt.Sprintf(`{"value":%q,"from":%q}`, value, from.Format(time.RFC3339Nano))
}

func TestAFactorIsAddedAndNeverEdited(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	usage := metering.Request{Source: "alchemi-web", Account: "acme", Section: "copilot", User: "u-42", Team: "support", Model: "gpt-5"}
	before := s.Charge(usage, 1_000_000)
	next := s.Now().Add(time.Hour).Truncate(time.Second)
	super.Want(http.StatusCreated, http.MethodPost, factors, factor("1000", next))
	super.Want(http.StatusCreated, http.MethodPost, factors, factor("1000.0", next))
	if r := super.Want(http.StatusConflict, http.MethodPost, factors, factor("1001", next)); r.Code() != "factor_exists" {
		t.Errorf("%s", r.Body)
	}
	for _, from := range []time.Time{s.Now().Add(-time.Hour), s.Now().Add(2 * time.Second)} {
		if r := super.Do(http.MethodPost, factors, factor("7", from)); from.Before(s.Now()) && (r.Status != http.StatusConflict || r.Code() != "already_charged") {
			t.Errorf("from %s, after something was charged: %d %s", from, r.Status, r.Body)
		}
	}
	usage.TimeMicros = next.Add(time.Second).UnixMicro()
	if after := s.Charge(usage, 1_000_000); after != 10*before {
		t.Errorf("before %s, after %s, with ten times the factor", before, after)
	}
	var list struct {
		Items []struct {
			Value, Of string
			Current   bool
		}
	}
	s.As("section_admin:acme/copilot").Want(http.StatusOK, http.MethodGet, "/v1/accounts/key:acme/sections/key:copilot/factors", "").Into(&list)
	current := 0
	for _, f := range list.Items {
		if f.Current {
			current++
		}
	}
	if len(list.Items) < 2 || list.Items[0].Value != "1000" || list.Items[0].Of != "account" || list.Items[0].Current || current != 1 {
		t.Errorf("%+v", list)
	}
	s.As("section_admin:acme/copilot").Want(http.StatusNotFound, http.MethodGet, "/v1/accounts/key:acme/sections/key:console/factors", "")
	s.As("account_admin:acme").Want(http.StatusForbidden, http.MethodPost, factors, factor("1", next))
}

// In the past only where nothing has been charged since.
func TestAFactorBeginsInThePastOfUnusedTime(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	s.As("super_admin").Want(http.StatusCreated, http.MethodPost, factors, factor("7", s.Now().Add(-time.Hour)))
	for _, body := range []string{factor("0", s.Now().Add(time.Hour)), factor("-1", s.Now().Add(time.Hour)), factor("1e2", s.Now().Add(time.Hour)), factor("1000000", s.Now().Add(time.Hour)),
		factor("1", time.Time{}), `{"value":"1"}`, `{"value":1,"from":"2099-01-01T00:00:00Z"}`} {
		s.As("super_admin").Want(http.StatusUnprocessableEntity, http.MethodPost, factors, body)
	}
	if r := s.As("super_admin").Want(http.StatusConflict, http.MethodPost, all+"/key:initech/sections/key:console/factors", factor("1", s.Now().Add(time.Hour))); r.Code() != "section_absent" {
		t.Errorf("%s", r.Body)
	}
}

// At once, with the same time: one value is there, and whoever asked for another is told.
func TestFactorsAtOnce(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	from := s.Now().Add(time.Hour)
	made := make([]bool, 8)
	var g sync.WaitGroup
	for i := range made {
		g.Go(func() {
			r, err := s.As("super_admin").Try(t.Context(), http.MethodPost, factors, factor(fmt.Sprint(10+i), from))
			if err != nil || r.Status != http.StatusCreated && r.Code() != "factor_exists" {
				t.Errorf("%+v %v", r, err)
				return
			}
			made[i] = r.Status == http.StatusCreated
		})
	}
	g.Wait()
	n := 0
	for _, m := range made {
		if m {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of %d were made", n, len(made))
	}
}
