package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/price"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ofThese matches the accounts of $1.
const ofThese = ` = ANY($1)`

// micros is a time as Unix µs; infinity is far away. It is scanned as it comes: to reckon it in the database costs more.
type micros int64

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (m *micros) ScanTimestamptz(v pgtype.Timestamptz) error {
	switch {
	case !v.Valid:
		return errors.New("a time that is null")
	case v.InfinityModifier == pgtype.Infinity:
		*m = math.MaxInt64
	case v.InfinityModifier == pgtype.NegativeInfinity:
		*m = math.MinInt64
	default:
		*m = micros(v.Time.UnixMicro())
	}
	return nil
}

// Load reads one account, and the platform: enough to resolve what names the account.
func Load(ctx context.Context, pool *pgxpool.Pool, account int64) (*Snapshot, error) {
	return load(ctx, pool, nil, &account)
}

// load reads what changed since old, or everything; of only one account, if one is named. It returns old itself when nothing did.
func load(ctx context.Context, pool *pgxpool.Pool, old *Snapshot, only *int64) (*Snapshot, error) {
	next := &Snapshot{accounts: map[string]*account{}}
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var since int64
		if err := tx.QueryRow(ctx, `SELECT directory_version FROM deployment`).Scan(&next.Version); err != nil {
			return err
		}
		if old != nil {
			if old.Version == next.Version {
				next = old
				return nil
			}
			since = old.Version
			maps.Copy(next.accounts, old.accounts)
		}
		l := loader{ctx: ctx, tx: tx, next: next}
		l.platform()
		l.accounts(since, only)
		return l.err
	})
	if err != nil {
		return old, fmt.Errorf("load the directory: %w", err)
	}
	return next, nil
}

// loader reads in one transaction; after an error it does nothing more.
type loader struct {
	ctx     context.Context
	tx      pgx.Tx
	err     error
	next    *Snapshot
	ids     []int64
	account map[int64]*account
	section map[[2]int64]*section // by account and section
	user    map[int64]*user
	trees   map[[2]int64]*tree
}

// each runs a query and calls f for every row, after scanning it into dest.
func (l *loader) each(f func(), sql string, args []any, dest ...any) {
	if l.err != nil {
		return
	}
	rows, err := l.tx.Query(l.ctx, sql, args...)
	if err == nil {
		_, err = pgx.ForEachRow(rows, dest, func() error { f(); return l.err })
	}
	if l.err == nil {
		l.err = err
	}
}

func (l *loader) platform() {
	p := platform{sections: map[int64]string{}, sources: map[string]*source{}, models: map[modelKey]*model{}, factors: map[int64][]factor{}}
	var id, other int64
	var key string
	l.each(func() { p.sections[id] = key }, `SELECT id, key FROM sections`, nil, &id, &key)
	var mode string
	var all bool
	byID := map[int64]*source{}
	l.each(func() {
		s := &source{observes: mode == "observe", allAccounts: all, sections: map[int64]bool{}, accounts: map[int64]bool{}}
		p.sources[key], byID[id] = s, s
	}, `SELECT id, key, mode, all_accounts FROM sources`, nil, &id, &key, &mode, &all)
	l.each(func() { byID[id].sections[other] = true }, `SELECT source_id, section_id FROM source_sections`, nil, &id, &other)
	l.each(func() { byID[id].accounts[other] = true }, `SELECT source_id, account_id FROM source_accounts`, nil, &id, &other)
	l.next.platform = p
	l.models(` IS NULL`, nil, func(int64) map[modelKey]*model { return p.models })
	l.factors(` IS NULL`, nil, func(int64) map[int64][]factor { return p.factors })
}

// models reads models of whoever matches, with terms and prices, into what of gives for an account.
func (l *loader) models(match string, args []any, of func(account int64) map[modelKey]*model) {
	byID := map[int64]*model{}
	var account, id, section, from int64
	var key string
	l.each(func() {
		m := &model{id: id}
		byID[id] = m
		of(account)[modelKey{section, key}] = m
	}, `SELECT coalesce(account_id, 0), id, section_id, key FROM models WHERE account_id`+match, args, &account, &id, &section, &key)
	var free bool
	var policy string
	l.each(func() {
		byID[id].terms = append(byID[id].terms, term{from: from, free: free, reported: policy == "reported"})
	}, `SELECT model_id, valid_from, free, policy FROM model_terms WHERE account_id`+match+` ORDER BY valid_from`, args, &id, (*micros)(&from), &free, &policy)
	var priceID int64
	var quantities []byte
	l.each(func() {
		var items map[string]price.Item
		err := json.Unmarshal(quantities, &items)
		var compiled *price.Price
		if err == nil {
			compiled, err = price.Compile(items)
		}
		if err != nil {
			l.err = fmt.Errorf("price %d: %w", priceID, err)
			return
		}
		byID[id].prices = append(byID[id].prices, modelPrice{from: from, id: priceID, price: compiled})
	}, `SELECT model_id, id, valid_from, quantities FROM model_prices WHERE account_id`+match+` ORDER BY valid_from`, args, &id, &priceID, (*micros)(&from), &quantities)
}

func (l *loader) factors(match string, args []any, of func(account int64) map[int64][]factor) {
	var account, id, section, from int64
	var value string
	l.each(func() {
		v, err := price.ParseFactor(value)
		if err != nil {
			l.err = fmt.Errorf("factor %d: %w", id, err)
			return
		}
		of(account)[section] = append(of(account)[section], factor{from: from, id: id, value: v})
	}, `SELECT coalesce(account_id, 0), id, section_id, valid_from, trim_scale(value)::text FROM credits_factors WHERE account_id`+match+` ORDER BY valid_from`,
		args, &account, &id, &section, (*micros)(&from), &value)
}

// accounts reads the accounts that changed after that version; of only one, if one is named.
func (l *loader) accounts(since int64, only *int64) {
	l.account, l.section, l.user, l.trees = map[int64]*account{}, map[[2]int64]*section{}, map[int64]*user{}, map[[2]int64]*tree{}
	var id int64
	var key, state string
	l.each(func() {
		a := &account{id: id, key: key, suspended: state != "active", users: map[string]*user{}, identities: map[string][]identity{},
			sections: map[string]*section{}, models: map[modelKey]*model{}, factors: map[int64][]factor{}}
		l.account[id], l.next.accounts[key] = a, a
		l.ids = append(l.ids, id)
	}, `SELECT account_id, key, state FROM accounts WHERE version > $1 AND ($2::bigint IS NULL OR account_id = $2)`, []any{since, only}, &id, &key, &state)
	if len(l.ids) == 0 {
		return
	}
	args := []any{l.ids}
	l.users(args)
	l.sections(args)
	l.models(ofThese, args, func(id int64) map[modelKey]*model { return l.account[id].models })
	l.factors(ofThese, args, func(id int64) map[int64][]factor { return l.account[id].factors })
	l.scopes(args)
}

// usersTogether is how many users are one object.
const usersTogether = 256

func (l *loader) users(args []any) {
	var account, id, to int64
	var key, state, value string
	var some []user // side by side
	l.each(func() {
		if len(some) == cap(some) {
			some = make([]user, 0, min(usersTogether, 2*cap(some)+1))
		}
		some = append(some, user{id: id, inactive: state != "active"})
		u := &some[len(some)-1]
		l.account[account].users[key], l.user[id] = u, u
	}, `SELECT account_id, id, key, state FROM users WHERE account_id`+ofThese+` ORDER BY account_id`, args, &account, &id, &key, &state)
	l.each(func() { l.account[account].users[key] = l.user[id] },
		`SELECT account_id, user_id, key FROM key_aliases WHERE account_id`+ofThese+` AND kind = 'user'`, args, &account, &id, &key)
	l.each(func() {
		of := l.account[account].identities
		of[value] = append(of[value], identity{source: key, user: l.user[id], to: to})
	}, `SELECT account_id, user_id, source, value, valid_to FROM user_identities WHERE account_id`+ofThese+` ORDER BY valid_from`,
		args, &account, &id, &key, &value, (*micros)(&to))
}

func (l *loader) sections(args []any) {
	var accountID, id, root, start, end int64
	var state, zone, period string
	var days int
	var anchor time.Time
	l.each(func() {
		location, err := time.LoadLocation(zone)
		if err != nil {
			l.err = fmt.Errorf("account %d: %w", accountID, err)
			return
		}
		sec := &section{id: id, off: state != "on", root: &Path{Scopes: []int64{root}}, teams: map[string]*lineage{},
			calendar: allocation.Calendar{Period: allocation.Period(period), Days: days, Anchor: anchor, Location: location}}
		l.account[accountID].sections[l.next.platform.sections[id]] = sec
		l.section[[2]int64{accountID, id}] = sec
	}, `SELECT s.account_id, s.section_id, s.root_scope_id, s.state, p.cycle, coalesce(p.every_days, 0), p.anchor, coalesce(p.time_zone, a.time_zone)
		FROM account_sections s JOIN accounts a USING (account_id)
		JOIN LATERAL (SELECT v.* FROM scope_plans sp JOIN budget_plan_versions v USING (plan_id)
			WHERE sp.scope_id = s.root_scope_id ORDER BY sp.valid_from, v.id LIMIT 1) p ON true
		WHERE s.account_id`+ofThese, args, &accountID, &id, &root, &state, &period, &days, &anchor, &zone)
	l.each(func() {
		sec := l.section[[2]int64{accountID, id}]
		sec.cycles = append(sec.cycles, cycle{start, end})
	}, `SELECT account_id, section_id, extract(epoch FROM start_at)::bigint, extract(epoch FROM end_at)::bigint FROM cycles
		WHERE account_id`+ofThese+` ORDER BY start_at`, args, &accountID, &id, &start, &end)
}

func (l *loader) scopes(args []any) {
	var accountID, sectionID, id, userID, from, to, parent int64
	var kind, key string
	l.each(func() {
		at := [2]int64{accountID, sectionID}
		if l.trees[at] == nil {
			l.trees[at] = newTree()
		}
		l.trees[at].parents[id] = append(l.trees[at].parents[id], link{from, to, parent})
	}, `SELECT account_id, section_id, scope_id, parent_id, valid_from, valid_to FROM scope_parents WHERE account_id`+ofThese+` ORDER BY valid_from`,
		args, &accountID, &sectionID, &id, &parent, (*micros)(&from), (*micros)(&to))
	type node struct {
		section *section
		tree    *tree
		id      int64
		user    int64
	}
	var memberships []node
	teams := map[int64]*lineage{}
	l.each(func() {
		at := [2]int64{accountID, sectionID}
		sec := l.section[at]
		switch {
		case sec == nil:
		case kind == "team":
			teams[id] = &lineage{scope: id, steps: l.trees[at].to(id)}
			sec.teams[key] = teams[id]
		case kind == "membership":
			memberships = append(memberships, node{sec, l.trees[at], id, userID})
		case kind == "user":
			l.user[userID].entering(sec).scope = id
		}
	}, `SELECT account_id, section_id, id, kind, coalesce(key, ''), coalesce(user_id, 0) FROM scopes WHERE account_id`+ofThese+` ORDER BY id`,
		args, &accountID, &sectionID, &id, &kind, &key, &userID)
	l.each(func() {
		if sec := l.section[[2]int64{accountID, sectionID}]; sec != nil {
			sec.teams[key] = teams[id]
		}
	}, `SELECT account_id, section_id, scope_id, key FROM key_aliases WHERE account_id`+ofThese+` AND kind = 'team'`, args, &accountID, &sectionID, &id, &key)
	for _, n := range memberships {
		links := n.tree.parents[n.id]
		if len(links) == 0 {
			continue
		}
		end := links[len(links)-1]
		st := l.user[n.user].entering(n.section)
		st.memberships = append(st.memberships, membership{id: n.id, team: end.parent, to: end.to, above: lineage{scope: n.id, steps: n.tree.member(links)}})
	}
	l.each(func() {
		st := l.user[userID].entering(l.section[[2]int64{accountID, sectionID}])
		if len(st.memberships) != 1 || st.memberships[0].id != id {
			st.primaries = append(st.primaries, primary{from, to, id})
		}
	}, `SELECT account_id, section_id, user_id, membership_id, valid_from, valid_to FROM primary_memberships JOIN unnest($2::bigint[]) c (id) ON c.id = user_id
		WHERE account_id`+ofThese+` ORDER BY valid_from`, append(args, l.choosing()), &accountID, &sectionID, &userID, &id, (*micros)(&from), (*micros)(&to))
}

// choosing are the users who have, or had, more than one membership in a section. Which one is primary is read of them
// alone: the only one that somebody has is.
func (l *loader) choosing() []int64 {
	ids := []int64{}
	for id, u := range l.user {
		if slices.ContainsFunc(u.standings, func(st standing) bool { return len(st.memberships) > 1 }) {
			ids = append(ids, id)
		}
	}
	return ids
}
