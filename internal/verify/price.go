package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"sort"

	"github.com/shopspring/decimal"
)

// priceList is models with their terms, prices and factors.
type priceList struct {
	models  map[int64]model
	factors map[[2]int64][]factor // by account (0: the platform) and section
	sum     big.Int               // scratch
	amount  big.Int
	rest    big.Int
}

type model struct {
	key     string
	account int64 // 0: the platform's
	section int64
	terms   []term
	prices  []price
}

type term struct {
	from, recorded int64
	free, reported bool
}

type price struct {
	id, from, recorded int64
	units              map[string]*big.Int // by quantity: 10⁻¹⁸ USD for one
}

type factor struct {
	id, from, recorded int64
	value              *big.Int // 10⁻¹²
}

// Decimal places. A price has 12 and is for at most a million, so a unit's has 18; an amount of credits has 6.
const (
	usdPlaces, factorPlaces, creditPlaces, costPlaces = 18, 12, 6, 12
)

var (
	creditUnit = power(usdPlaces + factorPlaces - creditPlaces)
	costUnit   = power(usdPlaces - costPlaces)
)

func power(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }

// scaled is a decimal in units of 10^-places; an error if it is finer.
func scaled(text string, places int32) (*big.Int, error) {
	d, err := decimal.NewFromString(text)
	if err != nil {
		return nil, err
	}
	if d = d.Shift(places); !d.IsInteger() {
		return nil, fmt.Errorf("%s has more than %d places", text, places)
	}
	return d.BigInt(), nil
}

func (v *verification) readPrices(ctx context.Context) error {
	l := &v.dir.prices
	*l = priceList{models: map[int64]model{}, factors: map[[2]int64][]factor{}}
	var a, b, c, e int64
	var text, policy string
	var free bool
	var raw []byte
	for _, q := range []struct {
		sql  string
		dest []any
		row  func() error
	}{
		{`SELECT id, key, section_id, coalesce(account_id, 0) FROM models`, []any{&a, &text, &b, &c}, func() error { l.models[a] = model{key: text, section: b, account: c}; return nil }},
		{`SELECT model_id, ` + in("valid_from") + `, ` + in("recorded_at") + `, free, policy FROM model_terms ORDER BY valid_from`, []any{&a, &b, &c, &free, &policy}, func() error {
			m := l.models[a]
			m.terms = append(m.terms, term{from: b, recorded: c, free: free, reported: policy == "reported"})
			l.models[a] = m
			return nil
		}},
		{`SELECT id, model_id, ` + in("valid_from") + `, ` + in("recorded_at") + `, quantities FROM model_prices ORDER BY valid_from`, []any{&a, &b, &c, &e, &raw}, func() error {
			m := l.models[b]
			units, err := unitPrices(raw)
			m.prices = append(m.prices, price{id: a, from: c, recorded: e, units: units})
			l.models[b] = m
			return err
		}},
		{`SELECT id, coalesce(account_id, 0), section_id, ` + in("valid_from") + `, ` + in("recorded_at") + `, value::text FROM credits_factors ORDER BY valid_from`,
			[]any{&a, &b, &c, &e, new(int64), &text}, nil},
	} {
		if q.row == nil {
			recorded := q.dest[4].(*int64)
			q.row = func() error {
				value, err := scaled(text, factorPlaces)
				l.factors[[2]int64{b, c}] = append(l.factors[[2]int64{b, c}], factor{id: a, from: e, recorded: *recorded, value: value})
				return err
			}
		}
		if err := v.each(ctx, q.sql, q.dest, q.row); err != nil {
			return err
		}
	}
	return nil
}

// unitPrices is what one of each quantity costs.
func unitPrices(raw []byte) (map[string]*big.Int, error) {
	var items map[string]struct {
		USD string
		Per int64
	}
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, err
	}
	units := map[string]*big.Int{}
	for name, item := range items {
		usd, err := decimal.NewFromString(item.USD)
		if err != nil {
			return nil, err
		}
		// Dividing by 1, 1,000 or 1,000,000 only moves the point.
		if units[name], err = scaled(usd.Mul(decimal.New(1, -places(item.Per))).String(), usdPlaces); err != nil {
			return nil, err
		}
	}
	return units, nil
}

// places is how far dividing by per moves the point.
func places(per int64) (n int32) {
	for ; per > 1; per /= 10 {
		n++
	}
	return n
}

// charge is what an event must cost.
type charge struct{ credits, cost, price, factor int64 }

// priced computes what an event costs by the rows that held at its own time, as far as they were known.
func (l *priceList) priced(e *event, dec *decision, known int64) (c charge, err error) {
	m, ok := l.models[dec.model]
	if !ok || m.key != e.Data.Model || m.section != dec.path.section || m.account != 0 && m.account != dec.path.account {
		return c, fmt.Errorf("model %d is not %q of section %d", dec.model, e.Data.Model, dec.path.section)
	}
	t := holds(len(m.terms), dec.micros, known, func(i int) (int64, int64) { return m.terms[i].from, m.terms[i].recorded })
	if t < 0 {
		return c, fmt.Errorf("model %q had no terms", m.key)
	}
	factors := l.factors[[2]int64{dec.path.account, dec.path.section}]
	f := holds(len(factors), dec.micros, known, func(i int) (int64, int64) { return factors[i].from, factors[i].recorded })
	if f < 0 {
		factors = l.factors[[2]int64{0, dec.path.section}]
		if f = holds(len(factors), dec.micros, known, func(i int) (int64, int64) { return factors[i].from, factors[i].recorded }); f < 0 {
			return c, fmt.Errorf("section %d had no factor", dec.path.section)
		}
	}
	c.factor = factors[f].id
	total := l.sum.SetInt64(0)
	switch {
	case m.terms[t].free:
	case m.terms[t].reported:
		if total, err = scaled(e.Data.CostUSD, usdPlaces); err != nil {
			return c, fmt.Errorf("cost_usd: %w", err)
		}
	default:
		p := holds(len(m.prices), dec.micros, known, func(i int) (int64, int64) { return m.prices[i].from, m.prices[i].recorded })
		if p < 0 {
			return c, fmt.Errorf("model %q had no price", m.key)
		}
		c.price = m.prices[p].id
		for name, n := range e.Data.Quantities {
			if unit := m.prices[p].units[name]; unit != nil {
				total.Add(total, l.amount.Mul(unit, l.rest.SetInt64(n)))
			}
		}
	}
	if c.cost, err = l.rounded(total, costUnit); err == nil {
		c.credits, err = l.rounded(l.amount.Mul(total, factors[f].value), creditUnit)
	}
	return c, err
}

// rounded is n ÷ unit, half to even.
func (l *priceList) rounded(n, unit *big.Int) (int64, error) {
	q, r := l.amount.QuoRem(n, unit, &l.rest)
	half := r.Lsh(r, 1).Cmp(unit)
	up := half > 0 || half == 0 && q.Bit(0) == 1
	if !q.IsInt64() {
		return 0, fmt.Errorf("%s does not fit", q)
	}
	if up {
		return q.Int64() + 1, nil
	}
	return q.Int64(), nil
}

// holds is the index of the last row that began by then and was recorded by when the event was decided; -1 if there is none.
func holds(n int, at, known int64, row func(int) (from, recorded int64)) int {
	for i := sort.Search(n, func(i int) bool { from, _ := row(i); return from > at }) - 1; i >= 0; i-- {
		if _, recorded := row(i); recorded <= known {
			return i
		}
	}
	return -1
}
