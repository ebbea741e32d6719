package litellm

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/schemas/events"
	"github.com/shopspring/decimal"
)

const (
	costPlaces  = 12
	numberMax   = 64 // characters of a number
	exponentMin = -1000
	exponentMax = 20
	quantityMax = 1 << 53
)

// number is the exact value of a JSON number or of a text that is one.
func number(v any) (decimal.Decimal, bool) {
	t := text(v)
	if t == "" || len(t) > numberMax {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(t)
	if err != nil || d.Exponent() > exponentMax || d.Exponent() < exponentMin {
		return decimal.Zero, false
	}
	return d, true
}

// count is a number of tokens; what is none, or below zero, is 0. What is beyond a quantity stays beyond it, to be refused.
func count(v any) int64 {
	d, ok := number(v)
	if !ok || d.Sign() < 0 {
		return 0
	}
	if d.GreaterThan(decimal.New(quantityMax, 0)) {
		return quantityMax + 1
	}
	return d.IntPart()
}

// cost is what the call cost in USD, with 12 decimals; empty if it is not known.
func cost(p map[string]any, failed bool) (usd string, nothing bool, bad *Error) {
	v, given := p["response_cost"]
	d, ok := number(v)
	switch {
	case given && (!ok || d.Sign() < 0):
		return "", false, &Error{events.Schema, fmt.Sprintf("response_cost %.40q is no amount", text(v))}
	case failed && d.IsZero():
		return decimal.Zero.StringFixed(costPlaces), true, nil
	case !given, d.IsZero() && p["response_cost_failure_debug_info"] != nil:
		return "", false, nil
	}
	return d.RoundBank(costPlaces).StringFixed(costPlaces), false, nil
}

// when reads seconds since 1970 with decimals, or a time by RFC 3339 or Python's isoformat (then in UTC), to the µs below.
func when(v any) (time.Time, bool) {
	if d, ok := number(v); ok {
		if micros := d.Shift(6).Floor().BigInt(); micros.IsInt64() {
			return year4(time.UnixMicro(micros.Int64()))
		}
	}
	if s, ok := v.(string); ok {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05"} {
			if t, err := time.Parse(layout, s); err == nil {
				return year4(t)
			}
		}
	}
	return time.Time{}, false
}

// year4 refuses what RFC 3339 can't write.
func year4(t time.Time) (time.Time, bool) {
	t = t.UTC()
	return t, t.Year() >= 1 && t.Year() <= 9999
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}
