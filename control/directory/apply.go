package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/balances"
	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/alchemi/cockpit/metering/price"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options say how to apply.
type Options struct {
	DryRun bool // say what would change, and change nothing
	Prune  bool // end what the file leaves out of the accounts that it names
	// Correct allows prices and factors that begin in the past, where something was charged since: what was is corrected after.
	Correct bool
	Author  string // who is on record for allocations and overrides
	// Record puts the changes of an account (0: the platform's) into the audit log, in the transaction; nil: nobody does.
	Record func(ctx context.Context, tx pgx.Tx, account int64, changes []string) error
}

var errDryRun = errors.New("dry run")

// Apply brings the database to what the file says, and returns what it changed, a line each.
func Apply(ctx context.Context, pool *pgxpool.Pool, f *File, o Options) ([]string, error) {
	a := &applier{ctx: ctx, options: o, sections: map[string]int64{}, touched: map[int64]bool{}, lines: map[int64][]string{}}
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		a.tx = tx
		// One at a time: raising the version also locks it.
		var err error
		if a.version, err = metering.Raise(ctx, tx); err != nil {
			return err
		}
		a.get(`SELECT now()`, nil, &a.now)
		a.apply(f)
		if a.err != nil {
			return a.err
		}
		if _, err := metering.EnsureCyclesTx(ctx, tx, a.now); err != nil {
			return err
		}
		if err := a.refuse(); err != nil {
			return err
		}
		if o.DryRun || len(a.changes) == 0 {
			return errDryRun
		}
		return a.record()
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return a.changes, nil
}

// record puts what was changed on record: an entry for each account, and one for the platform.
func (a *applier) record() error {
	if a.options.Record == nil {
		return nil
	}
	for _, account := range slices.Sorted(maps.Keys(a.lines)) {
		if err := a.options.Record(a.ctx, a.tx, account, a.lines[account]); err != nil {
			return err
		}
	}
	return nil
}

// refuse is the error of trees that set aside more than there is.
func (a *applier) refuse() error {
	var errs []error
	for account := range a.touched {
		rows, err := a.tx.Query(a.ctx, `SELECT s.section_id, c.start_at, a.key || ': section ' || x.key FROM account_sections s JOIN accounts a USING (account_id)
			JOIN sections x ON x.id = s.section_id
			JOIN cycles c ON c.account_id = s.account_id AND c.section_id = s.section_id AND c.start_at <= $2 AND c.end_at > $2
			WHERE s.account_id = $1`, account, a.now)
		if err != nil {
			return err
		}
		type section struct {
			ID    int64
			Cycle time.Time
			Name  string
		}
		sections, err := pgx.CollectRows(rows, pgx.RowToStructByPos[section])
		if err != nil {
			return err
		}
		for _, s := range sections {
			tree, err := balances.LoadTree(a.ctx, a.tx, account, s.ID, a.now, s.Cycle)
			if err != nil {
				return err
			}
			names := map[int64]string{}
			for _, scope := range tree.Scopes {
				names[scope.ID] = scope.Kind + " " + scope.Key
			}
			for _, short := range tree.Shortfalls {
				errs = append(errs, fmt.Errorf("account %s: %s lacks %s credits for what is set aside below it", s.Name, names[short.Scope], short.Missing))
			}
		}
	}
	return errors.Join(errs...)
}

// applier works in one transaction; after an error it does nothing more.
type applier struct {
	ctx      context.Context
	tx       pgx.Tx
	options  Options
	now      time.Time
	version  int64
	err      error
	changes  []string
	lines    map[int64][]string // the same, by account
	sections map[string]int64
	touched  map[int64]bool // accounts
}

func (a *applier) apply(f *File) {
	for _, s := range f.Sections {
		a.section(s)
	}
	a.each(`SELECT id, key FROM sections`, nil, func(id int64, key string) { a.sections[key] = id })
	for _, p := range f.Plans {
		a.plan(p)
	}
	for _, m := range f.Models {
		a.model(nil, a.sectionID(m.Section, "model "+m.Key), m)
	}
	for _, acc := range f.Accounts {
		a.account(acc)
	}
	for _, s := range f.Sources {
		a.source(s)
	}
	ids := []int64{}
	for id := range a.touched {
		ids = append(ids, id)
	}
	if len(ids) > 0 {
		a.do(`UPDATE accounts SET version = $1 WHERE account_id = ANY($2)`, a.version, ids)
	}
}

func (a *applier) fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf(format, args...)
	}
}

// changed records a change, of an account where one is given.
func (a *applier) changed(account int64, format string, args ...any) {
	if a.err == nil {
		line := fmt.Sprintf(format, args...)
		a.changes, a.lines[account] = append(a.changes, line), append(a.lines[account], line)
		if account != 0 {
			a.touched[account] = true
		}
	}
}

func (a *applier) do(sql string, args ...any) {
	if a.err == nil {
		_, a.err = a.tx.Exec(a.ctx, sql, args...)
	}
}

// get reads one row into dest and says whether there was one.
func (a *applier) get(sql string, args []any, dest ...any) bool {
	if a.err != nil {
		return false
	}
	err := a.tx.QueryRow(a.ctx, sql, args...).Scan(dest...)
	if errors.Is(err, pgx.ErrNoRows) {
		return false
	}
	a.err = err
	return err == nil
}

func (a *applier) each(sql string, args []any, f func(id int64, key string)) {
	if a.err != nil {
		return
	}
	rows, err := a.tx.Query(a.ctx, sql, args...)
	if err == nil {
		var id int64
		var key string
		_, err = pgx.ForEachRow(rows, []any{&id, &key}, func() error { f(id, key); return nil })
	}
	a.err = err
}

func (a *applier) sectionID(key, place string) int64 {
	id := a.sections[key]
	if id == 0 {
		a.fail("%s: there is no section %q", place, key)
	}
	return id
}

func (a *applier) section(s Section) {
	var unit, owner string
	if !a.get(`SELECT unit, models_owner FROM sections WHERE key = $1`, []any{s.Key}, &unit, &owner) {
		var id int64
		a.get(`INSERT INTO sections (key, unit, models_owner) VALUES ($1, $2, $3) RETURNING id`, []any{s.Key, s.Unit, s.Models}, &id)
		a.do(`INSERT INTO credits_factors (section_id, value, valid_from) VALUES ($1, $2, '2020-01-01T00:00:00Z')`,
			id, map[string]int{"usd": 1, "credits": 100}[s.Unit])
		a.changed(0, "section %s: added", s.Key)
	} else if unit != s.Unit || owner != s.Models {
		a.fail("section %s: its unit and the owner of its models can't be changed", s.Key)
	}
}

func (a *applier) source(s Source) {
	var id int64
	var mode string
	var all bool
	if !a.get(`SELECT id, mode, all_accounts FROM sources WHERE key = $1`, []any{s.Key}, &id, &mode, &all) {
		a.get(`INSERT INTO sources (key, mode, all_accounts) VALUES ($1, $2, $3) RETURNING id`, []any{s.Key, s.Mode, s.Accounts.All}, &id)
		a.changed(0, "source %s: added", s.Key)
	} else if mode != s.Mode || all != s.Accounts.All {
		a.do(`UPDATE sources SET mode = $2, all_accounts = $3 WHERE id = $1`, id, s.Mode, s.Accounts.All)
		a.changed(0, "source %s: mode %s, all accounts %t", s.Key, s.Mode, s.Accounts.All)
	}
	var want []int64
	for _, key := range s.Sections {
		want = append(want, a.sectionID(key, "source "+s.Key))
	}
	a.links("source "+s.Key+": section", `SELECT l.section_id, s.key FROM source_sections l JOIN sections s ON s.id = l.section_id WHERE source_id = $1`,
		`INSERT INTO source_sections (source_id, section_id) VALUES ($1, $2)`, `DELETE FROM source_sections WHERE source_id = $1 AND section_id = $2`, id, want)
	want = nil
	for _, key := range s.Accounts.Keys {
		var account int64
		if !a.get(`SELECT account_id FROM accounts WHERE key = $1`, []any{key}, &account) {
			a.fail("source %s: there is no account %q", s.Key, key)
		}
		want = append(want, account)
	}
	a.links("source "+s.Key+": account", `SELECT l.account_id, a.key FROM source_accounts l JOIN accounts a USING (account_id) WHERE source_id = $1`,
		`INSERT INTO source_accounts (source_id, account_id) VALUES ($1, $2)`, `DELETE FROM source_accounts WHERE source_id = $1 AND account_id = $2`, id, want)
}

// links makes a set of links to be want.
func (a *applier) links(what, list, add, remove string, id int64, want []int64) {
	have := []int64{}
	a.each(list, []any{id}, func(id int64, _ string) { have = append(have, id) })
	for _, w := range want {
		if !slices.Contains(have, w) {
			a.do(add, id, w)
			a.changed(0, "%s %d: added", what, w)
		}
	}
	for _, h := range have {
		if !slices.Contains(want, h) {
			a.do(remove, id, h)
			a.changed(0, "%s %d: removed", what, h)
		}
	}
}

// model applies a model of an account, or of the platform where account is nil.
func (a *applier) model(account *int64, section int64, m Model) {
	place := "model " + m.Key
	touch := int64(0)
	if account != nil {
		touch = *account
	}
	var id int64
	var provider string
	isNew := !a.get(`SELECT id, provider FROM models WHERE section_id = $1 AND account_id IS NOT DISTINCT FROM $2 AND key = $3`,
		[]any{section, account, m.Key}, &id, &provider)
	policy := m.Policy
	if policy == "" {
		policy = "listed"
	}
	if isNew {
		a.get(`INSERT INTO models (account_id, section_id, key, provider) VALUES ($1, $2, $3, $4) RETURNING id`, []any{account, section, m.Key, m.Provider}, &id)
		a.do(`INSERT INTO model_terms (account_id, model_id, free, policy, valid_from) VALUES ($1, $2, $3, $4, '2020-01-01T00:00:00Z')`, account, id, m.Free, policy)
		a.changed(touch, "%s: added", place)
	} else {
		if provider != m.Provider {
			a.do(`UPDATE models SET provider = $2 WHERE id = $1`, id, m.Provider)
			a.changed(touch, "%s: provider %s", place, m.Provider)
		}
		var free bool
		var have string
		a.get(`SELECT free, policy FROM model_terms WHERE model_id = $1 ORDER BY valid_from DESC LIMIT 1`, []any{id}, &free, &have)
		if free != m.Free || have != policy {
			a.do(`INSERT INTO model_terms (account_id, model_id, free, policy, valid_from) VALUES ($1, $2, $3, $4, $5)`, account, id, m.Free, policy, a.now.Add(metering.PriceLead))
			a.changed(touch, "%s: free %t, policy %s, from %s on", place, m.Free, policy, a.now.Add(metering.PriceLead).Format(time.RFC3339))
		}
	}
	for _, p := range m.Prices {
		a.price(account, touch, id, isNew, place, p)
	}
}

func (a *applier) price(account *int64, touch, model int64, modelIsNew bool, place string, p Price) {
	place = fmt.Sprintf("%s: price from %s", place, p.From.UTC().Format(time.RFC3339))
	text, err := json.Marshal(p.Quantities)
	if err != nil {
		a.fail("%s: %w", place, err)
	}
	var have []byte
	if a.get(`SELECT quantities FROM model_prices WHERE model_id = $1 AND valid_from = $2`, []any{model, p.From}, &have) {
		var old map[string]price.Item
		if err := json.Unmarshal(have, &old); err != nil {
			a.fail("%s: %w", place, err)
		}
		if !samePrices(old, p.Quantities) {
			a.fail("%s: a price is never edited; begin a new one, or correct what was charged (cockpit correct)", place)
		}
		return
	}
	if !modelIsNew {
		a.notCharged(place, p.From)
	}
	a.do(`INSERT INTO model_prices (account_id, model_id, quantities, valid_from) VALUES ($1, $2, $3, $4)`, account, model, text, p.From)
	a.changed(touch, "%s: added", place)
}

func samePrices(a, b map[string]price.Item) bool {
	if len(a) != len(b) {
		return false
	}
	for name, item := range a {
		if other, ok := b[name]; !ok || other != item {
			return false
		}
	}
	return true
}

// notCharged refuses a change that begins before now when something may have been charged since.
func (a *applier) notCharged(place string, from time.Time) {
	if a.err != nil || a.options.Correct {
		return
	}
	if err := metering.MayBegin(a.ctx, a.tx, from, a.now); err != nil {
		a.refused(place, err)
	}
}

// refused fails with what can't be as asked, and what can be done instead.
func (a *applier) refused(place string, err error) {
	if errors.Is(err, metering.ErrCharged) {
		err = fmt.Errorf("%w; correct that with cockpit correct", err)
	}
	a.fail("%s: %w", place, err)
}

func (a *applier) plan(p Plan) {
	rollover := p.Rollover
	if rollover == "" {
		rollover = "none"
	}
	var days *int
	if p.Cycle == "days" {
		days = &p.EveryDays
	}
	var zone *string
	if p.TimeZone != "" {
		zone = &p.TimeZone
	}
	thresholds := append([]int{}, p.Thresholds...) // none is an empty list and not NULL
	var id int64
	if !a.get(`SELECT id FROM budget_plans WHERE account_id IS NULL AND key = $1`, []any{p.Key}, &id) {
		a.get(`INSERT INTO budget_plans (key) VALUES ($1) RETURNING id`, []any{p.Key}, &id)
	}
	var same bool
	a.get(`SELECT (cycle, every_days, anchor, time_zone, enforcement, thresholds, rollover) IS NOT DISTINCT FROM ($2::text, $3::integer, $4::date, $5::text, $6::text, $7::integer[], $8::text)
		FROM budget_plan_versions WHERE plan_id = $1 ORDER BY id DESC LIMIT 1`,
		[]any{id, p.Cycle, days, p.Anchor, zone, p.Enforcement, thresholds, rollover}, &same)
	if same {
		return
	}
	a.do(`INSERT INTO budget_plan_versions (plan_id, cycle, every_days, anchor, time_zone, enforcement, thresholds, rollover) VALUES ($1, $2, $3, $4::text::date, $5, $6, $7, $8)`,
		id, p.Cycle, days, p.Anchor, zone, p.Enforcement, thresholds, rollover)
	a.changed(0, "plan %s: version added", p.Key)
	a.each(`SELECT DISTINCT account_id, '' FROM scope_plans WHERE plan_id = $1`, []any{id}, func(account int64, _ string) { a.touched[account] = true })
}
