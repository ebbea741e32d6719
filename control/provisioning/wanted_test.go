package provisioning_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/provisioning"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// on is an API that is kept in step with an issuer.
func on(t *testing.T, issuer string) *controltest.Server {
	t.Helper()
	s := controltest.New(t, controltest.Options{})
	if err := provisioning.Switch(t.Context(), s.Stores.Platform, issuer); err != nil {
		t.Fatal(err)
	}
	return s
}

func account(t *testing.T, s *controltest.Server, key string) (id int64) {
	t.Helper()
	if err := s.Owner.QueryRow(t.Context(), `SELECT account_id FROM accounts WHERE key = $1`, key).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// in calls f as a request of the account does.
func in(t *testing.T, s *controltest.Server, account int64, f func(ctx context.Context, tx pgx.Tx) error) {
	t.Helper()
	if err := s.Stores.InTx(t.Context(), account, pgx.ReadWrite, func(tx pgx.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// invite invites somebody, and gives his id.
func invite(t *testing.T, s *controltest.Server, who provisioning.Invitee) (id int64) {
	t.Helper()
	in(t, s, who.Account, func(ctx context.Context, tx pgx.Tx) (err error) {
		id, err = provisioning.Invite(ctx, tx, who)
		return err
	})
	return id
}

func number(t *testing.T, s *controltest.Server, sql string, args ...any) (n int) {
	t.Helper()
	if err := s.Owner.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOneRowAPerson(t *testing.T) {
	t.Parallel()
	s := on(t, "test")
	acme, globex := account(t, s, "acme"), account(t, s, "globex")
	one := invite(t, s, provisioning.Invitee{Account: acme, Email: "Ada@Example.com", Roles: []string{provisioning.EndUser}})
	var g sync.WaitGroup
	for _, who := range []provisioning.Invitee{{Account: acme, Email: " ada@example.COM", Roles: []string{provisioning.AccountAdmin}},
		{Account: globex, Email: "ADA@EXAMPLE.COM", Roles: []string{provisioning.EndUser}}} {
		g.Go(func() {
			err := s.Stores.InTx(t.Context(), who.Account, pgx.ReadWrite, func(tx pgx.Tx) error {
				id, err := provisioning.Invite(t.Context(), tx, who)
				if id != one {
					t.Errorf("%s is %d and %d", who.Email, one, id)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if n := number(t, s, `SELECT count(*) FROM issuer_users`); n != 1 {
		t.Errorf("%d users", n)
	}
	var roles []string
	if err := s.Owner.QueryRow(t.Context(), `SELECT roles FROM issuer_grants WHERE account_id = $1`, acme).Scan(&roles); err != nil || !slices.Equal(roles, []string{"account_admin", "end_user"}) {
		t.Errorf("%q %v", roles, err)
	}
	// Another account's rows are not there for a request of this one.
	in(t, s, globex, func(ctx context.Context, tx pgx.Tx) error {
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM provisioning WHERE account_id = $1`, acme).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d of another account (%v)", n, err)
		}
		if err := provisioning.Revoke(ctx, tx, one, acme); !errors.Is(err, provisioning.ErrAbsent) {
			t.Errorf("revoked in another account: %v", err)
		}
		return nil
	})
}

func TestWhatAnInviteeIsNot(t *testing.T) {
	t.Parallel()
	s := on(t, "test")
	acme := account(t, s, "acme")
	for who, want := range map[*provisioning.Invitee]error{
		{Email: "nobody", Roles: provisioning.Roles}:             provisioning.ErrEmail,
		{Email: "@example.com", Roles: provisioning.Roles}:       provisioning.ErrEmail,
		{Email: "a b@example.com", Roles: provisioning.Roles}:    provisioning.ErrEmail,
		{Email: "a@example.com"}:                                 provisioning.ErrRole,
		{Email: "a@example.com", Roles: []string{"super_admin"}}: provisioning.ErrRole,
	} {
		who.Account = acme
		err := s.Stores.InTx(t.Context(), acme, pgx.ReadWrite, func(tx pgx.Tx) error {
			_, err := provisioning.Invite(t.Context(), tx, *who)
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("%+v: %v", who, err)
		}
	}
}

// Without a service user's key everything is as with any other OpenID provider.
func TestOff(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	if id := invite(t, s, provisioning.Invitee{Account: account(t, s, "acme"), Email: "ada@example.com", Roles: provisioning.Roles}); id != 0 {
		t.Errorf("somebody is wanted: %d", id)
	}
	var a struct {
		IssuerOrganization string `json:"issuer_organization"`
	}
	s.As("super_admin").Want(http.StatusCreated, http.MethodPost, "/v1/platform/accounts", `{"key":"new","name":"New","time_zone":"UTC"}`).Into(&a)
	if n := number(t, s, `SELECT count(*) FROM provisioning`); n != 0 || a.IssuerOrganization != "" {
		t.Errorf("%d rows, organization %q", n, a.IssuerOrganization)
	}
}

func TestAnAccountHasAnOrganization(t *testing.T) {
	t.Parallel()
	s := on(t, "test")
	super := s.As("super_admin")
	var a struct {
		ID                 string
		IssuerOrganization string `json:"issuer_organization"`
	}
	r := super.Want(http.StatusCreated, http.MethodPost, "/v1/platform/accounts", `{"key":"new","name":"New","time_zone":"UTC"}`)
	r.Into(&a)
	given := a.IssuerOrganization
	if given == "" {
		t.Fatalf("%s", r.Body)
	}
	path := "/v1/platform/accounts/key:new"
	super.Want(http.StatusOK, http.MethodPatch, path, `{"name":"Newer"}`, "If-Match", r.Header.Get("ETag")).Into(&a)
	if n := number(t, s, `SELECT count(*) FROM issuer_organizations WHERE organization = $1 AND own AND asked = 2`, given); n != 1 || a.IssuerOrganization != given {
		t.Errorf("renamed: %d rows, %q", n, a.IssuerOrganization)
	}
	id := invite(t, s, provisioning.Invitee{Account: account(t, s, "new"), Email: "ada@example.com", Roles: provisioning.Roles})
	if _, err := s.Owner.Exec(t.Context(), `UPDATE issuer_grants SET grant_id = 'g1', done = asked, state = 'synced' WHERE user_id = $1`, id); err != nil {
		t.Fatal(err)
	}
	super.Want(http.StatusOK, http.MethodPatch, path, `{"issuer_organization":"theirs"}`, "If-Match", "*").Into(&a)
	if n := number(t, s, `SELECT count(*) FROM issuer_organizations o JOIN issuer_grants g USING (account_id) WHERE organization = 'theirs' AND NOT own AND made AND NOT granted AND g.grant_id = '' AND g.asked <> g.done`); n != 1 {
		t.Error("another organization, and roles stay those of the one before")
	}
}

func TestAShutPersonIsLetInWhereHeWasShut(t *testing.T) {
	t.Parallel()
	s := on(t, "test")
	super := s.As("super_admin")
	var list struct{ Items []struct{ ID string } }
	super.Want(http.StatusOK, http.MethodGet, "/v1/platform/people?q=grace", "").Into(&list)
	path := "/v1/platform/people/" + list.Items[0].ID
	super.Want(http.StatusOK, http.MethodPost, path+"/deactivate", `{"reason":"left"}`)
	if n := number(t, s, `SELECT count(*) FROM issuer_users WHERE subject = 'grace' AND shut_here AND state = 'pending' AND NOT own`); n != 1 {
		t.Error("it is not to hold at the issuer")
	}
	if _, err := s.Owner.Exec(t.Context(), `UPDATE issuer_users SET shut_there = true`); err != nil {
		t.Fatal(err)
	}
	if r := super.Want(http.StatusConflict, http.MethodPost, path+"/reactivate", `{"reason":"back"}`); r.Code() != "shut_at_issuer" {
		t.Errorf("%s", r.Body)
	}
	if _, err := s.Owner.Exec(t.Context(), `UPDATE issuer_users SET shut_there = false`); err != nil {
		t.Fatal(err)
	}
	super.Want(http.StatusOK, http.MethodPost, path+"/reactivate", `{"reason":"back"}`)
	if n := number(t, s, `SELECT count(*) FROM issuer_users WHERE NOT shut_here AND state = 'pending'`); n != 1 {
		t.Error("it is to hold at the issuer no more")
	}
}
