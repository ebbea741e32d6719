package credit_test

import (
	"errors"
	"math"
	"testing"

	"github.com/alchemi/cockpit/metering/credit"
	"github.com/shopspring/decimal"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]credit.Amount{"0": 0, "12.5": 12_500_000, "-0.000001": -1, "9223372036854.775807": math.MaxInt64, "007": 7_000_000} {
		if got, err := credit.Parse(in); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-", ".5", "5.", "1e3", "+1", "1,5", "0.0000001", "NaN", "--1", "1.2.3", " 1", "٣"} {
		if got, err := credit.Parse(in); err == nil {
			t.Errorf("%q was read as %s", in, got)
		}
	}
	if _, err := credit.Parse("9223372036854.775808"); !errors.Is(err, credit.ErrOverflow) {
		t.Errorf("one too many: %v", err)
	}
}

func TestTextIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Min(math.MinInt64+1).Draw(t, "v")
		text := credit.Amount(v).String()
		if want := decimal.New(v, -6).StringFixed(6); text != want {
			t.Fatalf("%s, want %s", text, want)
		}
		if back, err := credit.Parse(text); err != nil || int64(back) != v {
			t.Fatalf("%s came back as %d, %v", text, back, err)
		}
		w := rapid.Int64().Draw(t, "w")
		sum, err := credit.Add(credit.Amount(v), credit.Amount(w))
		exact := decimal.New(v, 0).Add(decimal.New(w, 0))
		if fits := exact.BigInt().IsInt64(); fits != (err == nil) || fits && int64(sum) != exact.IntPart() {
			t.Fatalf("%d + %d = %d, %v", v, w, sum, err)
		}
		difference, err := credit.Sub(credit.Amount(v), credit.Amount(w))
		exact = decimal.New(v, 0).Sub(decimal.New(w, 0))
		if fits := exact.BigInt().IsInt64(); fits != (err == nil) || fits && int64(difference) != exact.IntPart() {
			t.Fatalf("%d - %d = %d, %v", v, w, difference, err)
		}
	})
}
