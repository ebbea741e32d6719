package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// alerts checks I6: each threshold that was reached has its alert, no alert is told under two ids, each has an outbox row,
// and what is marked as sent is in alerts.v1 under its id.
func (v *verification) alerts(ctx context.Context) error {
	for _, check := range []func(context.Context) error{v.crossings, v.keys, v.delivered} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reached says whether used is at least that share of the allocation.
func reached(used, allocation, percent int64) bool {
	share := new(big.Int).Mul(big.NewInt(allocation), big.NewInt(percent))
	return new(big.Int).Mul(big.NewInt(used), big.NewInt(100)).Cmp(share) >= 0
}

// crossings looks for the alert of every threshold that a balance has reached. Only accounts whose change the fold has seen
// are looked at, and only thresholds that the plan has had since the cycle began: one that is added later is reached
// without being crossed. A crossing at an earlier allocation is enough, since an allocation that is raised crosses nothing.
func (v *verification) crossings(ctx context.Context) error {
	i6 := v.results["I6"]
	var scope, cycle, used, allocation, percent int64
	var told bool
	return v.each(ctx, `SELECT b.scope_id, extract(epoch FROM b.cycle_start)::bigint, b.used, b.allocation, t.percent,
			a.scope IS NOT NULL
		FROM balances b JOIN scopes s ON s.account_id = b.account_id AND s.id = b.scope_id
		JOIN account_sections x ON x.account_id = s.account_id AND x.section_id = s.section_id
		JOIN accounts acc ON acc.account_id = b.account_id
		JOIN LATERAL (SELECT sp.plan_id, v.thresholds FROM scope_plans sp JOIN budget_plan_versions v USING (plan_id)
			WHERE sp.scope_id = x.root_scope_id ORDER BY sp.valid_from DESC, v.id DESC LIMIT 1) p ON true
		JOIN LATERAL (SELECT v.thresholds FROM budget_plan_versions v WHERE v.plan_id = p.plan_id ORDER BY v.recorded_at <= b.cycle_start DESC,
			CASE WHEN v.recorded_at <= b.cycle_start THEN -v.id ELSE v.id END LIMIT 1) f ON true
		CROSS JOIN LATERAL unnest(p.thresholds) AS t(percent)
		LEFT JOIN (SELECT DISTINCT split_part(dedupe_key, '/', 2) AS scope, split_part(dedupe_key, '/', 3) AS cycle, split_part(dedupe_key, '/', 5) AS percent
			FROM alerts WHERE dedupe_key LIKE 'threshold/%') a
			ON a.scope = b.scope_id::text AND a.cycle = extract(epoch FROM b.cycle_start)::bigint::text AND a.percent = t.percent::text
		WHERE b.allocation IS NOT NULL AND b.used > 0 AND acc.crossings_version = acc.version AND t.percent = ANY(f.thresholds)`,
		[]any{&scope, &cycle, &used, &allocation, &percent, &told}, func() error {
			i6.Checked++
			if !told && reached(used, allocation, percent) {
				i6.fail("scope %d in the cycle from %s reached %d %% of %s and has no alert", scope, stamp(cycle), percent, amount(allocation, creditPlaces))
			}
			return nil
		})
}

// keys checks that every alert of a crossing is of one, and the only one.
func (v *verification) keys(ctx context.Context) error {
	i6 := v.results["I6"]
	var id, scope, lastID int64
	var key, last string
	var raw []byte
	return v.each(ctx, `SELECT id, coalesce(scope_id, 0), dedupe_key, data FROM alerts ORDER BY dedupe_key, id`, []any{&id, &scope, &key, &raw}, func() error {
		i6.Checked++
		if key == last {
			i6.fail("alerts %d and %d are the same (%s)", lastID, id, key)
		}
		last, lastID = key, id
		if scope != 0 || strings.HasPrefix(key, "threshold/") {
			if err := told(raw, scope, key); err != nil {
				i6.fail("alert %d %v", id, err)
			}
		}
		return nil
	})
}

// told says what is wrong with what an alert of a crossing tells.
func told(raw []byte, scope int64, key string) error {
	var data struct {
		Scope      struct{ ID int64 }
		Threshold  int64
		Used       string
		Allocation string    `json:"effective_allocation"`
		Cycle      time.Time `json:"cycle_start"`
	}
	if err := json.Unmarshal(raw, &data); err != nil {
		return err
	}
	used, err := scaled(data.Used, creditPlaces)
	if err != nil {
		return err
	}
	allocation, err := scaled(data.Allocation, creditPlaces)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("threshold/%d/%d/%s/%d", scope, data.Cycle.Unix(), allocation, data.Threshold); key != want || data.Scope.ID != scope {
		return fmt.Errorf("is kept as %s and tells of %s: it is another's, or told twice", key, want)
	}
	if !reached(used.Int64(), allocation.Int64(), data.Threshold) {
		return fmt.Errorf("tells of %d %% of %s, which %s is not", data.Threshold, data.Allocation, data.Used)
	}
	return nil
}

// overdue is how long an alert may be due before it counts as not delivered.
const overdue = 15 * time.Minute

// What is known of an alert, in the order in which it is met.
const (
	inPostgres = iota
	inKafka
	markedSent
)

// delivered compares the outbox with alerts.v1, both in the order of ids.
func (v *verification) delivered(ctx context.Context) error {
	ids := &sorter[[4]uint64]{dir: v.Scratch}
	defer ids.close()
	expired, err := v.expired(ctx, alertsTopic)
	if err != nil {
		return err
	}
	err = v.whole(ctx, alertsTopic, func(rec *kgo.Record) error {
		var e struct{ ID string }
		if json.Unmarshal(rec.Value, &e) != nil {
			return nil
		}
		id, err := strconv.ParseUint(strings.TrimPrefix(e.ID, "alr_"), 10, 64)
		if err != nil {
			return nil
		}
		return ids.add([4]uint64{id, inKafka, uint64(rec.Offset)})
	})
	if err != nil {
		return err
	}
	if err := v.outbox(ctx, ids, expired); err != nil {
		return err
	}
	var id uint64
	known, published := false, false
	orphan := func() error {
		if !published || known {
			return nil
		}
		var exists bool // one that is younger than the snapshot is no orphan
		if err := v.Postgres.QueryRow(ctx, `SELECT EXISTS (SELECT FROM alerts WHERE id = $1)`, id).Scan(&exists); err != nil {
			return err
		}
		if !exists {
			v.results["I6"].fail("alr_%d is in %s and is no alert", id, alertsTopic)
		}
		return nil
	}
	err = ids.each(func(r [4]uint64) error {
		if r[0] != id {
			if err := orphan(); err != nil {
				return err
			}
			id, known, published = r[0], false, false
		}
		known, published = known || r[1] == inPostgres, published || r[1] == inKafka
		if r[1] == markedSent && !published {
			v.results["I6"].fail("alert %d is marked as sent and is not in %s", id, alertsTopic)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return orphan()
}

// outbox notes every alert, and those that must have been published.
func (v *verification) outbox(ctx context.Context, ids *sorter[[4]uint64], expired time.Time) error {
	i6 := v.results["I6"]
	var id, rows int64
	var sent, late bool
	var at *time.Time
	return v.each(ctx, `SELECT a.id, count(o.id), coalesce(bool_or(o.state = 'sent'), false), max(o.sent_at), coalesce(bool_or(o.state = 'pending' AND o.due_at < now() - $1::interval), false)
		FROM alerts a LEFT JOIN alert_outbox o ON o.alert_id = a.id GROUP BY a.id`, []any{&id, &rows, &sent, &at, &late}, func() error {
		if rows != 1 {
			i6.fail("alert %d has %d outbox rows", id, rows)
		}
		if late {
			i6.fail("alert %d has been due for over %s and is not sent", id, overdue)
		}
		if err := ids.add([4]uint64{uint64(id), inPostgres}); err != nil {
			return err
		}
		if sent && at != nil && at.After(expired) {
			return ids.add([4]uint64{uint64(id), markedSent})
		}
		return nil
	}, overdue)
}
