package postgres_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
)

// Several processes start on an empty database at once: one makes all of it, and the others find it made, River's tables too.
func TestMigratingAtOnce(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), `DROP SCHEMA public CASCADE; DROP SCHEMA river CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC`); err != nil {
		t.Fatal(err)
	}
	applied, errs := make([]int, 4), make([]error, 4)
	var g sync.WaitGroup
	for i := range applied {
		g.Go(func() { applied[i], errs[i] = postgres.Migrate(t.Context(), url) })
	}
	g.Wait()
	makers := 0
	for i, n := range applied {
		if errs[i] != nil {
			t.Error(errs[i])
		}
		if n > 0 {
			makers++
		}
	}
	if makers != 1 {
		t.Errorf("%v were applied: by one, and all by it", applied)
	}
	// What the roles of the API may do with River's tables, and nobody else.
	rows, err := conn.Query(t.Context(), `SELECT r.rolname || ' ' || p.name FROM pg_roles r, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (name)
		WHERE r.rolname LIKE 'cockpit%' AND has_table_privilege(r.rolname, 'river.river_job', p.name) ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	may, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if have, want := strings.Join(may, ", "), "cockpit_app INSERT, cockpit_app SELECT, cockpit_app UPDATE, cockpit_platform DELETE, cockpit_platform INSERT, cockpit_platform SELECT, cockpit_platform UPDATE"; have != want {
		t.Errorf("%s", have)
	}
}
