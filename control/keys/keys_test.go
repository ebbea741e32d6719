package keys_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/keys"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestTheLifeOfAKey(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := testkit.Pool(t, testkit.Database(t), postgres.RoleMetering)
	if _, err := pool.Exec(ctx, `INSERT INTO accounts (key, name, time_zone) VALUES ('acme', 'Acme', 'UTC');
		INSERT INTO sources (key, mode, all_accounts) VALUES ('web', 'meter', true), ('litellm', 'meter', false);
		INSERT INTO source_sections SELECT s.id, c.id FROM sources s, sections c WHERE s.key = 'web' OR c.key = 'console';
		INSERT INTO source_accounts SELECT a.account_id, s.id FROM accounts a, sources s WHERE s.key = 'litellm'`); err != nil {
		t.Fatal(err)
	}
	s := keys.NewStore(pool)
	text, id, err := s.Create(ctx, keys.New{Name: "gateway", Sources: []string{"litellm"}, Account: "acme"})
	if err != nil || !keys.WellFormed(text) {
		t.Fatalf("%q %v", text, err)
	}
	p, err := s.Authenticate(ctx, text)
	if err != nil || p.KeyID != id || p.AllAccounts || !slices.Equal(p.Accounts, []string{"acme"}) || len(p.Sources) != 1 || p.Sources[0].Source != "litellm" || len(p.Sources[0].Sections) != 1 || p.Sources[0].Accounts[0] != "acme" {
		t.Fatalf("%+v %v", p, err)
	}
	all, _, err := s.Create(ctx, keys.New{Name: "all"})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Authenticate(ctx, all); err != nil || len(p.Sources) != 2 || !p.AllAccounts {
		t.Fatalf("%+v %v", p, err)
	}
	past := time.Now().Add(-time.Second)
	expired, _, err := s.Create(ctx, keys.New{Name: "old", ExpiresAt: &past})
	if err != nil {
		t.Fatal(err)
	}
	mistyped := text[:10] + "x" + text[11:]
	if text[10] == 'x' {
		mistyped = text[:10] + "y" + text[11:]
	}
	for name, bad := range map[string]string{"expired": expired, "mistyped": mistyped, "empty": "", "never made": "ck_00000000000000000000000000000000" + "4d7b7b5f"} {
		if _, err := s.Authenticate(ctx, bad); !errors.Is(err, keys.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ok, err := s.Revoke(ctx, id); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := s.Authenticate(ctx, text); !errors.Is(err, keys.ErrUnknown) {
		t.Errorf("revoked: %v", err)
	}
	if ok, _ := s.Revoke(ctx, id); ok {
		t.Error("revoked twice")
	}
	list, err := s.List(ctx)
	if err != nil || len(list) != 3 || list[2].RevokedAt == nil || list[2].LastUsedAt == nil || list[2].LastFour != text[len(text)-4:] {
		t.Errorf("%+v %v", list, err)
	}
	if _, _, err := s.Create(ctx, keys.New{Name: "x", Sources: []string{"nobody"}}); err == nil {
		t.Error("a key for a source that is not there")
	}
}
