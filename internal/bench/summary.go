package bench

import (
	"context"
	"errors"
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
	s, err := r.directory(ctx)
	if err != nil {
		return gate{}, err
	}
	name := s.name + "_few" // beside the copy that the other one is in
	if err := s.execute(ctx, "postgres", `CREATE DATABASE `+name+` TEMPLATE `+s.template); err != nil {
		return gate{}, err
	}
	few, err := controls(ctx, s.url(name), everybody{})
	if err != nil {
		return gate{}, err
	}
	many, err := r.control(ctx, everybody{})
	if err == nil {
		err = errors.Join(few.summarize(ctx, fewAccounts), many.summarize(ctx, manyAccounts))
	}
	if err != nil {
		few.close()
		return gate{}, err
	}
	page := func(c *controlled) func(context.Context) (float64, error) {
		return func(ctx context.Context) (float64, error) {
			var times []time.Duration
			for range listReads {
				begin := time.Now()
				if err := c.get(ctx, fmt.Sprintf("/v1/platform/summary?sort=-used_credits&limit=%d", fewAccounts)); err != nil {
					return 0, err
				}
				times = append(times, time.Since(begin))
			}
			slices.Sort(times)
			return float64(times[len(times)/2].Microseconds()) / 1000, nil
		}
	}
	return gate{measures: []measure{{unit: "ms", goal: 1.5, atMost: true}}, close: func() {
		few.close()
		many.close()
		_ = s.execute(context.WithoutCancel(ctx), "postgres", `DROP DATABASE `+name+` WITH (FORCE)`)
	},
		baseline: one(page(few)), ours: one(page(many)),
		settings: fmt.Sprintf("%d accounts and %d; p50 of %d pages of %d, by used", fewAccounts, manyAccounts, listReads, fewAccounts)}, nil
}

// summarize adds n accounts with figures.
func (c *controlled) summarize(ctx context.Context, n int) error {
	var err error
	if _, err = c.owner.Exec(ctx, `INSERT INTO accounts (key, name, time_zone) SELECT 's-' || n, 'Summed', 'UTC' FROM generate_series(1, $1::int) n`, n); err == nil {
		_, err = platform.NewJob(c.stores.Platform, slog.New(slog.DiscardHandler), time.Now).Once(ctx)
	}
	if err == nil {
		_, err = c.owner.Exec(ctx, `DELETE FROM account_summaries s USING accounts a WHERE a.account_id = s.account_id AND a.key NOT LIKE 's-%'`)
	}
	if err == nil {
		_, err = c.owner.Exec(ctx, `UPDATE account_summaries SET used_credits = account_id * 7919 % 1000003`)
	}
	if err == nil {
		_, err = c.owner.Exec(ctx, `VACUUM ANALYZE accounts, account_summaries`)
	}
	return err
}
