package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// alerts checks I6: each reached threshold of a limited scope has an alert, each of them an outbox row, and what is marked
// as sent is in alerts.v1 under its id.
func (v *verification) alerts(ctx context.Context) error {
	i6 := v.results["I6"]
	rows, err := v.tx.Query(ctx, `SELECT b.scope_id, extract(epoch FROM b.cycle_start)::bigint, b.used, b.allocation, t.percent,
			(SELECT count(*) FROM alerts a WHERE a.dedupe_key LIKE 'threshold/' || b.scope_id || '/' || extract(epoch FROM b.cycle_start)::bigint || '/%/' || t.percent)
		FROM balances b JOIN scopes s ON s.account_id = b.account_id AND s.id = b.scope_id
		JOIN account_sections x ON x.account_id = s.account_id AND x.section_id = s.section_id
		JOIN accounts acc ON acc.account_id = b.account_id
		JOIN LATERAL (SELECT v.thresholds FROM scope_plans sp JOIN budget_plan_versions v USING (plan_id)
			WHERE sp.scope_id = x.root_scope_id ORDER BY sp.valid_from DESC, v.id DESC LIMIT 1) p ON true
		CROSS JOIN LATERAL unnest(p.thresholds) AS t(percent)
		WHERE b.allocation IS NOT NULL AND b.used > 0 AND acc.crossings_version = acc.version`)
	if err != nil {
		return err
	}
	var scope, cycle, used, allocation, percent, alerts int64
	_, err = pgx.ForEachRow(rows, []any{&scope, &cycle, &used, &allocation, &percent, &alerts}, func() error {
		i6.Checked++
		share := new(big.Int).Mul(big.NewInt(allocation), big.NewInt(percent))
		reached := new(big.Int).Mul(big.NewInt(used), big.NewInt(100)).Cmp(share) >= 0
		if reached && alerts == 0 {
			i6.fail("scope %d in the cycle from %s reached %d %% and has no alert", scope, stamp(cycle), percent)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return v.delivered(ctx, i6)
}

func (v *verification) delivered(ctx context.Context, i6 *Result) error {
	published := map[string]bool{}
	if err := v.whole(ctx, "alerts.v1", func(rec *kgo.Record) {
		var e struct{ ID string }
		if json.Unmarshal(rec.Value, &e) == nil {
			published[e.ID] = true
		}
	}); err != nil {
		return err
	}
	rows, err := v.tx.Query(ctx, `SELECT a.id, count(o.id), bool_or(o.state = 'sent'), a.created_at FROM alerts a LEFT JOIN alert_outbox o ON o.alert_id = a.id GROUP BY a.id`)
	if err != nil {
		return err
	}
	var id, outbox int64
	var sent *bool
	var created time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &outbox, &sent, &created}, func() error {
		i6.Checked++
		if outbox != 1 {
			i6.fail("alert %d has %d outbox rows", id, outbox)
		} else if *sent && !published[fmt.Sprintf("alr_%d", id)] {
			i6.fail("alert %d is marked as sent and is not in alerts.v1", id)
		}
		return nil
	})
	return err
}
