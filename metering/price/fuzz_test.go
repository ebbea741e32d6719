package price_test

import (
	"errors"
	"math/big"
	"regexp"
	"testing"

	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/metering/price"
	"github.com/alchemi/cockpit/schemas/events"
)

var decimals = regexp.MustCompile(`^[0-9]{1,20}(\.[0-9]+)?$`)

// rational is a decimal of a price or factor; nil where it is refused. Trailing zeros do not count.
func rational(text string) *big.Rat {
	if !decimals.MatchString(text) {
		return nil
	}
	r, _ := new(big.Rat).SetString(text)
	if scaled := new(big.Rat).Mul(r, big.NewRat(1e12, 1)); !scaled.IsInt() {
		return nil
	}
	return r
}

// rounded is r in units of 10^-places, half to even.
func rounded(r *big.Rat, places int64) *big.Int {
	r = new(big.Rat).Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(places), nil)))
	q, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if c := rest.Lsh(rest, 1).Cmp(r.Denom()); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

// A charge is the exact sum, rounded once, whatever the size of prices, factors and counts.
func FuzzCharge(f *testing.F) {
	f.Add("1.25", uint8(2), "10", uint8(2), "100", int64(1200), int64(350))
	f.Add("0.005000000049", uint8(2), "0", uint8(0), "100", int64(1), int64(0))
	f.Add("99999999999999999999.999999999999", uint8(0), "0.000000000001", uint8(2), "18446744.073709551615", int64(1)<<53, int64(1)<<53)
	f.Add("0.0000005", uint8(0), "0.0000015", uint8(0), "1", int64(1), int64(1))
	f.Fuzz(func(t *testing.T, a string, perA uint8, b string, perB uint8, factor string, m, n int64) {
		pers := []int64{1, 1_000, 1_000_000}
		items := map[string]price.Item{"input_tokens": {USD: a, Per: pers[perA%3]}, "images": {USD: b, Per: pers[perB%3]}}
		usdA, usdB, times := rational(a), rational(b), rational(factor)
		p, err := price.Compile(items)
		if (err == nil) != (usdA != nil && usdB != nil) {
			t.Fatalf("%v: %v", items, err)
		}
		fits := times != nil && times.Sign() > 0
		by, errFactor := price.ParseFactor(factor)
		if errFactor == nil && !fits {
			t.Fatalf("factor %q was taken", factor)
		}
		if err != nil || errFactor != nil {
			return
		}
		var q events.Quantities
		q.Set(events.InputTokens, m&(1<<53-1))
		q.Set(events.Images, n&(1<<53-1))
		q.Set(events.Requests, 7) // no price names it: it costs nothing
		sum := new(big.Rat).Mul(usdA, big.NewRat(q.N[events.InputTokens], pers[perA%3]))
		sum.Add(sum, new(big.Rat).Mul(usdB, big.NewRat(q.N[events.Images], pers[perB%3])))
		cost, credits := rounded(sum, 12), rounded(new(big.Rat).Mul(sum, times), 6)
		gotCredits, gotCost, err := p.Charge(&q.N, q.Present, by)
		if want := cost.IsInt64() && credits.IsInt64(); want != (err == nil) || err != nil && !errors.Is(err, credit.ErrOverflow) {
			t.Fatalf("%v × %v × %s: %v, want %s for %s", items, q.N, factor, err, credits, cost)
		}
		if err == nil && (int64(gotCredits) != credits.Int64() || int64(gotCost) != cost.Int64()) {
			t.Fatalf("%v × %v × %s: %s for %s, want %s for %s", items, q.N, factor, gotCredits, gotCost, credits, cost)
		}
	})
}

// A reported cost is charged as it stands.
func FuzzReported(f *testing.F) {
	f.Add("0.000225000000", "100")
	f.Add("99999999999999999999", "0.000000000001")
	f.Fuzz(func(t *testing.T, usd, factor string) {
		exact, times := rational(usd), rational(factor)
		by, err := price.ParseFactor(factor)
		if err != nil {
			return
		}
		credits, cost, err := price.Reported(usd, by)
		if exact == nil {
			if err == nil {
				t.Fatalf("%q was taken", usd)
			}
			return
		}
		wantCost, want := rounded(exact, 12), rounded(new(big.Rat).Mul(exact, times), 6)
		if fits := wantCost.IsInt64() && want.IsInt64(); fits != (err == nil) || fits && (int64(credits) != want.Int64() || int64(cost) != wantCost.Int64()) {
			t.Fatalf("%s × %s: %s for %s, want %s for %s: %v", usd, factor, credits, cost, want, wantCost, err)
		}
	})
}
