package verify

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
)

// How often, and how far apart, ClickHouse's tables are compared with each other before a difference counts.
const (
	settleTries = 10
	settlePause = 500 * time.Millisecond
)

// clickhouse checks I5: events are what the journal decided, and rollups are what the events add up to.
func (v *verification) clickhouse(ctx context.Context) error {
	i5 := v.results["I5"]
	if v.ClickHouse == nil {
		i5.Detail = "not checked: no ClickHouse"
		return nil
	}
	var bounds []string
	for _, l := range v.logs {
		if l.topic != "guardrail.v1" && l.rolled > 0 {
			bounds = append(bounds, fmt.Sprintf("(log = %d AND position < %d)", l.id, l.rolled))
		}
	}
	if len(bounds) == 0 {
		return nil
	}
	rows, err := v.ClickHouse.Query(ctx, `SELECT account, model, toString(toDate(time)), count(), uniqExact(log, position), sum(credits), sum(cost) FROM usage_events
		WHERE decision IN ('charged', 'observed', 'reversal', 'recharge') AND (`+strings.Join(bounds, " OR ")+`) GROUP BY 1, 2, 3`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var account, model, events, distinct uint64
	var day string
	var credits, cost decimal.Decimal
	for rows.Next() {
		if err := rows.Scan(&account, &model, &day, &events, &distinct, &credits, &cost); err != nil {
			return err
		}
		i5.Checked++
		k := dayKey{int64(account), int64(model), day}
		want := v.daily[k]
		delete(v.daily, k)
		if events != distinct {
			i5.fail("account %d, model %d, %s: %d rows of %d events in usage_events", account, model, day, events, distinct)
		}
		if want.credits == nil {
			want.credits, want.cost = new(big.Int), new(big.Int)
		}
		if want.events != int64(events) || !decimal.NewFromBigInt(want.credits, -6).Equal(credits) || !decimal.NewFromBigInt(want.cost, -12).Equal(cost) {
			i5.fail("account %d, model %d, %s: usage_events has %d events of %s credits, the journal %d of %s", account, model, day, events, credits,
				want.events, decimal.NewFromBigInt(want.credits, -6))
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for k := range v.daily {
		i5.fail("account %d, model %d, %s: not in usage_events", k.account, k.model, k.day)
	}
	return v.settled(ctx, i5)
}

// settled compares the rollups with the events. The lock keeps batches from being half written meanwhile; one that a
// crash left so is finished by whoever writes next, which is waited for.
func (v *verification) settled(ctx context.Context, i5 *Result) error {
	var differences []string
	for range settleTries {
		var err error
		if differences, err = v.undisturbed(ctx); err != nil || len(differences) == 0 {
			return err
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, d := range differences {
		i5.fail("%s", d)
	}
	return nil
}

func (v *verification) undisturbed(ctx context.Context) (differences []string, err error) {
	err = pgx.BeginFunc(ctx, v.Postgres, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(hashtext('cockpit rollups batch'))`); err != nil {
			return err
		}
		differences, err = v.rollups(ctx)
		return err
	})
	return differences, err
}

func (v *verification) rollups(ctx context.Context) (differences []string, err error) {
	for _, table := range []string{"usage_days", "usage_model_days", "usage_quarters", "usage_user_days"} {
		rows, err := v.ClickHouse.Query(ctx, `SELECT account, section, model, sum(e), sum(c), sum(k) FROM (
				SELECT account, section, model, toInt64(if(decision = 'reversal', -1, 1)) AS e, credits AS c, cost AS k FROM usage_events WHERE decision IN ('charged', 'observed', 'reversal', 'recharge')
				UNION ALL SELECT account, section, model, -events, -credits, -cost FROM `+table+`)
			GROUP BY 1, 2, 3 HAVING sum(e) != 0 OR sum(c) != 0 OR sum(k) != 0`)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var account, section, model uint64
			var events int64
			var credits, cost decimal.Decimal
			if err := rows.Scan(&account, &section, &model, &events, &credits, &cost); err != nil {
				rows.Close()
				return nil, err
			}
			differences = append(differences, fmt.Sprintf("%s, account %d, section %d, model %d: lacks %d events of %s credits", table, account, section, model, events, credits))
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		rows.Close()
	}
	return differences, nil
}
