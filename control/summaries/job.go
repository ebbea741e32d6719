package summaries

import (
	"context"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"github.com/alchemi/cockpit/control/pause"
	"github.com/alchemi/cockpit/metering/balances"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	every         = 15 * time.Second
	forecastEvery = 5 * time.Minute
	treesAtOnce   = 200
)

// Job brings the summaries up to date.
type Job struct {
	pool *pgxpool.Pool // of the platform's role
	log  *slog.Logger
	now  func() time.Time
}

// NewJob returns one for the pool's database.
func NewJob(pool *pgxpool.Pool, log *slog.Logger, now func() time.Time) *Job {
	return &Job{pool: pool, log: log, now: now}
}

// Run works until ctx ends.
func (j *Job) Run(ctx context.Context) error {
	for {
		if _, err := j.Once(ctx); err != nil && ctx.Err() == nil {
			j.log.Warn("summaries of accounts", "error", err)
		}
		if !pause.For(ctx, every) {
			return nil
		}
	}
}

// Once brings all summaries up to date, and returns how many it wrote. While another process does, it does nothing.
func (j *Job) Once(ctx context.Context) (written int, err error) {
	err = pgx.BeginTxFunc(ctx, j.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		var free bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtext('cockpit summaries'))`).Scan(&free); err != nil || !free {
			return err
		}
		r := round{tx: tx, now: j.now().UTC().Truncate(time.Microsecond), sums: map[int64]*sums{}}
		for _, step := range []func(context.Context) error{r.have, r.accounts, r.roots, r.alerts, r.counts, r.allocated} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		written, err = r.write(ctx)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sum up the accounts: %w", err)
	}
	return written, nil
}

// sums is an account's row, as it is and as it will be.
type sums struct {
	before, row row
	known       bool // there is a row
	stale       bool // users and allocated are to be counted again
	version     int64
	roots       []balances.Root
}

// row is a row of the table.
type row struct {
	Users                           int64
	Allocated, Used, Forecast       units
	OpenAlerts                      int64
	LastActivity, Until, ForecastAt time.Time
	Version, Events                 int64
}

// units are amounts in credits and in USD.
type units [2]credit.Amount

func (u *units) add(unit string, a credit.Amount) (err error) {
	i := 0
	if unit == "usd" {
		i = 1
	}
	u[i], err = credit.Add(u[i], a)
	return err
}

// round is one pass over all accounts.
type round struct {
	tx   pgx.Tx
	now  time.Time
	sums map[int64]*sums
}

const columns = `users, allocated_credits, allocated_usd, used_credits, used_usd, forecast_credits, forecast_usd, open_alerts,
	nullif(last_activity_at, '-infinity'), version, nullif(until, 'infinity'), events, forecast_at`

// have reads the rows that there are.
func (r *round) have(ctx context.Context) error {
	rows, err := r.tx.Query(ctx, `SELECT account_id, `+columns+` FROM account_summaries`)
	if err != nil {
		return err
	}
	for rows.Next() {
		var account int64
		var active, until *time.Time
		s := &sums{known: true}
		b := &s.before
		if err := rows.Scan(&account, &b.Users, &b.Allocated[0], &b.Allocated[1], &b.Used[0], &b.Used[1], &b.Forecast[0], &b.Forecast[1], &b.OpenAlerts,
			&active, &b.Version, &until, &b.Events, &b.ForecastAt); err != nil {
			return err
		}
		if active != nil {
			b.LastActivity = active.UTC()
		}
		if until != nil {
			b.Until = until.UTC()
		}
		b.ForecastAt = b.ForecastAt.UTC()
		s.row = s.before
		r.sums[account] = s
	}
	return rows.Err()
}

// accounts finds what is to be counted again.
func (r *round) accounts(ctx context.Context) error {
	rows, err := r.tx.Query(ctx, `SELECT account_id, version FROM accounts`)
	if err != nil {
		return err
	}
	var account, version int64
	_, err = pgx.ForEachRow(rows, []any{&account, &version}, func() error {
		s := r.sums[account]
		if s == nil {
			s = &sums{}
			r.sums[account] = s
		}
		s.version = version
		s.stale = !s.known || s.before.Version != version || !s.before.Until.IsZero() && !r.now.Before(s.before.Until)
		s.row.Used, s.row.Events, s.row.OpenAlerts = units{}, 0, 0
		return nil
	})
	return err
}

// roots sums up what was used.
func (r *round) roots(ctx context.Context) error {
	roots, err := balances.Roots(ctx, r.tx, r.now)
	if err != nil {
		return err
	}
	for _, root := range roots {
		s := r.sums[root.Account]
		s.roots = append(s.roots, root)
		s.row.Events += root.Used.Events
		if err := s.row.Used.add(root.Unit, root.Used.Credits); err != nil {
			return fmt.Errorf("account %d: %w", root.Account, err)
		}
	}
	return nil
}

func (r *round) alerts(ctx context.Context) error {
	return r.each(ctx, `SELECT account_id, count(*) FROM alerts WHERE state = 'open' AND account_id IS NOT NULL GROUP BY 1`, nil,
		func(s *sums, n int64) { s.row.OpenAlerts = n })
}

// counts counts the users of accounts that changed.
func (r *round) counts(ctx context.Context) error {
	stale := []int64{}
	for account, s := range r.sums {
		if s.stale {
			stale = append(stale, account)
			s.row.Users, s.row.Version = 0, s.version
		}
	}
	return r.each(ctx, `SELECT account_id, count(*) FROM users WHERE account_id = ANY($1) AND state = 'active' GROUP BY 1`, []any{stale},
		func(s *sums, n int64) { s.row.Users = n })
}

func (r *round) each(ctx context.Context, sql string, args []any, f func(*sums, int64)) error {
	rows, err := r.tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	var account, n int64
	_, err = pgx.ForEachRow(rows, []any{&account, &n}, func() error { f(r.sums[account], n); return nil })
	return err
}

// allocated evaluates the trees of accounts that changed.
func (r *round) allocated(ctx context.Context) error {
	var roots []balances.Root
	for _, s := range r.sums {
		if s.stale {
			s.row.Allocated, s.row.Until = units{}, time.Time{}
			roots = append(roots, s.roots...)
		}
	}
	for begin := 0; begin < len(roots); begin += treesAtOnce {
		some := roots[begin:min(begin+treesAtOnce, len(roots))]
		keys := make([]balances.TreeKey, len(some))
		for i := range some {
			keys[i] = some[i].TreeKey
		}
		trees, err := balances.LoadTrees(ctx, r.tx, keys, r.now, balances.Limiting)
		if err != nil {
			return err
		}
		for _, root := range some {
			s, tree := r.sums[root.Account], trees[root.TreeKey]
			if e := tree.Effective[root.Scope]; e.Limited {
				if err := s.row.Allocated.add(root.Unit, e.Allocation); err != nil {
					return fmt.Errorf("account %d: %w", root.Account, err)
				}
			}
			for _, until := range []time.Time{tree.Until, root.CycleEnd} {
				if s.row.Until.IsZero() || until.Before(s.row.Until) {
					s.row.Until = until.UTC()
				}
			}
		}
	}
	return nil
}

// finish makes the forecast and the last activity, and says whether the row is another.
func (s *sums) finish(now time.Time) (changed bool, err error) {
	if s.row.Events > 0 && s.row.Events != s.before.Events {
		s.row.LastActivity = now
	}
	if s.known && !s.stale && s.row.Used == s.before.Used && now.Sub(s.before.ForecastAt) < forecastEvery {
		return s.row != s.before, nil
	}
	s.row.Forecast, s.row.ForecastAt = units{}, now
	for i := range s.roots {
		if err := s.row.Forecast.add(s.roots[i].Unit, forecast(&s.roots[i], now)); err != nil {
			return false, err
		}
	}
	same := s.row
	same.ForecastAt = s.before.ForecastAt
	return !s.known || same != s.before, nil
}

// forecast is Used at the end of the cycle, if it goes on as so far. A cycle without an end has none: it is Used.
func forecast(r *balances.Root, now time.Time) credit.Amount {
	whole, gone := r.CycleEnd.Sub(r.CycleStart), now.Sub(r.CycleStart)
	if r.CycleEnd.Year() > now.Year()+100 || gone <= 0 {
		return r.Used.Credits
	}
	n := new(big.Int).Mul(big.NewInt(int64(r.Used.Credits)), big.NewInt(int64(whole)))
	if n.Quo(n, big.NewInt(int64(gone))); !n.IsInt64() {
		return r.Used.Credits // seconds after a cycle began, no forecast is better than one that fits no column
	}
	return credit.Amount(n.Int64())
}
