package alerts_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/alchemi/cockpit/alerts"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// raise writes an alert with its outbox row.
func raise(t *testing.T, tx pgx.Tx, key string) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), `WITH new AS (INSERT INTO alerts (type, dedupe_key, data) VALUES ('usage.quarantined', $1, '{}') RETURNING id)
		INSERT INTO alert_outbox (alert_id) SELECT id FROM new`, key); err != nil {
		t.Fatal(err)
	}
}

// An alert whose transaction commits after those of later ones is published as well, and each once.
func TestAnAlertThatCommitsLateIsPublished(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t)
	owner, pool := testkit.Pool(t, url, "postgres"), testkit.Pool(t, url, postgres.RoleMetering)
	producer, err := kgo.NewClient(kgo.SeedBrokers(testkit.Kafka(t)))
	if err == nil {
		_, err = kadm.NewClient(producer).CreateTopic(t.Context(), 1, 1, nil, alerts.Topic)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	d := alerts.NewDispatcher(pool, producer, slog.Default())
	begin := func() pgx.Tx {
		tx, err := owner.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	commit := func(tx pgx.Tx) {
		if err := tx.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	late := begin()
	defer func() { _ = late.Rollback(context.Background()) }()
	raise(t, late, "late")
	early := begin()
	raise(t, early, "early")
	commit(early)
	for i, want := range []int{1, 0, 1, 0} {
		if i == 2 {
			commit(late)
		}
		if n, err := d.Once(t.Context()); err != nil || n != want {
			t.Fatalf("dispatch %d published %d alerts, want %d (%v)", i, n, want, err)
		}
	}
}
