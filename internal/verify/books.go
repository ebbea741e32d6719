package verify

import (
	"context"
	"math/big"
	"math/bits"
	"time"

	"github.com/shopspring/decimal"
)

type scopeCycle struct{ scope, cycle int64 }

// sum is exact whatever it adds up: 128 bits hold 2⁶⁴ amounts.
type sum struct {
	high   int64
	low    uint64
	events int64
}

func (s *sum) add(n int64) {
	low, carry := bits.Add64(s.low, uint64(n), 0)
	s.low = low
	s.high += n>>63 + int64(carry)
}

// is says whether the sum is that amount.
func (s *sum) is(n int64) bool { return s.low == uint64(n) && s.high == n>>63 }

func (s *sum) String() string {
	v := new(big.Int).Lsh(big.NewInt(s.high), 64)
	return decimal.NewFromBigInt(v.Add(v, new(big.Int).SetUint64(s.low)), -creditPlaces).StringFixed(creditPlaces)
}

// amount is an integer of that many decimal places.
func amount(n int64, places int32) string { return decimal.New(n, -places).StringFixed(places) }

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// debit adds a decision to every scope of its path, and to the user's row.
func (v *verification) debit(d *decision) {
	var events int64
	switch d.kind {
	case charged, recharge:
		events = 1
	case reversal:
		events = -1
	default:
		return
	}
	for _, s := range d.path.scopes {
		v.debitOne(scopeCycle{s, d.path.cycle}, d.credits, events)
	}
	if d.path.user != 0 {
		v.debitOne(scopeCycle{d.path.user, d.path.cycle}, d.credits, events)
	}
}

func (v *verification) debitOne(k scopeCycle, credits, events int64) {
	s := v.folded[k]
	s.add(credits)
	s.events += events
	v.folded[k] = s
}

// books checks I1: checkpoints are the sums of the journal below the fold's positions. The tail above them is the journal's
// own, so that checkpoint and tail are then the sum of it all; that each charge debits a whole path, its decision's check says.
func (v *verification) books(ctx context.Context) error {
	i1 := v.results["I1"]
	var account, section, used, events int64
	var k scopeCycle
	err := v.each(ctx, `SELECT account_id, section_id, scope_id, extract(epoch FROM cycle_start)::bigint, used, events FROM balances`, []any{&account, &section, &k.scope, &k.cycle, &used, &events}, func() error {
		i1.Checked++
		s := v.dir.scopes[k.scope]
		if s.kind == 0 || s.account != account || s.section != section {
			i1.fail("the balance of scope %d is of no scope of account %d, section %d", k.scope, account, section)
		}
		want := v.folded[k]
		delete(v.folded, k)
		if !want.is(used) || want.events != events {
			i1.fail("scope %d in the cycle from %s: the checkpoint has %s credits of %d events, the journal %s of %d", k.scope, stamp(k.cycle), amount(used, creditPlaces), events, &want, want.events)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for k, want := range v.folded {
		if !want.is(0) || want.events != 0 {
			i1.fail("scope %d in the cycle from %s: there is no checkpoint, and the journal has %s credits of %d events", k.scope, stamp(k.cycle), &want, want.events)
		}
	}
	return nil
}
