package bench

import (
	"context"
	"fmt"
)

// hotUser is P4: all events are those of one user, which a system that locks what it charges would not survive.
func hotUser(ctx context.Context, r *runner) (gate, error) {
	spread, err := r.open(ctx)
	if err != nil {
		return gate{}, err
	}
	o := r.o
	o.Accounts, o.Users = 1, 1
	hot, err := spread.other(ctx, o, "hot", true)
	if err != nil {
		return gate{}, err
	}
	return gate{measures: perSecond(1, 0), close: hot.close,
		ours:     one(func(ctx context.Context) (float64, error) { return hot.ours(ctx, o) }),
		baseline: one(func(ctx context.Context) (float64, error) { return spread.ours(ctx, r.o) }),
		settings: fmt.Sprintf("%d events of one user, against those of %d accounts × %d users", o.Events, r.o.Accounts, r.o.Users)}, nil
}

// scale is P13: what an event costs with many active users, and with many accounts.
func scale(ctx context.Context, r *runner) (gate, error) {
	base, err := r.directory(ctx)
	if err != nil {
		return gate{}, err
	}
	var made []*stores
	g := gate{close: func() {
		for _, s := range made {
			s.close()
		}
	}}
	// Accounts and users of ours, and of the baseline.
	sizes := []struct {
		what           string
		goal, stretch  float64
		ours, baseline [2]int
	}{
		{fmt.Sprintf("%d active users, against 1000", r.o.ActiveUsers), 1.5, 1.2, [2]int{1000, r.o.ActiveUsers / 1000}, [2]int{1000, 1}},
		{fmt.Sprintf("%d accounts, against 10", r.o.ManyAccounts), 1.2, 1.05, [2]int{r.o.ManyAccounts, 10}, [2]int{10, r.o.ManyAccounts}},
	}
	var ours, baseline []func(context.Context) (float64, error)
	for i, size := range sizes {
		g.measures = append(g.measures, measure{what: size.what, unit: "µs/event", goal: size.goal, stretch: size.stretch, atMost: true})
		for k, dims := range [][2]int{size.ours, size.baseline} {
			o := r.o
			o.Accounts, o.Users, o.Events = dims[0], dims[1], max(r.o.Events, 2*r.o.ActiveUsers)
			s, err := base.other(ctx, o, fmt.Sprintf("scale_%d_%d", i, k), false)
			if err != nil {
				g.close()
				return gate{}, err
			}
			made = append(made, s)
			cost := func(ctx context.Context) (float64, error) {
				perSecond, err := s.ours(ctx, o)
				return 1e6 / perSecond, err
			}
			if k == 0 {
				ours = append(ours, cost)
			} else {
				baseline = append(baseline, cost)
			}
		}
	}
	g.ours, g.baseline = all(ours), all(baseline)
	g.settings = fmt.Sprintf("%d events, every user active; users in 1000 accounts, accounts with %d users together; as P1 otherwise", max(r.o.Events, 2*r.o.ActiveUsers), 10*r.o.ManyAccounts)
	return g, nil
}

// all measures one after the other.
func all(each []func(context.Context) (float64, error)) func(context.Context) ([]float64, error) {
	return func(ctx context.Context) ([]float64, error) {
		out := make([]float64, len(each))
		for i, f := range each {
			var err error
			if out[i], err = f(ctx); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
}
