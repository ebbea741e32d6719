package verify

import (
	"math/big"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"
)

// Rounding is half to even, as decimals round.
func TestRounding(t *testing.T) {
	t.Parallel()
	var l priceList
	for _, c := range []struct {
		n    string
		unit *big.Int
		want int64
	}{{"1500000", costUnit, 2}, {"2500000", costUnit, 2}, {"2500001", costUnit, 3}, {"2499999", costUnit, 2}, {"0", costUnit, 0}, {"500000", costUnit, 0}} {
		n, _ := new(big.Int).SetString(c.n, 10)
		if got, err := l.rounded(n, c.unit); err != nil || got != c.want {
			t.Errorf("%s: %d, %v, want %d", c.n, got, err, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		total, value := big.NewInt(rapid.Int64Min(0).Draw(t, "total")), big.NewInt(rapid.Int64Range(1, 1e15).Draw(t, "factor"))
		got, err := l.rounded(new(big.Int).Mul(total, value), creditUnit)
		want := decimal.NewFromBigInt(total, -usdPlaces).Mul(decimal.NewFromBigInt(value, -factorPlaces)).RoundBank(creditPlaces).Shift(creditPlaces)
		if err != nil || !want.Equal(decimal.NewFromInt(got)) {
			t.Fatalf("%d, %v, want %s", got, err, want)
		}
	})
}

// Sums are exact beyond 64 bits, in both directions.
func TestSum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s sum
		want := new(big.Int)
		for _, n := range rapid.SliceOf(rapid.Int64()).Draw(t, "amounts") {
			s.add(n)
			want.Add(want, big.NewInt(n))
		}
		if got := decimal.NewFromBigInt(want, -creditPlaces).StringFixed(creditPlaces); got != s.String() || want.IsInt64() != s.is(want.Int64()) {
			t.Fatalf("%s, want %s", &s, got)
		}
	})
}
