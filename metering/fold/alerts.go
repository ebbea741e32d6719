package fold

import (
	"encoding/json"
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

// crossings are alerts to write, by column: a month's first hours may bring thousands at once.
type crossings struct {
	accounts, sections, scopes []int64
	kinds, keys, data          []string
}

// crossing raises an alert, once for the scope, cycle, allocation and threshold.
func (r *round) crossing(p *page, slot int, tree *cachedTree, eff allocation.Effective, percent int) error {
	kind := thresholdCrossed
	if percent >= 100 {
		kind = exhausted
	}
	scope := tree.scopes[p.scope(slot)]
	data, err := json.Marshal(map[string]any{
		"scope":     map[string]any{"kind": scope.Kind, "id": scope.ID, "key": scope.Key},
		"threshold": percent, "used": credit.Amount(p.used[slot]), "effective_allocation": eff.Allocation, "source": eff.Source,
		"enforcement": tree.Enforcement, "cycle_start": time.Unix(p.key.CycleStart, 0).UTC(),
	})
	c := &r.crossings
	c.accounts, c.sections, c.scopes = append(c.accounts, p.key.Account), append(c.sections, p.key.Section), append(c.scopes, scope.ID)
	c.kinds, c.data = append(c.kinds, kind), append(c.data, string(data))
	c.keys = append(c.keys, fmt.Sprintf("threshold/%d/%d/%d/%d", scope.ID, p.key.CycleStart, eff.Allocation, percent))
	return err
}

// raise writes the crossings with their outbox rows.
func (c *crossings) raise(batch *pgx.Batch) {
	if len(c.keys) == 0 {
		return
	}
	batch.Queue(`WITH new AS (
			INSERT INTO alerts (account_id, section_id, scope_id, type, dedupe_key, data)
			SELECT account, section, scope, kind, key, data::jsonb
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[]) AS c(account, section, scope, kind, key, data)
			ON CONFLICT (dedupe_key) DO NOTHING RETURNING id, account_id)
		INSERT INTO alert_outbox (account_id, alert_id) SELECT account_id, id FROM new`,
		c.accounts, c.sections, c.scopes, c.kinds, c.keys, c.data)
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
