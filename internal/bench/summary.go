package bench

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	platform "github.com/alchemi/cockpit/control/summaries"
)

const (
	manyAccounts = 10_000
	fewAccounts  = 10
)

// summaryPages compares a page of the platform's summary with 10,000 accounts with one of ten, sorted by what was used.
func summaryPages(ctx context.Context, r *runner) (gate, error) {
	few, err := r.summarized(ctx, fewAccounts)
	if err != nil {
		return gate{}, err
	}
	many, err := r.summarized(ctx, manyAccounts)
	if err != nil {
		few.close()
		return gate{}, err
	}
	page := func(c *controlled) func(context.Context) (float64, error) {
		return func(ctx context.Context) (float64, error) {
			var times []time.Duration
			for range listReads {
				begin := time.Now()
				if err := c.get(ctx, fmt.Sprintf("/v1/platform/summary?q=s-&sort=-used_credits&limit=%d", fewAccounts)); err != nil {
					return 0, err
				}
				times = append(times, time.Since(begin))
			}
			slices.Sort(times)
			return float64(times[len(times)/2].Microseconds()) / 1000, nil
		}
	}
	return gate{measures: []measure{{unit: "ms", goal: 1.5, atMost: true}}, close: func() { few.close(); many.close() },
		baseline: one(page(few)), ours: one(page(many)),
		settings: fmt.Sprintf("%d accounts and %d; p50 of %d pages of %d, by used", fewAccounts, manyAccounts, listReads, fewAccounts)}, nil
}

// summarized is a control API over n accounts more, with figures.
func (r *runner) summarized(ctx context.Context, n int) (*controlled, error) {
	c, err := r.control(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = c.owner.Exec(ctx, `INSERT INTO accounts (key, name, time_zone) SELECT 's-' || n, 'Summed', 'UTC' FROM generate_series(1, $1::int) n`, n); err == nil {
		_, err = platform.NewJob(c.stores.Platform, slog.New(slog.DiscardHandler), time.Now).Once(ctx)
	}
	if err == nil {
		_, err = c.owner.Exec(ctx, `UPDATE account_summaries SET used_credits = account_id * 7919 % 1000003`)
	}
	if err == nil {
		_, err = c.owner.Exec(ctx, `VACUUM ANALYZE accounts, account_summaries`)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}
