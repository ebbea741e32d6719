package summaries

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// write writes the rows that are others, and when all were looked at.
func (r *round) write(ctx context.Context) (written int, err error) {
	batch := &pgx.Batch{}
	for account, s := range r.sums {
		changed, err := s.finish(r.now)
		if err != nil {
			return 0, err
		}
		if !changed {
			continue
		}
		w := &s.row
		batch.Queue(`INSERT INTO account_summaries (account_id, users, allocated_credits, allocated_usd, used_credits, used_usd, forecast_credits, forecast_usd,
				open_alerts, last_activity_at, version, until, events, forecast_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10, '-infinity'::timestamptz), $11, coalesce($12, 'infinity'::timestamptz), $13, $14)
			ON CONFLICT (account_id) DO UPDATE SET (users, allocated_credits, allocated_usd, used_credits, used_usd, forecast_credits, forecast_usd,
				open_alerts, last_activity_at, version, until, events, forecast_at) = ROW (excluded.users, excluded.allocated_credits, excluded.allocated_usd,
				excluded.used_credits, excluded.used_usd, excluded.forecast_credits, excluded.forecast_usd,
				excluded.open_alerts, excluded.last_activity_at, excluded.version, excluded.until, excluded.events, excluded.forecast_at)`,
			account, w.Users, int64(w.Allocated[0]), int64(w.Allocated[1]), int64(w.Used[0]), int64(w.Used[1]), int64(w.Forecast[0]), int64(w.Forecast[1]),
			w.OpenAlerts, orNull(w.LastActivity), w.Version, orNull(w.Until), w.Events, w.ForecastAt)
	}
	written = batch.Len()
	batch.Queue(`INSERT INTO account_summaries_state (as_of) VALUES ($1) ON CONFLICT (only_row) DO UPDATE SET as_of = excluded.as_of`, r.now)
	return written, r.tx.SendBatch(ctx, batch).Close()
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
