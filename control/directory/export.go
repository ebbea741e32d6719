package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alchemi/cockpit/metering/price"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Export is the file that describes the database as it is now: applying it there changes nothing. With an account's key it
// is that account alone. The notes say, a line each, what the database has and a file can't say.
func Export(ctx context.Context, pool *pgxpool.Pool, account string) (*File, []string, error) {
	f := &File{Version: 1}
	e := &exporter{ctx: ctx}
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		e.tx = tx
		if account == "" {
			e.platform(f)
		}
		e.accounts(f, account)
		return e.err
	})
	if err == nil && account != "" && len(f.Accounts) == 0 {
		err = fmt.Errorf("there is no account %q", account)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("export: %w", err)
	}
	return f, e.notes, nil
}

// exporter reads one snapshot; after an error it does nothing more.
type exporter struct {
	ctx   context.Context
	tx    pgx.Tx
	err   error
	notes []string
}

func (e *exporter) note(format string, args ...any) {
	e.notes = append(e.notes, fmt.Sprintf(format, args...))
}

// collect reads rows into structs, by position.
func collect[T any](e *exporter, sql string, args ...any) []T {
	if e.err != nil {
		return nil
	}
	rows, err := e.tx.Query(e.ctx, sql, args...)
	if err == nil {
		var out []T
		if out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T]); err == nil {
			return out
		}
	}
	e.err = err
	return nil
}

// counted is how many rows there are of something.
type counted struct {
	What string
	N    int
}

// history notes what was before, which a file does not say.
func (e *exporter) history(place, sql string, args ...any) {
	var parts []string
	for _, c := range collect[counted](e, sql, args...) {
		if c.N > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.N, c.What))
		}
	}
	if len(parts) > 0 {
		e.note("%s: not in the file, which says what holds now: %s", place, strings.Join(parts, ", "))
	}
}

func (e *exporter) platform(f *File) {
	f.Sections = collect[Section](e, `SELECT key, unit, models_owner FROM sections ORDER BY key`)
	e.sources(f)
	f.Models = e.models(`m.account_id IS NULL`)
	e.plans(f)
	e.history("platform", `SELECT 'credits factors of sections', count(*) FROM credits_factors c JOIN sections s ON s.id = c.section_id
			WHERE c.account_id IS NULL AND NOT (c.valid_from = '2020-01-01T00:00:00Z' AND c.value = CASE s.unit WHEN 'usd' THEN 1 ELSE 100 END)
		UNION ALL SELECT 'earlier versions of plans', count(*) - count(DISTINCT plan_id) FROM budget_plan_versions v JOIN budget_plans p ON p.id = v.plan_id AND p.account_id IS NULL
		UNION ALL SELECT 'earlier terms of models', count(*) - count(DISTINCT model_id) FROM model_terms t JOIN models m ON m.id = t.model_id AND m.account_id IS NULL`)
}

func (e *exporter) sources(f *File) {
	type row struct {
		Key, Mode          string
		All                bool
		Sections, Accounts []string
	}
	for _, s := range collect[row](e, `SELECT key, mode, all_accounts,
			ARRAY(SELECT s.key FROM source_sections l JOIN sections s ON s.id = l.section_id WHERE l.source_id = sources.id ORDER BY s.key),
			ARRAY(SELECT a.key FROM source_accounts l JOIN accounts a USING (account_id) WHERE l.source_id = sources.id ORDER BY a.key)
			FROM sources ORDER BY key`) {
		f.Sources = append(f.Sources, Source{Key: s.Key, Mode: s.Mode, Sections: s.Sections, Accounts: Accounts{All: s.All, Keys: s.Accounts}})
	}
}

// models are those that a condition selects, with the terms that were recorded for the latest time, and all prices.
func (e *exporter) models(condition string, args ...any) (models []Model) {
	type row struct {
		ID                     int64
		Key, Section, Provider string
		Free                   bool
		Policy                 string
	}
	type priced struct {
		From       time.Time
		Quantities []byte
	}
	for _, m := range collect[row](e, `SELECT m.id, m.key, s.key, m.provider, t.free, t.policy FROM models m JOIN sections s ON s.id = m.section_id
			CROSS JOIN LATERAL (SELECT free, policy FROM model_terms WHERE model_id = m.id ORDER BY valid_from DESC LIMIT 1) t
			WHERE `+condition+` ORDER BY s.key, m.key`, args...) {
		model := Model{Key: m.Key, Section: m.Section, Provider: m.Provider, Free: m.Free}
		if m.Policy != "listed" {
			model.Policy = m.Policy
		}
		for _, p := range collect[priced](e, `SELECT valid_from, quantities FROM model_prices WHERE model_id = $1 ORDER BY valid_from`, m.ID) {
			items := map[string]price.Item{}
			if err := json.Unmarshal(p.Quantities, &items); err != nil {
				e.err = errors.Join(e.err, fmt.Errorf("model %s: its price from %s: %w", m.Key, p.From, err))
			}
			model.Prices = append(model.Prices, Price{From: p.From.UTC(), Quantities: items})
		}
		models = append(models, model)
	}
	return models
}

func (e *exporter) plans(f *File) {
	type row struct {
		Key, Cycle  string
		EveryDays   int
		Anchor      time.Time
		Zone        string
		Enforcement string
		Thresholds  []int
		Rollover    string
	}
	for _, p := range collect[row](e, `SELECT p.key, v.cycle, coalesce(v.every_days, 0), v.anchor, coalesce(v.time_zone, ''), v.enforcement, v.thresholds, v.rollover FROM budget_plans p
			CROSS JOIN LATERAL (SELECT * FROM budget_plan_versions WHERE plan_id = p.id ORDER BY id DESC LIMIT 1) v WHERE p.account_id IS NULL ORDER BY p.key`) {
		f.Plans = append(f.Plans, Plan{Key: p.Key, Cycle: p.Cycle, EveryDays: p.EveryDays, Anchor: p.Anchor.Format(time.DateOnly), TimeZone: p.Zone,
			Enforcement: p.Enforcement, Thresholds: p.Thresholds, Rollover: p.Rollover})
	}
}
