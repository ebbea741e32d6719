package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"
)

// directory is what prices and paths are checked against, as plain rows.
type directory struct {
	accounts  map[string]int64
	users     map[[2]string]int64 // by account key and user key
	userOf    map[int64]int64     // user by scope
	kinds     map[int64]string
	keys      map[int64]string
	sections  map[int64]string
	rootOf    map[int64]int64
	parents   map[int64][]interval
	cycles    map[[2]int64][][2]int64 // by account and section: start, end in Unix s
	models    map[int64]modelRow
	terms     map[int64][]termRow
	prices    map[int64]priceRow
	byModel   map[int64][]priceRow
	factors   map[int64]factorRow
	bySection map[[2]int64][]factorRow // by account (0: the platform) and section
}

type interval struct{ from, to, parent int64 } // µs

type modelRow struct {
	key     string
	section int64
}

type termRow struct {
	from           int64
	free, reported bool
}

type priceRow struct {
	id, model, from, recorded int64
	quantities                map[string]struct {
		USD string
		Per int64
	}
}

type factorRow struct {
	id, from int64
	value    decimal.Decimal
}

const micros = `(extract(epoch FROM valid_from) * 1000000)::bigint`

func (v *verification) readDirectory(ctx context.Context) error {
	d := &directory{accounts: map[string]int64{}, users: map[[2]string]int64{}, userOf: map[int64]int64{}, kinds: map[int64]string{}, keys: map[int64]string{}, sections: map[int64]string{},
		rootOf: map[int64]int64{}, parents: map[int64][]interval{}, cycles: map[[2]int64][][2]int64{}, models: map[int64]modelRow{}, terms: map[int64][]termRow{},
		prices: map[int64]priceRow{}, byModel: map[int64][]priceRow{}, factors: map[int64]factorRow{}, bySection: map[[2]int64][]factorRow{}}
	v.dir = d
	var a, b, c, e int64
	var s, t string
	var free bool
	var raw []byte
	for _, q := range []struct {
		sql  string
		dest []any
		row  func() error
	}{
		{`SELECT account_id, key FROM accounts`, []any{&a, &s}, func() error { d.accounts[s] = a; return nil }},
		{`SELECT id, key FROM sections`, []any{&a, &s}, func() error { d.sections[a] = s; return nil }},
		{`SELECT u.id, a.key, u.key FROM users u JOIN accounts a USING (account_id)`, []any{&a, &s, &t}, func() error { d.users[[2]string{s, t}] = a; return nil }},
		{`SELECT s.id, s.kind, coalesce(s.key, ''), coalesce(s.user_id, 0), coalesce(x.root_scope_id, 0) FROM scopes s
			LEFT JOIN account_sections x ON x.account_id = s.account_id AND x.section_id = s.section_id`, []any{&a, &s, &t, &b, &c},
			func() error { d.kinds[a], d.keys[a], d.userOf[a], d.rootOf[a] = s, t, b, c; return nil }},
		{`SELECT scope_id, parent_id, ` + micros + `, CASE WHEN valid_to = 'infinity' THEN 9223372036854775807 ELSE (extract(epoch FROM valid_to) * 1000000)::bigint END
			FROM scope_parents ORDER BY valid_from`, []any{&a, &b, &c, &e}, func() error { d.parents[a] = append(d.parents[a], interval{c, e, b}); return nil }},
		{`SELECT account_id, section_id, extract(epoch FROM start_at)::bigint, extract(epoch FROM end_at)::bigint FROM cycles ORDER BY start_at`, []any{&a, &b, &c, &e},
			func() error { d.cycles[[2]int64{a, b}] = append(d.cycles[[2]int64{a, b}], [2]int64{c, e}); return nil }},
		{`SELECT id, key, section_id FROM models`, []any{&a, &s, &b}, func() error { d.models[a] = modelRow{s, b}; return nil }},
		{`SELECT model_id, ` + micros + `, free, policy FROM model_terms ORDER BY valid_from`, []any{&a, &b, &free, &s},
			func() error { d.terms[a] = append(d.terms[a], termRow{b, free, s == "reported"}); return nil }},
		{`SELECT id, model_id, ` + micros + `, (extract(epoch FROM recorded_at) * 1000000)::bigint, quantities FROM model_prices ORDER BY valid_from`, []any{&a, &b, &c, &e, &raw}, func() error {
			p := priceRow{id: a, model: b, from: c, recorded: e}
			err := json.Unmarshal(raw, &p.quantities)
			d.prices[a] = p
			d.byModel[b] = append(d.byModel[b], p)
			return err
		}},
		{`SELECT id, coalesce(account_id, 0), section_id, ` + micros + `, value::text FROM credits_factors ORDER BY valid_from`, []any{&a, &b, &c, &e, &s}, func() error {
			value, err := decimal.NewFromString(s)
			f := factorRow{a, e, value}
			d.factors[a] = f
			d.bySection[[2]int64{b, c}] = append(d.bySection[[2]int64{b, c}], f)
			return err
		}},
	} {
		rows, err := v.tx.Query(ctx, q.sql)
		if err != nil {
			return err
		}
		if _, err := pgx.ForEachRow(rows, q.dest, q.row); err != nil {
			return err
		}
	}
	return nil
}

// charge is what an event must cost.
type charge struct {
	credits, cost decimal.Decimal
	price, factor int64
}

// priced computes what an event costs, from the rows that held at its own time.
func (d *directory) priced(e *event, dec *decision) (c charge, err error) {
	m, ok := d.models[dec.model]
	if !ok || m.key != e.Data.Model || m.section != dec.path.section {
		return c, fmt.Errorf("model %d is not %q of section %d", dec.model, e.Data.Model, dec.path.section)
	}
	terms := d.terms[dec.model]
	n := sort.Search(len(terms), func(i int) bool { return terms[i].from > dec.micros })
	if n == 0 {
		return c, fmt.Errorf("model %q had no terms", m.key)
	}
	factors := d.bySection[[2]int64{dec.path.account, dec.path.section}]
	f := sort.Search(len(factors), func(i int) bool { return factors[i].from > dec.micros })
	if f == 0 {
		factors = d.bySection[[2]int64{0, dec.path.section}]
		if f = sort.Search(len(factors), func(i int) bool { return factors[i].from > dec.micros }); f == 0 {
			return c, fmt.Errorf("section %d had no factor", dec.path.section)
		}
	}
	c.factor = factors[f-1].id
	return c, d.cost(e, dec, terms[n-1], factors[f-1].value, &c)
}

func (d *directory) cost(e *event, dec *decision, term termRow, factor decimal.Decimal, c *charge) (err error) {
	total := decimal.Zero
	switch {
	case term.free:
	case term.reported:
		if total, err = decimal.NewFromString(e.Data.CostUSD); err != nil {
			return fmt.Errorf("cost_usd %q: %w", e.Data.CostUSD, err)
		}
	default:
		prices := recordedBy(d.byModel[dec.model], dec.decided)
		n := sort.Search(len(prices), func(i int) bool { return prices[i].from > dec.micros })
		if n == 0 {
			return fmt.Errorf("model %d had no price", dec.model)
		}
		c.price = prices[n-1].id
		for name, count := range e.Data.Quantities {
			item, named := prices[n-1].quantities[name]
			if !named || count == nil {
				continue
			}
			usd, err := decimal.NewFromString(item.USD)
			if err != nil {
				return err
			}
			total = total.Add(usd.Mul(decimal.NewFromInt(*count)).Mul(decimal.New(1, -places(item.Per))))
		}
	}
	c.credits = total.Mul(factor).RoundBank(6)
	c.cost = total.RoundBank(12)
	return nil
}

// recordedBy are the prices that were known when an event was decided.
func recordedBy(prices []priceRow, decided int64) []priceRow {
	var out []priceRow
	for _, p := range prices {
		if p.recorded <= decided {
			out = append(out, p)
		}
	}
	return out
}

// places is how far dividing by per moves the point.
func places(per int64) (n int32) {
	for ; per > 1; per /= 10 {
		n++
	}
	return n
}

// slack covers the time until a change of the directory is in every worker's memory.
const slack = 5_000_000 // µs

// chain says what is wrong with a path: it must lead from the account's root to its last scope by the parents of the
// event's own time, in the cycle that the time is in, and to the user that the event names.
func (d *directory) chain(e *event, dec *decision) error {
	p := dec.path
	if len(p.scopes) == 0 || d.kinds[p.scopes[0]] != "account" || d.rootOf[p.scopes[0]] != p.scopes[0] {
		return fmt.Errorf("its path does not begin at the account's root")
	}
	if d.accounts[e.Data.Account] != p.account || d.sections[p.section] != e.Data.Section {
		return fmt.Errorf("it was charged to account %d, section %d", p.account, p.section)
	}
	for i := 1; i < len(p.scopes); i++ {
		if !d.below(p.scopes[i], p.scopes[i-1], dec.micros) {
			return fmt.Errorf("scope %d did not stand below %d", p.scopes[i], p.scopes[i-1])
		}
	}
	last := p.scopes[len(p.scopes)-1]
	if user := d.users[[2]string{e.Data.Account, e.Data.User}]; p.user != 0 && user != 0 && d.userOf[p.user] != user {
		return fmt.Errorf("it was charged to user %d and names %q", d.userOf[p.user], e.Data.User)
	}
	if d.kinds[last] == "membership" && d.userOf[last] != d.userOf[p.user] {
		return fmt.Errorf("membership %d is not the user's", last)
	}
	seconds := dec.micros / 1e6
	for _, c := range d.cycles[[2]int64{p.account, p.section}] {
		if seconds >= c[0] && seconds < c[1] && c[0] != p.cycle {
			return fmt.Errorf("it was charged in the cycle from %s and happened in the one from %s", stamp(p.cycle), stamp(c[0]))
		}
	}
	return nil
}

func (d *directory) below(scope, parent, at int64) bool {
	for i, link := range d.parents[scope] {
		from := link.from - slack
		if i == 0 {
			from = -1 << 62 // the first holds for earlier times as well
		}
		if link.parent == parent && at >= from && (link.to > at-slack) {
			return true
		}
	}
	return false
}
