package verify

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// journalRow is a row as it stands in the journal.
type journalRow struct {
	from, to, generation, epoch int64
	kind                        string
	recorded                    int64  // Unix µs
	earliest, latest            *int64 // Unix µs
	charged, duplicate          int64
	observed, quarantined       int64
	moved                       int64
	body                        []byte
}

var journalColumns = `from_pos, to_pos, generation, epoch, kind, ` + in("recorded_at") + `, ` + in("min_time") + `, ` + in("max_time") + `,
	charged, duplicate, observed, quarantined, moved, body`

func (r *journalRow) scan(rows pgx.Row) error {
	return rows.Scan(&r.from, &r.to, &r.generation, &r.epoch, &r.kind, &r.recorded, &r.earliest, &r.latest,
		&r.charged, &r.duplicate, &r.observed, &r.quarantined, &r.moved, &r.body)
}

// eachLog goes through all logs.
func (v *verification) eachLog(ctx context.Context) error {
	for _, l := range v.logs {
		if err := v.log(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// log goes through one log, the journal and Kafka side by side.
func (v *verification) log(ctx context.Context, l *logState) error {
	kafka := &reader{l: l, gone: true}
	if l.topic != correctionsTopic {
		var err error
		if kafka, err = v.read(ctx, l, 0); err != nil {
			return err
		}
		defer kafka.close()
	}
	rows, err := v.tx.Query(ctx, `SELECT `+journalColumns+` FROM journal WHERE offsets_id = $1 ORDER BY from_pos`, l.id)
	if err != nil {
		return err
	}
	defer rows.Close()
	var before *journalRow
	for rows.Next() {
		r := &journalRow{}
		if err := r.scan(rows); err != nil {
			return err
		}
		v.contiguous(l, before, r)
		if err := v.row(ctx, l, r, kafka); err != nil {
			return err
		}
		v.progress.add(r.to - r.from)
		r.body = nil
		before = r
	}
	if err := rows.Err(); err != nil {
		return err
	}
	v.ends(l, before)
	return v.undecided(ctx, l, kafka, l.next, false)
}

// contiguous checks a row against the one before it (I3).
func (v *verification) contiguous(l *logState, before, r *journalRow) {
	i3 := v.results["I3"]
	i3.Checked++
	switch {
	case before == nil && l.topic == correctionsTopic && r.from != 0:
		i3.fail("%s: the first row begins at %d", l, r.from)
	case before == nil:
	case before.to != r.from:
		i3.fail("%s: a row ends at %d and the next begins at %d", l, before.to, r.from)
	case before.generation > r.generation:
		i3.fail("%s@%d: generation %d after %d", l, r.from, r.generation, before.generation)
	case before.epoch > r.epoch:
		i3.fail("%s@%d: epoch %d after %d", l, r.from, r.epoch, before.epoch)
	}
	l.lost = l.lost || r.kind == "loss"
	if r.from < l.folded && l.folded < r.to {
		v.results["I1"].fail("%s: the checkpoint stands at %d, inside the row [%d, %d)", l, l.folded, r.from, r.to)
	}
	if r.from < l.rolled && l.rolled < r.to {
		v.results["I5"].fail("%s: rollups stand at %d, inside the row [%d, %d)", l, l.rolled, r.from, r.to)
	}
}

// ends checks a log's position, generation and checkpoint against its last row.
func (v *verification) ends(l *logState, last *journalRow) {
	i3 := v.results["I3"]
	if last == nil {
		if l.topic == correctionsTopic && l.next > 0 {
			i3.fail("%s: the journal is empty and the position is %d", l, l.next)
		}
		last = &journalRow{to: l.next}
	}
	if last.to != l.next {
		i3.fail("%s: the journal ends at %d and the position is %d", l, last.to, l.next)
	}
	if last.generation > l.generation || last.epoch > l.epoch {
		i3.fail("%s: the last row has generation %d and epoch %d, the log %d and %d", l, last.generation, last.epoch, l.generation, l.epoch)
	}
	if l.folded > last.to {
		v.results["I1"].fail("%s: the checkpoint stands at %d and the journal ends at %d", l, l.folded, last.to)
	}
}

// row checks one journal row and its records.
func (v *verification) row(ctx context.Context, l *logState, r *journalRow, kafka *reader) error {
	if err := v.undecided(ctx, l, kafka, r.from, false); err != nil {
		return err
	}
	if err := v.body.decode(r.body, r.from); err != nil {
		v.results["I3"].fail("%s@%d: %v", l, r.from, err)
	}
	v.columns(l, r)
	for i := range v.body.decisions {
		d := &v.body.decisions[i]
		d.decided = r.recorded
		if err := v.decision(l, r, d); err != nil {
			return err
		}
		if err := v.undecided(ctx, l, kafka, d.position, false); err != nil {
			return err
		}
		rec, err := kafka.at(ctx, d.position)
		if err != nil {
			return err
		}
		if rec != nil {
			v.against(l, d, rec)
			continue
		}
		// Of a batch that unpacks to too much, no record can be read.
		if i7 := v.results["I7"]; !kafka.gone && !i7.full() && (d.kind != quarantined || d.reason != tooLarge) {
			had, err := kafka.had(ctx, d.position)
			if err != nil {
				return err
			}
			if had {
				i7.fail("%s@%d was decided and is not in Kafka", l, d.position)
			}
		}
	}
	return v.undecided(ctx, l, kafka, r.to, r.kind == "loss")
}

// undecided passes over the records below a position: none of them was decided (I7).
func (v *verification) undecided(ctx context.Context, l *logState, kafka *reader, to int64, lost bool) error {
	for {
		rec, err := kafka.peek(ctx, to)
		if rec == nil || err != nil {
			return err
		}
		kafka.take()
		if !rec.Attrs.IsControl() && !lost {
			v.results["I7"].fail("%s@%d is in Kafka and was not decided", l, rec.Offset)
		}
	}
}

// columns checks a row's columns against its body: the times, by which windows are loaded (I2), the counts (I7), and that
// every position is in the row's range (I3).
func (v *verification) columns(l *logState, r *journalRow) {
	var counts [recorded + 1]int64
	var earliest, latest *int64
	for i := range v.body.decisions {
		d := &v.body.decisions[i]
		counts[d.kind]++
		if d.position >= r.to {
			v.results["I3"].fail("%s@%d is decided in the row [%d, %d)", l, d.position, r.from, r.to)
		}
		if !d.charges() {
			continue
		}
		if earliest == nil || d.micros < *earliest {
			earliest = &d.micros
		}
		if latest == nil || d.micros > *latest {
			latest = &d.micros
		}
	}
	if !same(earliest, r.earliest) || !same(latest, r.latest) {
		v.results["I2"].fail("%s@%d: the row's times are not those of its events", l, r.from)
	}
	if counts[charged] != r.charged || counts[duplicate] != r.duplicate || counts[observed]+counts[recorded] != r.observed || counts[quarantined] != r.quarantined || counts[moved] != r.moved {
		v.results["I7"].fail("%s@%d: the row counts %d charged, %d duplicate, %d observed, %d quarantined, %d moved, and its body has %d, %d, %d, %d, %d", l, r.from,
			r.charged, r.duplicate, r.observed, r.quarantined, r.moved, counts[charged], counts[duplicate], counts[observed]+counts[recorded], counts[quarantined], counts[moved])
	}
}

func same(a, b *int64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
