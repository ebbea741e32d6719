package verify

import (
	"context"
	"fmt"
	"strings"
)

// blockSize is how many positions of a log are compared at once; only a block that differs is looked at row by row.
const blockSize = 1 << 16

// block is a range of positions of a log, by its number.
type block struct{ log, number int64 }

// print is what a block's rows add up to, modulo 2⁶⁴: their number, their weights, and these times their positions. A row's
// weight is a linear function of all its columns that the journal decides, so that a row that is missing, doubled, changed
// or exchanged for another shows.
type print struct{ rows, weights, moments uint64 }

func (p *print) add(position int64, weight uint64) {
	p.rows++
	p.weights += weight
	p.moments += weight * uint64(position+1)
}

// The factors of a row's columns in its weight.
const (
	wKind, wAccount, wSection, wUser, wOrganization, wTeam, wTime           = 3, 5, 7, 11, 13, 17, 19
	wMembership, wScopes, wCycle, wModel, wPrice, wFactor, wFlags, wCr, wCo = 23, 29, 31, 37, 41, 43, 47, 53, 59
)

// weight is a decision's.
func (v *verification) weight(l *logState, d *decision) uint64 {
	w := 1 + wKind*uint64(d.kind)
	if !d.charges() {
		return w + wAccount*uint64(d.account)
	}
	p := d.path
	w += wAccount*uint64(p.account) + wSection*uint64(p.section) + wUser*uint64(p.user) + wTime*uint64(d.micros)
	var organization, team, membership int64
	scopes := uint64(0)
	for i, id := range p.scopes {
		scopes += uint64(i+1) * uint64(id)
		switch v.dir.scopes[id].kind {
		case 'o':
			organization = id
		case 't':
			team = id
		case 'm':
			membership = id
		}
	}
	w += wOrganization*uint64(organization) + wTeam*uint64(team)
	if l.topic == guardrailTopic {
		return w
	}
	return w + wMembership*uint64(membership) + wScopes*scopes + wCycle*uint64(p.cycle) + wModel*uint64(d.model) + wPrice*uint64(d.price) + wFactor*uint64(d.factor) +
		wFlags*uint64(d.flags) + wCr*uint64(d.credits) + wCo*uint64(d.costs)
}

// decides is the rows that have a time of the journal's.
const decides = `decision IN ('charged', 'observed', 'reversal', 'recharge', 'recorded')`

// weightSQL is the same of a row in ClickHouse.
func weightSQL(table string) string {
	w := fmt.Sprintf(`1 + %d*indexOf(['%s'], decision) + %d*account + %d*section + %d*user + %d*organization + %d*team + %d*if(%s, toUInt64(toUnixTimestamp64Micro(time)), 0)`,
		wKind, strings.Join(decisionNames[1:], "','"), wAccount, wSection, wUser, wOrganization, wTeam, wTime, decides)
	if table == "usage_events" {
		w += fmt.Sprintf(` + %d*membership + %d*arraySum((s, i) -> s*i, scopes, arrayEnumerate(scopes)) + %d*toUInt64(toUnixTimestamp64Micro(toDateTime64(cycle_start, 6, 'UTC')) / 1000000) + %d*model + %d*price + %d*factor + %d*toUInt64(flags)
			+ %d*toUInt64(toInt64(credits * 1000000)) + %d*toUInt64(toInt64(cost * 1000000000000))`, wMembership, wScopes, wCycle, wModel, wPrice, wFactor, wFlags, wCr, wCo)
	}
	return w
}

// tableOf is where a log's events are.
func tableOf(l *logState) string {
	if l.topic == guardrailTopic {
		return "guardrail_events"
	}
	return "usage_events"
}

// written says whether ClickHouse must have a decision's row: it has all but those of events that were moved, and drops
// them again when they are as old as its retention.
func (v *verification) written(l *logState, d *decision) bool {
	since := v.since[tableOf(l)]
	return d.kind != moved && (since == 0 || d.charges() && d.micros >= since)
}

// print adds a decision to what ClickHouse must have.
func (v *verification) print(l *logState, d *decision) {
	if v.ClickHouse == nil || !v.written(l, d) {
		return
	}
	b := block{l.id, d.position / blockSize}
	p := v.blocks[b]
	p.add(d.position, v.weight(l, d))
	v.blocks[b] = p
}

// clickhouse checks that ClickHouse's events are what the journal decided (I5).
func (v *verification) clickhouse(ctx context.Context) error {
	i5 := v.results["I5"]
	if v.ClickHouse == nil {
		i5.Detail = "not checked: no ClickHouse"
		return nil
	}
	logs := map[int64]*logState{}
	for _, table := range []string{"usage_events", "guardrail_events"} {
		var bounds []string
		for _, l := range v.logs {
			logs[l.id] = l
			if l.rolled > 0 && tableOf(l) == table {
				bounds = append(bounds, fmt.Sprintf("log = %d AND position < %d", l.id, l.rolled))
			}
		}
		if len(bounds) == 0 {
			continue
		}
		if err := v.blocksOf(ctx, table, bounds, logs); err != nil {
			return err
		}
	}
	for b, want := range v.blocks { // of which ClickHouse has nothing
		if want != (print{}) && !i5.full() {
			if err := v.look(ctx, logs[b.log], b.number); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verification) blocksOf(ctx context.Context, table string, bounds []string, logs map[int64]*logState) error {
	where := `(` + strings.Join(bounds, " OR ") + `)` + v.kept(table)
	rows, err := v.ClickHouse.Query(ctx, fmt.Sprintf(`SELECT log, intDiv(position, %d), count(), sum(w), sum(w * (position + 1)) FROM
		(SELECT log, position, toUInt64(%s) AS w FROM %s WHERE %s) GROUP BY 1, 2`, blockSize, weightSQL(table), table, where))
	if err != nil {
		return err
	}
	defer rows.Close()
	i5 := v.results["I5"]
	var different []block
	for rows.Next() {
		var log, number uint64
		var have print
		if err := rows.Scan(&log, &number, &have.rows, &have.weights, &have.moments); err != nil {
			return err
		}
		i5.Checked += int64(have.rows)
		b := block{int64(log), int64(number)}
		if v.blocks[b] != have && len(different) <= detailsMax {
			different = append(different, b)
		}
		delete(v.blocks, b)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, b := range different {
		if err := v.look(ctx, logs[b.log], b.number); err != nil {
			return err
		}
	}
	return nil
}

// kept is the condition of a table's rows that retention does not take meanwhile.
func (v *verification) kept(table string) string {
	if since := v.since[table]; since > 0 {
		return fmt.Sprintf(` AND %s AND time >= fromUnixTimestamp64Micro(%d)`, decides, since)
	}
	return ""
}

// look compares a block row by row, and says what differs. It always finds something: the block did differ.
func (v *verification) look(ctx context.Context, l *logState, number int64) error {
	from, to := number*blockSize, min((number+1)*blockSize, l.rolled)
	want := map[int64]uint64{}
	var r journalRow
	rows, err := v.tx.Query(ctx, `SELECT `+journalColumns+` FROM journal WHERE offsets_id = $1 AND from_pos < $2 AND to_pos > $3`, l.id, to, from)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := r.scan(rows); err != nil {
			return err
		}
		if v.body.decode(r.body, r.from) != nil {
			continue
		}
		for i := range v.body.decisions {
			if d := &v.body.decisions[i]; d.position >= from && d.position < to && v.written(l, d) {
				want[d.position] = v.weight(l, d)
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return v.differences(ctx, l, from, to, want)
}

func (v *verification) differences(ctx context.Context, l *logState, from, to int64, want map[int64]uint64) error {
	i5, table := v.results["I5"], tableOf(l)
	rows, err := v.ClickHouse.Query(ctx, fmt.Sprintf(`SELECT position, count(), any(toUInt64(%s)) FROM %s WHERE log = %d AND position >= %d AND position < %d%s GROUP BY position ORDER BY position`,
		weightSQL(table), table, l.id, from, to, v.kept(table)))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var position, count, weight uint64
		if err := rows.Scan(&position, &count, &weight); err != nil {
			return err
		}
		w, ok := want[int64(position)]
		delete(want, int64(position))
		switch {
		case !ok:
			i5.fail("%s has %s@%d, and the journal has not", table, l, position)
		case count > 1:
			i5.fail("%s has %s@%d %d times", table, l, position, count)
		case w != weight:
			i5.fail("%s has %s@%d otherwise than the journal", table, l, position)
		}
	}
	for position := range want {
		i5.fail("%s@%d is not in %s", l, position, table)
	}
	return rows.Err()
}
