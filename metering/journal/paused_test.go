package journal_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/metering/journal"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
)

// told lists the alerts of paused logs, each with how many rows of the outbox it has.
func told(t *testing.T, pool *pgxpool.Pool) (list []string) {
	t.Helper()
	rows, err := pool.Query(context.Background(), `SELECT a.type, a.data->>'partition', a.data->>'position', a.data->>'reason', count(o.id)
		FROM alerts a LEFT JOIN alert_outbox o ON o.alert_id = a.id GROUP BY a.id ORDER BY a.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind, partition, position, reason string
		var outbox int
		if err := rows.Scan(&kind, &partition, &position, &reason, &outbox); err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %s@%s %s ×%d", kind, partition, position, reason, outbox))
	}
	return list
}

func TestEachPauseIsToldOnce(t *testing.T) {
	t.Parallel()
	ctx, lease := t.Context(), must[journal.Lease](t)
	pool := testkit.Pool(t, testkit.Database(t), postgres.RoleMetering)
	s := journal.NewPostgres(pool)
	old := lease(s.Take(ctx, usage0, 1, 5))
	l := lease(s.Take(ctx, usage0, 1, 5))
	if err := s.Pause(ctx, &old, "not mine"); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("the older lease paused: %v", err)
	}
	for range 2 { // the second time by a worker that did not hear of its first
		if err := s.Pause(ctx, &l, "gone"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.AcceptLoss(ctx, "usage.v1", 0, 9, "test", "it is"); err != nil {
		t.Fatal(err)
	}
	l = lease(s.Take(ctx, usage0, 1, 9))
	if err := s.Pause(ctx, &l, "gone again"); err != nil {
		t.Fatal(err)
	}
	anew := usage0
	anew.TopicID = "another"
	lease(s.Take(ctx, anew, 1, 0))
	lease(s.Take(ctx, anew, 1, 0))
	want := "[metering.log_paused 0@5 gone ×1 metering.log_paused 0@9 gone again ×1 metering.log_paused 0@0 the topic was made anew under another id ×1]"
	if got := fmt.Sprint(told(t, pool)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
