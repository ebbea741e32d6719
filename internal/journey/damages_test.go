package journey_test

import (
	"fmt"
	"strings"

	"github.com/alchemi/cockpit/schemas/journal"
)

// middle is a row between two others of its log, that with the most charges, in the journal's columns.
const middle = `(SELECT j.* FROM journal j JOIN offsets o ON o.id = j.offsets_id WHERE o.topic = 'usage.v1' AND j.from_pos > 0 AND j.to_pos < o.next ORDER BY j.charged DESC, j.offsets_id, j.from_pos LIMIT 1)`

// damages are planted one at a time. Each says what a detail must name.
var damages = map[string]struct {
	invariants string // that fail; behind a + those that may fail besides, and no other
	plant      func(*damaged) string
}{
	"a micro-credit in a balance": {"I1", func(d *damaged) string {
		d.sql(`UPDATE balance_pages p SET used[b.scope_id % 64 + 1] = b.used + 1 FROM (SELECT * FROM balances ORDER BY scope_id LIMIT 1) b
			WHERE (p.account_id, p.section_id, p.cycle_start, p.page) = (b.account_id, b.section_id, b.cycle_start, b.scope_id / 64)`)
		return d.text(`SELECT 'scope ' || scope_id || ' in the cycle from ' || to_char(cycle_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM balances ORDER BY scope_id LIMIT 1`)
	}},
	"a micro-credit in a charge": {"I1 I4 I5", func(d *damaged) string {
		return d.edit(one(journal.Charged, func(e *journal.Entry) { e.Charge.Credits++ })) + ": charged"
	}},
	"a micro-credit in a new charge": {"I1 I4 I5", func(d *damaged) string {
		return d.edit(one(journal.Recharge, func(e *journal.Entry) { e.Charge.Credits++ })) + ": charged"
	}},
	"a cost": {"I4 I5", func(d *damaged) string {
		return d.edit(one(journal.Observed, func(e *journal.Entry) { e.Charge.Cost++ })) + ": charged"
	}},
	"a missing journal row": {"I3 I7 + I1 I2 I4 I5", func(d *damaged) string {
		says := d.text(`SELECT 'usage.v1/' || o.partition || ': a row ends at ' || j.from_pos || ' and the next begins at ' || j.to_pos FROM ` + middle + ` j JOIN offsets o ON o.id = j.offsets_id`)
		d.sql(`DELETE FROM journal j USING ` + middle + ` m WHERE j.batch_id = m.batch_id`)
		return says
	}},
	"a missing first journal row": {"I7 + I1 I2 I4 I5", func(d *damaged) string {
		d.sql(`DELETE FROM journal WHERE from_pos = 0 AND offsets_id = (SELECT id FROM offsets WHERE topic = 'usage.v1' AND partition = 1)`)
		return "usage.v1/1@0 is in Kafka and was not decided"
	}},
	"a doubled journal row": {"I2 + I1 I4 I5 I7", func(d *damaged) string {
		d.sql(`WITH m AS ` + middle + `, moved AS (UPDATE offsets o SET next = o.next + m.to_pos - m.from_pos FROM m WHERE o.id = m.offsets_id RETURNING o.id, o.next),
				folded AS (UPDATE fold_positions f SET next = moved.next FROM moved WHERE f.offsets_id = moved.id),
				rolled AS (UPDATE rollup_batches b SET to_pos = moved.next FROM moved WHERE b.offsets_id = moved.id)
			INSERT INTO journal SELECT m.offsets_id, moved.next - (m.to_pos - m.from_pos), moved.next, m.kind, o.generation, o.epoch, gen_random_uuid(), m.min_time, m.max_time, m.recorded_at,
				m.charged, m.duplicate, m.observed, m.quarantined, m.moved, m.author, m.reason, m.body FROM m, moved, offsets o WHERE o.id = m.offsets_id`)
		return d.text(`SELECT 'usage.v1/' || o.partition || '@' FROM ` + middle + ` m JOIN offsets o ON o.id = m.offsets_id`)
	}},
	"a row's times": {"I2", func(d *damaged) string {
		d.sql(`UPDATE journal j SET max_time = m.max_time + interval '1 microsecond' FROM ` + middle + ` m WHERE j.batch_id = m.batch_id`)
		return d.text(`SELECT '@' || from_pos || ': the row''s times' FROM ` + middle + ` m`)
	}},
	"a row's counts": {"I7", func(d *damaged) string {
		d.sql(`UPDATE journal j SET duplicate = m.duplicate + 1 FROM ` + middle + ` m WHERE j.batch_id = m.batch_id`)
		return d.text(`SELECT '@' || from_pos || ': the row counts' FROM ` + middle + ` m`)
	}},
	"a gap": {"I3", func(d *damaged) string {
		d.sql(`UPDATE journal j SET to_pos = m.to_pos - 1 FROM ` + middle + ` m WHERE j.batch_id = m.batch_id`)
		return d.text(`SELECT 'a row ends at ' || to_pos || ' and the next begins at ' || to_pos + 1 FROM ` + middle + ` m`)
	}},
	"a generation that goes back": {"I3", func(d *damaged) string {
		d.sql(`UPDATE offsets SET generation = 2; UPDATE journal j SET generation = 2 FROM ` + middle + ` m WHERE j.batch_id = m.batch_id`)
		return "generation 1 after 2"
	}},
	"a position ahead of the journal": {"I3 I7", func(d *damaged) string {
		d.sql(`UPDATE offsets SET next = next + 1 WHERE topic = 'usage.v1' AND partition = 2`)
		return d.text(`SELECT 'usage.v1/2: the journal ends at ' || next - 1 || ' and the position is ' || next FROM offsets WHERE topic = 'usage.v1' AND partition = 2`)
	}},
	"a record that was passed over": {"I7", func(d *damaged) string {
		for _, sql := range []string{`UPDATE journal SET to_pos = to_pos + 1 WHERE (offsets_id, to_pos) IN (SELECT id, next FROM offsets WHERE topic = 'usage.v1')`,
			`UPDATE offsets SET next = next + 1 WHERE topic = 'usage.v1'`, `UPDATE fold_positions SET next = next + 1 WHERE offsets_id IN (SELECT id FROM offsets WHERE topic = 'usage.v1')`} {
			d.sql(sql)
		}
		d.sql(`UPDATE rollup_batches SET to_pos = to_pos + 1 WHERE offsets_id IN (SELECT id FROM offsets WHERE topic = 'usage.v1')`)
		return d.text(`SELECT 'usage.v1/2@' || next - 1 || ' is in Kafka and was not decided' FROM offsets WHERE topic = 'usage.v1' AND partition = 2`)
	}},
	"a checkpoint's position without its sums": {"I1", func(d *damaged) string {
		d.sql(`UPDATE fold_positions f SET next = m.from_pos FROM ` + middle + ` m WHERE f.offsets_id = m.offsets_id`)
		return d.text(`SELECT 'scope ' || root_scope_id || ' in the cycle from ' FROM account_sections JOIN accounts USING (account_id) JOIN sections s ON s.id = section_id WHERE accounts.key = 'acme' AND s.key = 'copilot'`)
	}},
	"a charge on another path": {"I1 I5 + I4", func(d *damaged) string {
		return d.edit(func(e *journal.Entry, _ *journal.Body) bool {
			if e.Decision != journal.Charged || e.Charge.Membership == 0 {
				return false
			}
			e.Charge.Membership = 0
			return true
		}) + ": it was charged to user row"
	}},
	"a charge without its user's row": {"I1 I5 + I4", func(d *damaged) string {
		return d.edit(func(e *journal.Entry, _ *journal.Body) bool {
			if e.Decision != journal.Charged || e.Charge.User == 0 {
				return false
			}
			e.Charge.User = 0
			return true
		}) + ": it was charged to user row 0"
	}},
	"another price's version": {"I4 I5", func(d *damaged) string {
		var other int64
		d.must(d.pool.QueryRow(d.t.Context(), `SELECT max(p.id) FROM model_prices p JOIN models m ON m.id = p.model_id WHERE m.key = 'gpt-5'`).Scan(&other))
		return d.edit(func(e *journal.Entry, _ *journal.Body) bool {
			if e.Decision != journal.Charged || e.Charge.Price == 0 || e.Charge.Price == other {
				return false
			}
			e.Charge.Price = other
			return true
		}) + ": charged"
	}},
	"another factor": {"I4 I5", func(d *damaged) string {
		return d.edit(one(journal.Charged, func(e *journal.Entry) { e.Charge.Factor++ })) + ": charged"
	}},
	"another time": {"I2 I4 I5", func(d *damaged) string {
		return d.edit(func(e *journal.Entry, b *journal.Body) bool {
			if e.Decision == journal.Charged {
				e.TimeMicros -= 1000
			}
			return e.Decision == journal.Charged
		}) + ": its time"
	}},
	"a correction of something else": {"I4", func(d *damaged) string {
		at := d.edit(one(journal.Reversal, func(e *journal.Entry) { e.Origin.Position++ }))
		return "the reversal at " + at + " takes back usage.v1/"
	}},
	"a reversal of too much": {"I1 I4 I5", func(d *damaged) string {
		at := d.edit(one(journal.Reversal, func(e *journal.Entry) { e.Charge.Credits-- }))
		return "the reversal at " + at + " does not match"
	}},
	"another identity": {"I2 I7", func(d *damaged) string {
		return d.edit(func(e *journal.Entry, _ *journal.Body) bool {
			if e.Decision == journal.Duplicate {
				e.Identity[0]++
			}
			return e.Decision == journal.Duplicate
		}) + ": its identity is"
	}},
	"a move to nowhere": {"I7", func(d *damaged) string {
		var home int32
		at := d.edit(one(journal.Moved, func(e *journal.Entry) { home = (e.Home + 1) % 3; e.Home = home }))
		return fmt.Sprintf("%s was moved to partition %d and is not there", at, home)
	}},
	"another reason for quarantine": {"I7", func(d *damaged) string {
		return d.edit(one(journal.Quarantined, func(e *journal.Entry) { e.Reason-- })) + " was quarantined"
	}},
	"a doubled row of an event":   {"I5", func(d *damaged) string { return d.doubled("usage_events", "charged") + " 2 times" }},
	"a doubled guardrail event":   {"I5", func(d *damaged) string { return d.doubled("guardrail_events", "recorded") + " 2 times" }},
	"a missing row of an event":   {"I5", func(d *damaged) string { return d.without("charged") + " is not in usage_events" }},
	"a missing row of a reversal": {"I5", func(d *damaged) string { return d.without("reversal") + " is not in usage_events" }},
	"a missing row of what was quarantined": {"I5", func(d *damaged) string {
		return d.without("quarantined") + " is not in usage_events"
	}},
	"a wrong sum of days": {"I5", func(d *damaged) string {
		return d.wrong("usage_days", "toDecimal128('0.000001', 6) AS credits, 0 AS events")
	}},
	"a wrong sum of models' days": {"I5", func(d *damaged) string { return d.wrong("usage_model_days", "1 AS latency_ms, 0 AS events") }},
	"a wrong sum of quarters":     {"I5", func(d *damaged) string { return d.wrong("usage_quarters", "1 AS output_tokens, 0 AS events") }},
	"a wrong sum of users' days": {"I5", func(d *damaged) string {
		return d.wrong("usage_user_days", "toDecimal128('0.000000000001', 12) AS cost, 0 AS events")
	}},
	"a wrong sum of guardrails": {"I5", func(d *damaged) string { return d.wrong("guardrail_quarters", "1 AS events") }},
	"a missing alert": {"I6", func(d *damaged) string {
		says := d.text(`SELECT 'scope ' || scope_id || ' in the cycle from ' FROM alerts WHERE type LIKE 'budget%' ORDER BY id LIMIT 1`)
		d.sql(`DELETE FROM alert_outbox WHERE alert_id = (SELECT min(id) FROM alerts WHERE type LIKE 'budget%')`)
		d.sql(`DELETE FROM alerts WHERE id = (SELECT min(id) FROM alerts WHERE type LIKE 'budget%')`)
		return says
	}},
	"a doubled alert": {"I6", func(d *damaged) string {
		d.sql(`WITH a AS (INSERT INTO alerts (account_id, section_id, type, dedupe_key, scope_id, data)
				SELECT account_id, section_id, type, dedupe_key || '/again', scope_id, data FROM alerts WHERE type LIKE 'budget%' ORDER BY id LIMIT 1 RETURNING *)
			INSERT INTO alert_outbox (account_id, alert_id) SELECT account_id, id FROM a`)
		return d.text(`SELECT 'alert ' || id || ' is kept as ' || dedupe_key FROM alerts WHERE dedupe_key LIKE '%/again'`)
	}},
	"an alert without delivery": {"I6", func(d *damaged) string {
		d.sql(`DELETE FROM alert_outbox WHERE alert_id = (SELECT min(id) FROM alerts)`)
		return d.text(`SELECT 'alert ' || min(id) || ' has 0 outbox rows' FROM alerts`)
	}},
	"an alert that only says it was sent": {"I6", func(d *damaged) string {
		d.sql(`WITH a AS (INSERT INTO alerts (account_id, type, dedupe_key, data) SELECT account_id, 'usage.quarantined', 'never', '{}' FROM accounts LIMIT 1 RETURNING *)
			INSERT INTO alert_outbox (account_id, alert_id, state, sent_at) SELECT account_id, id, 'sent', now() FROM a`)
		return d.text(`SELECT 'alert ' || max(id) || ' is marked as sent' FROM alerts`)
	}},
}

// doubled writes a row of a table twice, and names it.
func (d *damaged) doubled(table, decision string) string {
	d.rows("", "")
	d.must(d.ch.Exec(d.t.Context(), `INSERT INTO `+table+` SELECT * FROM `+table+` WHERE decision = '`+decision+`' ORDER BY log, position LIMIT 1 SETTINGS insert_deduplicate = 0`))
	return table + " has " + d.named(d.sum(d.ch, `SELECT concat(toString(log), ' ', toString(position)) FROM `+table+` WHERE decision = '`+decision+`' ORDER BY log, position LIMIT 1`))
}

// without leaves an event's row out, and names it.
func (d *damaged) without(decision string) string {
	row := d.sum(d.ch, `SELECT concat(toString(log), ' ', toString(position)) FROM usage_events WHERE decision = '`+decision+`' ORDER BY log, position LIMIT 1`)
	d.rows("usage_events", `(log, position) = (`+strings.Replace(row, " ", ", ", 1)+`)`)
	return d.named(row)
}

// named is a row's log and position as verify says them.
func (d *damaged) named(row string) string {
	log, position, _ := strings.Cut(row, " ")
	return d.text(`SELECT topic || '/' || partition FROM offsets WHERE id = $1::text::bigint`, log) + "@" + position
}

// wrong adds a little to one sum of a table, and says which.
func (d *damaged) wrong(table, much string) string {
	d.rows("", "")
	var zeros []string
	for _, column := range strings.Split(d.sum(d.ch, `SELECT arrayStringConcat(groupArray(name), ' ') FROM system.columns WHERE database = currentDatabase() AND table = '`+table+`' AND is_in_sorting_key = 0`), " ") {
		if !strings.Contains(much, "AS "+column) {
			zeros = append(zeros, "0 AS "+column)
		}
	}
	d.must(d.ch.Exec(d.t.Context(), `INSERT INTO `+table+` SELECT * REPLACE(`+strings.Join(append(zeros, much), ", ")+`) FROM `+table+` LIMIT 1 SETTINGS insert_deduplicate = 0`))
	return table + ", account "
}
