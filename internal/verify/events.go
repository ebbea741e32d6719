package verify

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// tooLarge is the reason (schemas/events) of records and batches that are too large.
const tooLarge = 3

// decision adds a decision to everything that decisions are counted in.
func (v *verification) decision(l *logState, r *journalRow, d *decision) error {
	v.results["I7"].Checked++
	if r.from < l.folded {
		v.debit(d)
	}
	if r.from < l.rolled {
		v.print(l, d)
	}
	if d.charges() {
		if err := v.dir.lineage(d); err != nil {
			v.results["I1"].fail("%s@%d: %v", l, d.position, err)
		}
	}
	if (d.kind == reversal || d.kind == recharge) != (l.topic == correctionsTopic) {
		v.results["I4"].fail("%s@%d is %s", l, d.position, decisionNames[d.kind])
		return nil
	}
	if l.topic == correctionsTopic {
		return v.correction(l, d)
	}
	if d.kind == charged {
		if err := v.maybeCorrected(l, d); err != nil {
			return err
		}
	}
	if d.kind == quarantined {
		if err := v.held.add([4]uint64{uint64(l.id), uint64(d.position), 0, uint64(d.decided)<<8 | uint64(d.reason)}); err != nil {
			return err
		}
	}
	return v.fate(l, d)
}

// finding is what is wrong with a decision, and which invariant that is.
type finding struct{ id, text string }

// against checks a decision against the event itself.
func (v *verification) against(l *logState, d *decision, rec *kgo.Record) {
	if d.kind == quarantined {
		return
	}
	e, err := readEvent(rec, false)
	var wrong []finding
	if err == nil {
		wrong = v.compare(d, e)
	}
	if err != nil || len(wrong) > 0 {
		if e, err = readEvent(rec, true); err == nil {
			wrong = v.compare(d, e)
		}
	}
	if err != nil {
		wrong = []finding{{"I4", fmt.Sprintf("it was %s and can't be read: %v", decisionNames[d.kind], err)}}
	}
	for _, f := range wrong {
		v.results[f.id].fail("%s@%d: %s", l, d.position, f.text)
	}
}

func (v *verification) compare(d *decision, e *event) (wrong []finding) {
	if id := v.hash.of(e); id != d.identity {
		wrong = append(wrong, finding{"I2", fmt.Sprintf("its identity is %x in the journal and %x by its event", d.identity, id)})
	}
	if !d.charges() {
		return wrong
	}
	v.results["I4"].Checked++
	if at, err := e.micros(); err != nil || at != d.micros {
		wrong = append(wrong, finding{"I4", fmt.Sprintf("its time is %s and was taken as %s", e.Time, stamp(d.micros/1e6))})
	}
	if len(d.path.scopes) > 0 {
		if err := v.dir.whom(e, d); err != nil {
			wrong = append(wrong, finding{"I1", err.Error()})
		}
	}
	if d.kind != recorded {
		if err := v.cost(e, d); err != nil {
			wrong = append(wrong, finding{"I4", err.Error()})
		}
	}
	return wrong
}

// cost says what is wrong with what an event was charged.
func (v *verification) cost(e *event, d *decision) error {
	have := charge{d.credits, d.costs, d.price, d.factor}
	want, err := v.wanted(e, d, d.decided)
	if err == nil && want == have {
		return nil
	}
	// A worker may not have had what was recorded just before.
	if late, errLate := v.wanted(e, d, d.decided-slack); errLate == nil && late == have {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("charged %s and should be %s", have, want)
}

// wanted is what an event must be charged, by what was known by then. What is only observed costs no credits, and nothing
// at all where it has no price.
func (v *verification) wanted(e *event, d *decision, known int64) (charge, error) {
	want, err := v.dir.prices.priced(e, d, known)
	if d.kind != observed {
		return want, err
	}
	if err != nil {
		return charge{factor: d.factor}, nil
	}
	want.credits = 0
	return want, nil
}

func (c charge) String() string {
	return fmt.Sprintf("%s credits (USD %s, price %d, factor %d)", amount(c.credits, creditPlaces), amount(c.cost, costPlaces), c.price, c.factor)
}
