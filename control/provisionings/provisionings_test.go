package provisionings_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type item struct{ ID, Kind, Account, Email, State, Reason string }

func list(c *controltest.Client, path string) []item {
	var page struct{ Items []item }
	c.Want(http.StatusOK, http.MethodGet, path, "").Into(&page)
	return page.Items
}

func TestAnAccountSeesItsOwn(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	if err := provisioning.Switch(t.Context(), s.Stores.Platform, "https://id.example.com"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"acme", "globex"} {
		var account int64
		if err := s.Owner.QueryRow(t.Context(), `SELECT account_id FROM accounts WHERE key = $1`, key).Scan(&account); err != nil {
			t.Fatal(err)
		}
		err := s.Stores.InTx(t.Context(), account, pgx.ReadWrite, func(tx pgx.Tx) error {
			_, err := provisioning.Invite(t.Context(), tx, provisioning.Invitee{Account: account, Email: "ada@" + key + ".example", Roles: provisioning.Roles})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Owner.Exec(t.Context(), `UPDATE issuer_users SET state = 'failed', reason = 'several people have this e-mail', attempts = 5, next_at = now() + interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	admin, super := s.As("account_admin:acme"), s.As("super_admin")
	mine := list(admin, "/v1/accounts/key:acme/provisioning?state=failed")
	if len(mine) != 1 || mine[0].Kind != "membership" || mine[0].Email != "ada@acme.example" || mine[0].Reason == "" {
		t.Fatalf("%+v", mine)
	}
	all := list(super, "/v1/platform/provisioning?q=ADA@GLOBEX")
	if len(all) != 2 || len(list(super, "/v1/platform/provisioning?kind=organization&state=pending")) != 2 {
		t.Errorf("%+v", all)
	}
	for _, p := range all { // of another account, or nobody's
		admin.Want(http.StatusNotFound, http.MethodPost, "/v1/accounts/key:acme/provisioning/"+p.ID+"/retry", "")
	}
	admin.Want(http.StatusOK, http.MethodPost, "/v1/accounts/key:acme/provisioning/"+mine[0].ID+"/retry", "")
	if again := list(admin, "/v1/accounts/key:acme/provisioning?state=pending&kind=membership"); len(again) != 1 || again[0].Reason != "" {
		t.Errorf("%+v", again)
	}
	s.As("account_viewer:acme").Want(http.StatusForbidden, http.MethodPost, "/v1/accounts/key:acme/provisioning/"+mine[0].ID+"/retry", "")
	if failed := list(super, "/v1/platform/provisioning?state=failed"); len(failed) != 2 {
		t.Errorf("the other's are not tried: %+v", failed)
	}
	super.Want(http.StatusOK, http.MethodPost, "/v1/platform/provisioning/"+all[0].ID+"/retry", "")
	if r := super.Want(http.StatusOK, http.MethodGet, "/v1/platform/provisioning.csv", ""); !strings.Contains(string(r.Body), "ada@globex.example") {
		t.Errorf("%s", r.Body)
	}
}
