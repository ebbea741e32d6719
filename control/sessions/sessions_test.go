package sessions_test

import (
	"fmt"
	"testing"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/controltest"
	"github.com/alchemi/cockpit/control/sessions"
	"github.com/alchemi/cockpit/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// begin makes sessions of a person, and returns the person's number.
func begin(t *testing.T, s *controltest.Server, as string, n int) int64 {
	t.Helper()
	var me sessions.Me
	s.As(as).Want(200, "GET", "/v1/me", "").Into(&me)
	person, ok := api.PersonKind.Parse(me.ID)
	if !ok {
		t.Fatalf("%+v", me)
	}
	_, err := s.Owner.Exec(t.Context(), `INSERT INTO sessions (hash, person_id, roles, tokens, user_agent, address, refresh_at, idle, expires_at)
		SELECT sha256(convert_to($1::bigint || ' ' || i, 'UTF8')), $1, '{}', 'x', '=agent ' || i, '203.0.113.7', now(), '1 hour', now() + i * interval '1 hour' FROM generate_series(0, $2) i`, person, n)
	if err != nil {
		t.Fatal(err)
	}
	return person
}

func TestOwnAndOthersSessions(t *testing.T) {
	t.Parallel()
	s := controltest.New(t, controltest.Options{})
	admin, other := "account_admin:acme", "account_viewer:acme"
	person := begin(t, s, admin, 3) // and one that has expired
	begin(t, s, other, 1)
	list := func(as, path string) (ids []string) {
		t.Helper()
		var page api.Items[sessions.Session]
		s.As(as).Want(200, "GET", path, "").Into(&page)
		for _, v := range page.Items {
			ids = append(ids, v.ID)
		}
		return ids
	}
	mine := list(admin, "/v1/me/sessions")
	if len(mine) != 3 || len(list(other, "/v1/me/sessions")) != 1 || len(list("product", "/v1/me/sessions")) != 0 {
		t.Fatalf("%v", mine)
	}
	s.As(other).Want(404, "DELETE", "/v1/me/sessions/"+mine[0], "")
	s.As("product").Want(404, "DELETE", "/v1/me/sessions/"+mine[0], "")
	s.As(admin).Want(204, "DELETE", "/v1/me/sessions/"+mine[0], "")
	s.As(admin).Want(404, "DELETE", "/v1/me/sessions/"+mine[0], "")
	theirs := fmt.Sprintf("/v1/platform/people/%s/sessions", api.PersonKind.ID(person))
	s.As(admin).Want(403, "GET", theirs, "")
	if got := list("super_admin", theirs); len(got) != 2 {
		t.Fatalf("%v", got)
	}
	s.As("super_admin").Want(404, "GET", "/v1/platform/people/per_zzz/sessions", "")
	s.As("super_admin").Want(204, "DELETE", theirs+"/"+mine[1], "")
	if got := list(admin, "/v1/me/sessions"); len(got) != 1 || got[0] != mine[2] {
		t.Errorf("%v", got)
	}
	var recorded, kept int
	if err := s.Owner.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM audit_entries WHERE action = 'session.ended'), (SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL AND tokens <> '')`).
		Scan(&recorded, &kept); err != nil || recorded != 2 || kept != 0 {
		t.Errorf("%d on record, %d with tokens, %v", recorded, kept, err)
	}
	for as, places := range map[string]string{"section_admin:acme/copilot": "acme copilot ", "super_admin": "  ", "account_admin:acme": "acme  ", "end_user": ""} {
		var me sessions.Me
		s.As(as).Want(200, "GET", "/v1/me", "").Into(&me)
		got := ""
		for _, r := range me.Roles {
			for _, p := range []*sessions.Place{r.Account, r.Section} {
				if p != nil {
					got += p.Key
				}
				got += " "
			}
		}
		if got != places {
			t.Errorf("%s: %+v", as, me)
		}
	}
}
