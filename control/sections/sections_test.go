package sections_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/balances"
	metering "github.com/alchemi/cockpit/metering/directory"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const path = "/v1/platform/sections"

// A third section, by data alone: everything below …/sections/{section} works for it, and metering charges usage of it.
func TestAThirdSection(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	super.Want(http.StatusCreated, http.MethodPost, path, `{"key":"voice","unit":"credits","models":"platform","default_factor":"250"}`)
	s.As("section_admin:acme/voice").Want(http.StatusNotFound, http.MethodGet, "/v1/accounts/key:acme/sections/key:nowhere", "")
	super.Want(http.StatusOK, http.MethodPost, "/v1/platform/accounts/key:acme/sections/key:voice/on", "")
	// What examples name by the demo's keys.
	admin, voice := s.As("section_admin:acme/voice"), "/v1/accounts/key:acme/sections/key:voice"
	admin.Want(http.StatusCreated, http.MethodPost, voice+"/organizations", `{"key":"eng","name":"Engineering"}`)
	admin.Want(http.StatusCreated, http.MethodPost, voice+"/teams", `{"key":"support","name":"Support","organization":"key:eng"}`)
	admin.Want(http.StatusCreated, http.MethodPost, voice+"/memberships", `{"user":"key:u-1","team":"key:support"}`)
	walked := 0
	for _, op := range s.API.Operations() {
		if !strings.Contains(op.Path, "/sections/{section}") {
			continue
		}
		for _, e := range op.Examples {
			if e.Status != 0 || e.Make != "" || !strings.Contains(e.Path, "key:copilot") {
				continue
			}
			header := []string{}
			for name, value := range e.Header {
				header = append(header, name, value)
			}
			as := strings.ReplaceAll(e.As, "/copilot", "/voice")
			s.As(as).Want(op.Status, op.Method, strings.ReplaceAll(e.Path, "key:copilot", "key:voice"), e.Body, header...)
			walked++
		}
	}
	if walked < 3 {
		t.Errorf("only %d operations of a section", walked)
	}
	s.Apply(`
version: 1
sources: [{key: telephone, sections: [voice], accounts: all, mode: meter}]
models: [{key: whisper, section: voice, provider: openai, prices: [{from: 2026-01-01T00:00:00Z, quantities: {input_tokens: {usd: "2", per: 1000000}}}]}]
`)
	// 500,000 tokens at 2 USD a million, at 250 credits for one USD.
	charged := s.Charge(metering.Request{Source: "telephone", Account: "acme", Section: "voice", User: "u-42", Model: "whisper"}, 500_000)
	if charged.String() != "250.000000" {
		t.Errorf("charged %s", charged)
	}
	report, err := balances.Read(t.Context(), s.Metering, "acme", "voice", s.Now())
	if err != nil || report.Balances[0].Used != charged {
		t.Errorf("%+v %v", report, err)
	}
}

func TestWhatASectionCannotBe(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	super := s.As("super_admin")
	for _, body := range []string{`{}`, `{"key":"voice","unit":"credits","models":"platform"}`, `{"key":"voice","unit":"euro","models":"platform","default_factor":"1"}`,
		`{"key":"voice","unit":"credits","models":"nobody","default_factor":"1"}`, `{"key":"Voice!","unit":"credits","models":"platform","default_factor":"1"}`,
		`{"key":"voice","unit":"credits","models":"platform","default_factor":"0"}`, `{"key":"voice","unit":"credits","models":"platform","default_factor":"-1"}`,
		`{"key":"voice","unit":"credits","models":"platform","default_factor":"1e3"}`, `{"key":"voice","unit":"credits","models":"platform","default_factor":"0.0000000000001"}`,
		`{"key":"voice","unit":"usd","models":"account","default_factor":"2"}`} {
		super.Want(http.StatusUnprocessableEntity, http.MethodPost, path, body)
	}
	super.Want(http.StatusCreated, http.MethodPost, path, `{"key":"gateway","unit":"usd","models":"account"}`)
	if r := super.Want(http.StatusConflict, http.MethodPost, path, `{"key":"gateway","unit":"usd","models":"account","default_factor":"1.0"}`); r.Code() != "key_taken" {
		t.Errorf("%s", r.Body)
	}
	s.As("account_admin:acme").Want(http.StatusForbidden, http.MethodPost, path, `{"key":"voice","unit":"usd","models":"account"}`)
	var list struct {
		Items []struct {
			Key           string
			DefaultFactor string `json:"default_factor"`
		}
	}
	if super.Want(http.StatusOK, http.MethodGet, path, "").Into(&list); len(list.Items) != 3 || list.Items[2].Key != "gateway" || list.Items[2].DefaultFactor != "1" {
		t.Errorf("%+v", list)
	}
}
