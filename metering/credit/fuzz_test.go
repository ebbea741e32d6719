package credit_test

import (
	"errors"
	"math/big"
	"regexp"
	"testing"

	"github.com/alchemi/cockpit/metering/credit"
)

var decimals = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// scaled is the number that a decimal stands for, in units of 10^-places; false where it is none, or has more places.
func scaled(text string, places int64) (*big.Int, bool) {
	if !decimals.MatchString(text) {
		return nil, false
	}
	r, _ := new(big.Rat).SetString(text)
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(places), nil)))
	return r.Num(), r.IsInt()
}

// Amounts and costs are the decimals that stand there, to the last of their places, and are written as they are read.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"0", "-0", "12.500000", "0.0000001", "9223372036854.775807", "9223372036854.775808", "-9223372036854.775808", "1e3", "+1", ".5", "5.", "00012.5", "1.2500000000000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 100 {
			return
		}
		amount, err := credit.Parse(text)
		check(t, text, 6, int64(amount), err)
		if again, e := credit.Parse(amount.String()); err == nil && (e != nil || again != amount) {
			t.Fatalf("%q is written %s, and read as %s: %v", text, amount, again, e)
		}
		cost, err := credit.ParseCost(text)
		check(t, text, 12, int64(cost), err)
		if again, e := credit.ParseCost(cost.String()); err == nil && (e != nil || again != cost) {
			t.Fatalf("%q is written %s, and read as %s: %v", text, cost, again, e)
		}
	})
}

func check(t *testing.T, text string, places int64, got int64, err error) {
	t.Helper()
	want, ok := scaled(text, places)
	switch {
	case err == nil && (!ok || !want.IsInt64() || want.Int64() != got):
		t.Fatalf("%q is read as %d, want %v", text, got, want)
	case errors.Is(err, credit.ErrOverflow) && ok && want.IsInt64():
		t.Fatalf("%q: %v, but it is %d", text, err, want)
	case err != nil && ok && want.IsInt64() && !tooPrecise(text, places):
		t.Fatalf("%q: %v, but it is %d", text, err, want)
	}
}

// tooPrecise says whether more places are written than are kept, though they be zeros: that is refused.
func tooPrecise(text string, places int64) bool {
	for i := range text {
		if text[i] == '.' {
			return int64(len(text)-i-1) > places
		}
	}
	return false
}

// Any amount can be written and read again, and sums are those of math/big or an overflow.
func FuzzAmounts(f *testing.F) {
	f.Add(int64(0), int64(-1))
	f.Add(int64(-1<<63), int64(-1<<63))
	f.Add(int64(1<<63-1), int64(1))
	f.Fuzz(func(t *testing.T, a, b int64) {
		if again, err := credit.Parse(credit.Amount(a).String()); err != nil || again != credit.Amount(a) {
			t.Fatalf("%d is written %s, and read as %d: %v", a, credit.Amount(a), again, err)
		}
		sum, err := credit.Add(credit.Amount(a), credit.Amount(b))
		if want := new(big.Int).Add(big.NewInt(a), big.NewInt(b)); want.IsInt64() != (err == nil) || err == nil && want.Int64() != int64(sum) {
			t.Fatalf("%d + %d = %d, %v", a, b, sum, err)
		}
		difference, err := credit.Sub(credit.Amount(a), credit.Amount(b))
		if want := new(big.Int).Sub(big.NewInt(a), big.NewInt(b)); want.IsInt64() != (err == nil) || err == nil && want.Int64() != int64(difference) {
			t.Fatalf("%d - %d = %d, %v", a, b, difference, err)
		}
	})
}
