// Package price says what usage costs, exactly.
//
// Credits are the exact rational Σ quantity × price ÷ per × factor, rounded once per event, half to even, to the
// micro-credit (10⁻⁶). The cost in USD is rounded separately, to 10⁻¹²: rounding the credits through it would be wrong.
// It is pure and keeps no state. Prices are brought to one unit when they are compiled (10⁻¹⁸ USD for one), so that a
// charge is integer multiplication and one division in 128 bits; what needs more goes through math/big.
package price

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strings"

	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/schemas/events"
)

const (
	pricePlaces  = 12 // of a price's USD for per units
	unitPlaces   = 18 // of a price brought to one unit: 12 and the 6 of per 1,000,000
	factorPlaces = 12
	costPlaces   = 12
	amountPlaces = 6
)

// Item is the price of one quantity: USD, a decimal with at most 12 places, for Per of it.
type Item struct {
	USD string `json:"usd" yaml:"usd"`
	Per int64  `json:"per" yaml:"per"` // 1, 1,000 or 1,000,000
}

// Price is a compiled price list. Make it with Compile.
type Price struct {
	unit [events.NumQuantities]big.Int // 10⁻¹⁸ USD for one
	fast [events.NumQuantities]uint64  // the same where it fits
	wide uint16                        // bit i: unit i does not fit
}

// Factor is CREDITS_FACTOR: credits for one USD. Make it with ParseFactor.
type Factor struct {
	digits uint64 // factor × 10^places
	places int
}

// Compile makes a price of items by the names of quantities.
func Compile(items map[string]Item) (*Price, error) {
	p := &Price{}
	var errs []error
	for name, item := range items {
		q, ok := events.ParseQuantity(name)
		if !ok {
			errs = append(errs, fmt.Errorf("%s is no quantity that is known", name))
			continue
		}
		digits, places, err := parseDecimal(item.USD, pricePlaces)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		shift := map[int64]int{1: 0, 1_000: 3, 1_000_000: 6}
		if _, ok := shift[item.Per]; !ok {
			errs = append(errs, fmt.Errorf("%s: per is %d, and must be 1, 1000 or 1000000", name, item.Per))
			continue
		}
		p.unit[q].Mul(digits, power(unitPlaces-places-shift[item.Per]))
		if p.fast[q] = p.unit[q].Uint64(); !p.unit[q].IsUint64() {
			p.wide |= 1 << q
		}
	}
	return p, errors.Join(errs...)
}

// ParseFactor reads a positive decimal with at most 12 places.
func ParseFactor(s string) (Factor, error) {
	digits, places, err := parseDecimal(s, factorPlaces)
	if err != nil {
		return Factor{}, err
	}
	if digits.Sign() == 0 || !digits.IsUint64() {
		return Factor{}, fmt.Errorf("factor %q is not above 0 and below 10⁶", s)
	}
	return Factor{digits: digits.Uint64(), places: places}, nil
}

// Charge is what the quantities cost. A quantity that the price does not name costs nothing. A result that does not fit is
// credit.ErrOverflow.
func (p *Price) Charge(n *[events.NumQuantities]int64, present uint16, f Factor) (credit.Amount, credit.Cost, error) {
	var hi, lo uint64 // Σ in 10⁻¹⁸ USD
	for set := present; set != 0; set &= set - 1 {
		i := bits.TrailingZeros16(set)
		if p.wide&(1<<i) != 0 {
			return p.chargeWide(n, present, f)
		}
		h, l := bits.Mul64(uint64(n[i]), p.fast[i])
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		if hi, carry = bits.Add64(hi, h, carry); carry != 0 {
			return p.chargeWide(n, present, f)
		}
	}
	cost, ok := divide(hi, lo, pow10[unitPlaces-costPlaces])
	if !ok {
		return 0, 0, credit.ErrOverflow
	}
	top, middle := bits.Mul64(hi, f.digits)
	carried, low := bits.Mul64(lo, f.digits)
	middle, carry := bits.Add64(middle, carried, 0)
	places := unitPlaces + f.places - amountPlaces
	if top+carry != 0 || places >= len(pow10) {
		return p.chargeWide(n, present, f)
	}
	amount, ok := divide(middle, low, pow10[places])
	if !ok {
		return 0, 0, credit.ErrOverflow
	}
	return credit.Amount(amount), credit.Cost(cost), nil
}

// Reported is the charge of an event that knows its own cost: a decimal of USD, not negative.
func Reported(costUSD string, f Factor) (credit.Amount, credit.Cost, error) {
	digits, places, err := parseDecimal(costUSD, pricePlaces)
	if err != nil {
		return 0, 0, err
	}
	return finish(digits.Mul(digits, power(unitPlaces-places)), f)
}

func (p *Price) chargeWide(n *[events.NumQuantities]int64, present uint16, f Factor) (credit.Amount, credit.Cost, error) {
	var sum, product big.Int
	for set := present; set != 0; set &= set - 1 {
		i := bits.TrailingZeros16(set)
		sum.Add(&sum, product.Mul(big.NewInt(n[i]), &p.unit[i]))
	}
	return finish(&sum, f)
}

// finish rounds a sum of 10⁻¹⁸ USD to credits and cost.
func finish(sum *big.Int, f Factor) (credit.Amount, credit.Cost, error) {
	cost := roundHalfEven(sum, power(unitPlaces-costPlaces))
	credits := new(big.Int).Mul(sum, new(big.Int).SetUint64(f.digits))
	amount := roundHalfEven(credits, power(unitPlaces+f.places-amountPlaces))
	if !cost.IsInt64() || !amount.IsInt64() {
		return 0, 0, credit.ErrOverflow
	}
	return credit.Amount(amount.Int64()), credit.Cost(cost.Int64()), nil
}

// divide is (hi, lo) ÷ d, half to even; false when it does not fit 63 bits.
func divide(hi, lo, d uint64) (uint64, bool) {
	if hi >= d {
		return 0, false
	}
	q, r := bits.Div64(hi, lo, d)
	if rest := d - r; r > rest || r == rest && q&1 == 1 {
		q++
	}
	return q, q <= 1<<63-1
}

func roundHalfEven(v, d *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(v, d, new(big.Int))
	if c := r.Lsh(r, 1).Cmp(d); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

var pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

func power(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// parseDecimal reads a decimal that is not negative and has at most so many places. Trailing zeros do not count.
func parseDecimal(s string, placesMax int) (digits *big.Int, places int, err error) {
	whole, fraction, point := strings.Cut(s, ".")
	fraction = strings.TrimRight(fraction, "0")
	if whole == "" || point && strings.HasSuffix(s, ".") || strings.Trim(whole+fraction, "0123456789") != "" {
		return nil, 0, fmt.Errorf("%q is no decimal number that is not negative", s)
	}
	if len(fraction) > placesMax || len(whole) > 20 {
		return nil, 0, fmt.Errorf("%q has more than %d places, or more than 20 digits before the point", s, placesMax)
	}
	digits, _ = new(big.Int).SetString(whole+fraction, 10)
	return digits, len(fraction), nil
}
