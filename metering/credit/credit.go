// Package credit is money: amounts of credits and costs in USD, exact, as 64-bit integers of the smallest unit.
//
// It is pure. Arithmetic is checked: what does not fit is ErrOverflow, never a wrapped number. Text is decimal, never a float.
package credit

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// ErrOverflow says that a result does not fit 64 bits of its unit.
var ErrOverflow = errors.New("amount overflows")

// Amount is micro-credits (10⁻⁶) of a section's unit.
type Amount int64

// Cost is 10⁻¹² USD.
type Cost int64

const (
	amountPlaces = 6
	costPlaces   = 12
)

// One is one credit.
const One Amount = 1_000_000

// Parse reads a decimal with at most 6 places. More places, an exponent or anything else is an error; what does not fit is ErrOverflow.
func Parse(s string) (Amount, error) {
	v, err := parse(s, amountPlaces)
	return Amount(v), err
}

// ParseCost reads a decimal of USD with at most 12 places.
func ParseCost(s string) (Cost, error) {
	v, err := parse(s, costPlaces)
	return Cost(v), err
}

// String is the amount with 6 places: 12.500000.
func (a Amount) String() string { return string(appendDecimal(nil, int64(a), amountPlaces)) }

// String is the cost with 12 places.
func (c Cost) String() string { return string(appendDecimal(nil, int64(c), costPlaces)) }

// MarshalText writes the amount as String does.
func (a Amount) MarshalText() ([]byte, error) {
	return appendDecimal(nil, int64(a), amountPlaces), nil
}

// UnmarshalText reads what Parse reads.
func (a *Amount) UnmarshalText(text []byte) (err error) {
	*a, err = Parse(string(text))
	return err
}

// Add is a+b, or ErrOverflow.
func Add(a, b Amount) (Amount, error) {
	sum := a + b
	if (sum > a) != (b > 0) && b != 0 {
		return 0, ErrOverflow
	}
	return sum, nil
}

// Sub is a−b, or ErrOverflow.
func Sub(a, b Amount) (Amount, error) {
	difference := a - b
	if (difference < a) != (b > 0) && b != 0 {
		return 0, ErrOverflow
	}
	return difference, nil
}

func parse(s string, places int) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || point && fraction == "" {
		return 0, fmt.Errorf("%q is no decimal number", s)
	}
	if len(fraction) > places {
		return 0, fmt.Errorf("%q has more than %d places", s, places)
	}
	limit := uint64(1<<63 - 1)
	if negative {
		limit++
	}
	var v uint64
	for i := range len(whole) + places {
		d := byte('0')
		if i < len(whole) {
			d = whole[i]
		} else if i-len(whole) < len(fraction) {
			d = fraction[i-len(whole)]
		}
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("%q is no decimal number", s)
		}
		hi, lo := bits.Mul64(v, 10)
		sum, carry := bits.Add64(lo, uint64(d-'0'), 0)
		if hi > 0 || carry > 0 || sum > limit {
			return 0, fmt.Errorf("%q: %w", s, ErrOverflow)
		}
		v = sum
	}
	if negative {
		return -int64(v), nil
	}
	return int64(v), nil
}

func appendDecimal(b []byte, v int64, places int) []byte {
	u := uint64(v)
	if v < 0 {
		b, u = append(b, '-'), -u
	}
	digits := fmt.Appendf(nil, "%0*d", places+1, u)
	b = append(b, digits[:len(digits)-places]...)
	b = append(b, '.')
	return append(b, digits[len(digits)-places:]...)
}
