package fold

import (
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/alchemi/cockpit/schemas/journal"
	"github.com/jackc/pgx/v5"
)

// Types of alerts (contracts.md, Webhooks).
const (
	thresholdCrossed = "budget.threshold_crossed"
	exhausted        = "budget.exhausted"
	unattributed     = "usage.unattributed"
	quarantined      = "usage.quarantined"
)

// crossing writes an alert and its outbox row, once for the scope, cycle, allocation and threshold.
func (r *round) crossing(batch *pgx.Batch, p *page, slot int, tree *cachedTree, eff allocation.Effective, percent int) {
	kind := thresholdCrossed
	if percent >= 100 {
		kind = exhausted
	}
	scope := tree.scopes[p.scope(slot)]
	data := map[string]any{
		"scope":     map[string]any{"kind": scope.Kind, "id": scope.ID, "key": scope.Key},
		"threshold": percent, "used": credit.Amount(p.used[slot]), "effective_allocation": eff.Allocation, "source": eff.Source,
		"enforcement": tree.Enforcement, "cycle_start": time.Unix(p.key.CycleStart, 0).UTC(),
	}
	batch.Queue(`WITH new AS (
			INSERT INTO alerts (account_id, section_id, type, dedupe_key, scope_id, data) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (dedupe_key) DO NOTHING RETURNING id)
		INSERT INTO alert_outbox (account_id, alert_id) SELECT $1, id FROM new`,
		p.key.Account, p.key.Section, kind, fmt.Sprintf("threshold/%d/%d/%d/%d", scope.ID, p.key.CycleStart, eff.Allocation, percent), scope.ID, data)
}

// notice is a kind of event that admins are told of, once an hour.
type notice struct {
	kind    string
	account int64 // 0: not known
	reason  string
	hour    time.Time
}

// notice counts what a body has of such events. The hour is the journal row's, so that folding again counts the same.
func (r *round) notice(b *journal.Body, at time.Time) {
	hour := at.UTC().Truncate(time.Hour)
	for i := range b.Entries {
		e := &b.Entries[i]
		switch {
		case e.Decision == journal.Quarantined:
			r.notices[notice{quarantined, e.Account, e.Reason.String(), hour}]++
		case e.Decision == journal.Charged && e.Charge.Flags&events.Unattributed != 0:
			r.notices[notice{unattributed, b.Paths[e.Charge.Path].Account, "", hour}]++
		}
	}
}

// notify writes the notices; those of an hour that was told of already only count on.
func (r *round) notify(batch *pgx.Batch) {
	for n, count := range r.notices {
		var account *int64
		if n.account != 0 {
			account = &n.account
		}
		batch.Queue(`WITH told AS (
				INSERT INTO alerts AS a (account_id, type, dedupe_key, data) VALUES ($1, $2, $3, jsonb_build_object('reason', $4::text, 'hour', $5::timestamptz, 'count', $6::bigint))
				ON CONFLICT (dedupe_key) DO UPDATE SET data = jsonb_set(a.data, '{count}', to_jsonb((a.data->>'count')::bigint + $6))
				RETURNING id, xmax = 0 AS new)
			INSERT INTO alert_outbox (account_id, alert_id) SELECT $1, id FROM told WHERE new`,
			account, n.kind, fmt.Sprintf("%s/%d/%s/%d", n.kind, n.account, n.reason, n.hour.Unix()), n.reason, n.hour, count)
	}
}
