package directory

import (
	"time"

	"github.com/alchemi/cockpit/metering/credit"
)

// amounts makes a scope's allocation, cap and override those of the file. What it leaves out stays, unless pruned.
func (t *treeApplier) amounts(scope int64, place string, f Amounts) {
	if f.Allocation != nil || t.options.Prune {
		t.allocation(scope, place, f.Allocation)
	}
	if f.Cap != "" || t.options.Prune {
		t.cap(scope, place, f.Cap)
	}
	if f.Override != nil {
		t.override(scope, place, f.Override)
	} else if t.options.Prune {
		t.endOverrides(scope, place)
	}
}

// endOverrides ends what overrides the scope's allocation now or later.
func (t *treeApplier) endOverrides(scope int64, place string) {
	var some bool
	t.get(`SELECT EXISTS (SELECT FROM overrides WHERE account_id = $1 AND scope_id = $2 AND kind = 'allocation' AND valid_until > $3)`,
		[]any{t.account, scope, t.now}, &some)
	if some {
		t.do(`UPDATE overrides SET valid_until = $3 WHERE account_id = $1 AND scope_id = $2 AND kind = 'allocation' AND valid_until > $3`, t.account, scope, t.now)
		t.changed(t.account, "%s: override ended", place)
	}
}

// micros is an amount that validate has read already.
func micros(text string) *int64 {
	a, err := credit.Parse(text)
	if err != nil {
		panic("BUG: an amount that was not validated: " + err.Error())
	}
	v := int64(a)
	return &v
}

func (t *treeApplier) allocation(scope int64, place string, f *Allocation) {
	kind, amount := "none", (*int64)(nil)
	switch {
	case f == nil:
	case f.Equal:
		kind = "equal"
	default:
		kind, amount = "fixed", micros(f.Fixed)
	}
	have, haveAmount := "none", (*int64)(nil)
	t.get(`SELECT kind, amount FROM allocations WHERE account_id = $1 AND scope_id = $2 ORDER BY id DESC LIMIT 1`, []any{t.account, scope}, &have, &haveAmount)
	if have == kind && same(haveAmount, amount) {
		return
	}
	t.do(`INSERT INTO allocations (account_id, scope_id, kind, amount, valid_from, author) VALUES ($1, $2, $3, $4, $5, $6)`,
		t.account, scope, kind, amount, t.now, t.options.Author)
	t.changed(t.account, "%s: allocation %s %s", place, kind, show(amount))
}

func (t *treeApplier) cap(scope int64, place, f string) {
	var amount, have *int64
	if f != "" {
		amount = micros(f)
	}
	t.get(`SELECT amount FROM caps WHERE account_id = $1 AND scope_id = $2 ORDER BY id DESC LIMIT 1`, []any{t.account, scope}, &have)
	if same(have, amount) {
		return
	}
	t.do(`INSERT INTO caps (account_id, scope_id, amount, valid_from, author) VALUES ($1, $2, $3, $4, $5)`, t.account, scope, amount, t.now, t.options.Author)
	t.changed(t.account, "%s: cap %s", place, show(amount))
}

func (t *treeApplier) override(scope int64, place string, f *Override) {
	until := "infinity"
	if !f.Until.IsZero() {
		until = f.Until.UTC().Format(time.RFC3339Nano)
	}
	amount := micros(f.Amount)
	var there bool
	if t.get(`SELECT true FROM overrides WHERE account_id = $1 AND scope_id = $2 AND kind = 'allocation' AND amount = $3 AND reason = $4 AND valid_until = $5::text::timestamptz`,
		[]any{t.account, scope, amount, f.Reason, until}, &there) {
		return
	}
	t.do(`UPDATE overrides SET valid_until = least(valid_until, $3) WHERE account_id = $1 AND scope_id = $2 AND kind = 'allocation'`, t.account, scope, t.now)
	t.do(`INSERT INTO overrides (account_id, scope_id, kind, amount, reason, author, valid_from, valid_until) VALUES ($1, $2, 'allocation', $3, $4, $5, $6, $7::text::timestamptz)`,
		t.account, scope, amount, f.Reason, t.options.Author, t.now, until)
	t.changed(t.account, "%s: override %s (%s)", place, show(amount), f.Reason)
}

func same(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }

func show(micros *int64) string {
	if micros == nil {
		return "none"
	}
	return credit.Amount(*micros).String()
}
