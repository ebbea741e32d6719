package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestDurabilityNamesWhatIsNotSafe(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var database string
	if err := conn.QueryRow(t.Context(), `SELECT current_database()`).Scan(&database); err != nil {
		t.Fatal(err)
	}
	for value, warned := range map[string]bool{"off": true, "local": true, "on": false, "remote_apply": false} {
		if _, err := conn.Exec(t.Context(), `ALTER DATABASE `+database+` SET synchronous_commit = `+value); err != nil {
			t.Fatal(err)
		}
		warnings, err := postgres.Durability(t.Context(), testkit.Pool(t, url, postgres.RoleMetering))
		if err != nil {
			t.Fatal(err)
		}
		has := func(text string) bool {
			return slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, text) })
		}
		if has("synchronous_commit="+value) != warned || !has("synchronous_standby_names=") {
			t.Errorf("synchronous_commit=%s: %q", value, warnings)
		}
	}
}
