package price_test

import (
	"errors"
	"testing"

	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/metering/price"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/shopspring/decimal"
	"pgregory.net/rapid"
)

func mustCompile(t interface{ Fatal(...any) }, items map[string]price.Item) *price.Price {
	p, err := price.Compile(items)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustFactor(t interface{ Fatal(...any) }, s string) price.Factor {
	f, err := price.ParseFactor(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The example of the architecture: rounding through the cost would charge nothing.
func TestCreditsAreNotRoundedThroughTheCost(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, map[string]price.Item{"input_tokens": {USD: "0.005000000049", Per: 1_000_000}})
	var q events.Quantities
	q.Set(events.InputTokens, 1)
	amount, cost, err := p.Charge(&q.N, q.Present, mustFactor(t, "100"))
	if err != nil || amount != 1 || cost != 5000 {
		t.Fatalf("%s credits, %s USD, %v", amount, cost, err)
	}
}

// exact is the same in arbitrary precision.
func exact(q *events.Quantities, items map[string]price.Item, factor decimal.Decimal) (amount, cost decimal.Decimal) {
	var sum decimal.Decimal
	for i := range events.NumQuantities {
		item, ok := items[events.Quantity(i).String()]
		if ok && q.Present&(1<<i) != 0 {
			usd := decimal.RequireFromString(item.USD).Mul(decimal.NewFromInt(q.N[i]))
			sum = sum.Add(usd.Shift(map[int64]int32{1: 0, 1_000: -3, 1_000_000: -6}[item.Per]))
		}
	}
	return sum.Mul(factor).RoundBank(6), sum.RoundBank(12)
}

func TestChargeEqualsDecimal(t *testing.T) {
	t.Parallel()
	pers := []int64{1, 1_000, 1_000_000}
	rapid.Check(t, func(t *rapid.T) {
		items, q := map[string]price.Item{}, events.Quantities{}
		for i := range rapid.IntRange(0, events.NumQuantities).Draw(t, "items") {
			usd := decimal.New(rapid.Int64Range(0, 1<<rapid.IntRange(1, 62).Draw(t, "size")).Draw(t, "usd"), -rapid.Int32Range(0, 12).Draw(t, "places"))
			items[events.Quantity(i).String()] = price.Item{USD: usd.String(), Per: rapid.SampledFrom(pers).Draw(t, "per")}
		}
		for i := range events.NumQuantities {
			if rapid.Bool().Draw(t, "given") {
				q.Set(events.Quantity(i), rapid.Int64Range(0, 1<<rapid.IntRange(0, 53).Draw(t, "bits")).Draw(t, "n"))
			}
		}
		factor := decimal.New(rapid.Int64Range(1, 1<<rapid.IntRange(1, 50).Draw(t, "factor bits")).Draw(t, "factor"), -rapid.Int32Range(0, 12).Draw(t, "factor places"))
		amount, cost, err := mustCompile(t, items).Charge(&q.N, q.Present, mustFactor(t, factor.String()))
		wantAmount, wantCost := exact(&q, items, factor)
		fits := wantAmount.Shift(6).BigInt().IsInt64() && wantCost.Shift(12).BigInt().IsInt64()
		if !fits {
			if !errors.Is(err, credit.ErrOverflow) {
				t.Fatalf("%s does not fit, but: %s, %v", wantAmount, amount, err)
			}
			return
		}
		if err != nil || amount.String() != wantAmount.StringFixed(6) || cost.String() != wantCost.StringFixed(12) {
			t.Fatalf("%s credits, %s USD, %v; want %s, %s", amount, cost, err, wantAmount, wantCost)
		}
	})
}

func TestReportedEqualsDecimal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		usd := decimal.New(rapid.Int64Range(0, 1<<40).Draw(t, "usd"), -rapid.Int32Range(0, 12).Draw(t, "places"))
		amount, cost, err := price.Reported(usd.String(), mustFactor(t, "1.5"))
		if usd.GreaterThan(decimal.New(9, 6)) {
			return
		}
		want := usd.Mul(decimal.RequireFromString("1.5")).RoundBank(6)
		if err != nil || amount.String() != want.StringFixed(6) || cost.String() != usd.StringFixed(12) {
			t.Fatalf("%s: %s, %s, %v; want %s", usd, amount, cost, err, want)
		}
	})
}

func TestBadPricesAreRefused(t *testing.T) {
	t.Parallel()
	for _, items := range []map[string]price.Item{
		{"tokens": {USD: "1", Per: 1}}, {"images": {USD: "-1", Per: 1}}, {"images": {USD: "1", Per: 10}},
		{"images": {USD: "0.0000000000001", Per: 1}}, {"images": {USD: "", Per: 1}}, {"images": {USD: "1e3", Per: 1}},
	} {
		if _, err := price.Compile(items); err == nil {
			t.Errorf("%v was taken", items)
		}
	}
	for _, f := range []string{"0", "-1", "x", "0.0000000000001", ""} {
		if _, err := price.ParseFactor(f); err == nil {
			t.Errorf("factor %q was taken", f)
		}
	}
}

func usual(b *testing.B) (map[string]price.Item, events.Quantities) {
	b.Helper()
	var q events.Quantities
	q.Set(events.InputTokens, 1200)
	q.Set(events.OutputTokens, 350)
	q.Set(events.CachedInputTokens, 800)
	return map[string]price.Item{"input_tokens": {USD: "1.25", Per: 1_000_000}, "output_tokens": {USD: "10", Per: 1_000_000},
		"cached_input_tokens": {USD: "0.125", Per: 1_000_000}}, q
}

func BenchmarkCharge(b *testing.B) {
	items, q := usual(b)
	p, f := mustCompile(b, items), mustFactor(b, "100")
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = p.Charge(&q.N, q.Present, f)
	}
}

func BenchmarkChargeDecimal(b *testing.B) {
	items, q := usual(b)
	var prices [events.NumQuantities]decimal.Decimal
	for name, item := range items {
		i, _ := events.ParseQuantity(name)
		prices[i] = decimal.RequireFromString(item.USD).Shift(-6)
	}
	factor := decimal.NewFromInt(100)
	b.ReportAllocs()
	for b.Loop() {
		var sum decimal.Decimal
		for i := range prices {
			if q.Present&(1<<i) != 0 {
				sum = sum.Add(prices[i].Mul(decimal.NewFromInt(q.N[i])))
			}
		}
		_, _ = sum.Mul(factor).RoundBank(6), sum.RoundBank(12)
	}
}
