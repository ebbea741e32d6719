package journal_test

import (
	"testing"

	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/metering/journal/journaltest"
	"github.com/alchemi/cockpit/schemas/postgres"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestContract(t *testing.T) {
	t.Parallel()
	journaltest.Contract(t, func(t *testing.T) journal.Store {
		return journal.NewPostgres(testkit.Pool(t, testkit.Database(t), postgres.RoleMetering))
	})
}

var usage0 = journal.Partition{ClusterID: "c", TopicID: "id", Topic: "usage.v1"}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
