package bench

import "context"

// entry is a gate by its name.
type entry struct {
	name    string
	prepare func(context.Context, *runner) (gate, error)
}

// registry is every gate, in the order in which they are measured.
var registry = []entry{
	{"P1", func(ctx context.Context, r *runner) (gate, error) { return r.durable(ctx, "P1") }},
	{"P2", func(ctx context.Context, r *runner) (gate, error) { return r.durable(ctx, "P2") }},
	{"P3", transactions},
	{"P4", hotUser},
	{"P5", func(context.Context, *runner) (gate, error) { return decoding(), nil }},
	{"P6", func(_ context.Context, r *runner) (gate, error) { return inserting(r.o), nil }},
	{"P7", func(context.Context, *runner) (gate, error) { return pricing(), nil }},
	{"P10", collecting},
	{"P11", charts},
	{"P12", promise},
	{"P13", scale},
	{"P14", takingOver},
	{"api", authenticated},
	{"lists", deepLists},
	{"large", large},
	{"summary", summaryPages},
	{"row-security", rowSecurity},
	{"audit", auditing},
	{"memory", memory},
	{"stages", stages},
	{"costs", costs},
}

// Gates are the names that Run knows, in order.
func Gates() []string {
	names := make([]string, len(registry))
	for i, e := range registry {
		names[i] = e.name
	}
	return names
}

// runner is what gates share in one run.
type runner struct {
	o      Options
	stores *stores // opened by the first gate that needs them
}

// directory returns a Postgres with the usual directory.
func (r *runner) directory(ctx context.Context) (*stores, error) {
	if r.stores == nil {
		s, err := open(ctx, r.o)
		if err != nil {
			return nil, err
		}
		r.stores = s
	}
	return r.stores, nil
}

// open returns the same, and a broker with the usual events.
func (r *runner) open(ctx context.Context) (*stores, error) {
	s, err := r.directory(ctx)
	if err != nil || s.kafka != nil {
		return s, err
	}
	return s, s.broker(ctx, r.o)
}

func (r *runner) durable(ctx context.Context, name string) (gate, error) {
	s, err := r.open(ctx)
	if err != nil {
		return gate{}, err
	}
	return durable(s, r.o, name), nil
}

func (r *runner) close() {
	if r.stores != nil {
		r.stores.close()
	}
}
