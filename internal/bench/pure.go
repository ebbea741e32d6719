package bench

import (
	"context"

	"github.com/alchemi/cockpit/metering/price"
	"github.com/alchemi/cockpit/schemas/events"
	"github.com/shopspring/decimal"
	"github.com/twmb/franz-go/pkg/kgo"
)

// decoding is P5.
func decoding() gate {
	with := func(newDecoder func() func(*kgo.Record) error) func(context.Context) ([]float64, error) {
		return one(func(context.Context) (float64, error) {
			r, err := usual(7, Options{Accounts: 1000, Users: 100})
			if err != nil {
				return 0, err
			}
			decode := newDecoder()
			if err := decode(r); err != nil {
				return 0, err
			}
			return rate(func(n int) {
				for range n {
					_ = decode(r)
				}
			}), nil
		})
	}
	return gate{measures: perSecond(4, 7), settings: "the usual event, one goroutine", baseline: with(encodingJSON), ours: with(ourDecoder)}
}

// pricing is P7.
func pricing() gate {
	items := map[string]price.Item{"input_tokens": {USD: "1.25", Per: 1_000_000}, "output_tokens": {USD: "10", Per: 1_000_000}, "cached_input_tokens": {USD: "0.125", Per: 1_000_000}}
	var q events.Quantities
	q.Set(events.InputTokens, 1200)
	q.Set(events.OutputTokens, 350)
	q.Set(events.CachedInputTokens, 800)
	return gate{measures: perSecond(15, 100), settings: "three quantities", ours: one(func(context.Context) (float64, error) {
		p, err := price.Compile(items)
		if err != nil {
			return 0, err
		}
		f, err := price.ParseFactor("100")
		if err != nil {
			return 0, err
		}
		return rate(func(n int) {
			for range n {
				_, _, _ = p.Charge(&q.N, q.Present, f)
			}
		}), nil
	}), baseline: one(func(context.Context) (float64, error) {
		million, factor := decimal.NewFromInt(1_000_000), decimal.NewFromInt(100)
		prices := []decimal.Decimal{decimal.RequireFromString("1.25"), decimal.RequireFromString("10"), decimal.RequireFromString("0.125")}
		counts := []int64{1200, 350, 800}
		return rate(func(n int) {
			for range n {
				total := decimal.Zero
				for i, c := range counts {
					total = total.Add(prices[i].Mul(decimal.NewFromInt(c)).Div(million))
				}
				_, _ = total.Mul(factor).RoundBank(6), total.RoundBank(12)
			}
		}), nil
	})}
}
