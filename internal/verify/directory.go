package verify

import (
	"context"
	"sort"

	"github.com/jackc/pgx/v5"
)

// directory is what prices and paths are checked against. Everything effective-dated stands in the order of its beginning.
type directory struct {
	accounts map[string]int64
	erased   map[int64]bool // accounts whose keys and identities are gone: nobody can tell whom an event was of
	sections map[string]int64
	roots    map[[2]int64]int64 // by account and section
	cycles   map[[2]int64][]cycle
	scopes   map[int64]scope
	links    []link // by scope
	teams    map[teamKey]named
	people   people
	prices   priceList
}

type cycle struct{ start, end int64 } // Unix s

type scope struct {
	account, section int64
	user             int64 // whose membership or row it is
	created          int64 // µs
	kind             byte  // the first letter of its kind
}

// link says below what a scope stood from when on.
type link struct{ scope, from, to, recorded, parent int64 } // µs

type teamKey struct {
	account, section int64
	key              string
}

// people is who has which key, and where they stand.
type people struct {
	users       map[keyOf]named
	erased      map[int64]bool // users whose keys and identities are gone
	identities  map[keyOf][]external
	rows        map[[2]int64]int64   // the row beside the tree, by user and section
	memberships map[[2]int64][]int64 // by user and section, oldest first
	primaries   map[[2]int64][]primary
}

type keyOf struct {
	account int64
	key     string
}

// named is whom a key names, of today or of before, and since when events may have.
type named struct{ id, since int64 }

type external struct {
	source             string
	user, to, recorded int64
}

type primary struct{ membership, from, recorded int64 }

// in is a timestamp column as Unix µs; what never ends does so at forever.
func in(column string) string {
	return `CASE WHEN ` + column + ` = 'infinity' THEN 9223372036854775807 ELSE (extract(epoch FROM ` + column + `) * 1000000)::bigint END`
}

// slack covers the time until a change of the directory is in every worker's memory.
const slack = 5_000_000 // µs

func (v *verification) readDirectory(ctx context.Context) error {
	d := &directory{accounts: map[string]int64{}, erased: map[int64]bool{}, sections: map[string]int64{}, roots: map[[2]int64]int64{}, cycles: map[[2]int64][]cycle{}, scopes: map[int64]scope{},
		teams: map[teamKey]named{}}
	v.dir = d
	for _, read := range []func(context.Context) error{v.readScopes, v.readPeople, v.readPrices} {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// each calls row for every row of a query, once it is in dest.
func (v *verification) each(ctx context.Context, sql string, dest []any, row func() error, args ...any) error {
	rows, err := v.tx.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, dest, row)
	return err
}

func (v *verification) readScopes(ctx context.Context) error {
	d := v.dir
	var a, b, c, e, f int64
	var key, kind string
	for _, q := range []struct {
		sql  string
		dest []any
		row  func()
	}{
		{`SELECT account_id, key, state FROM accounts`, []any{&a, &key, &kind}, func() { d.accounts[key], d.erased[a] = a, kind == "erased" }},
		{`SELECT id, key FROM sections`, []any{&a, &key}, func() { d.sections[key] = a }},
		{`SELECT account_id, section_id, root_scope_id FROM account_sections`, []any{&a, &b, &c}, func() { d.roots[[2]int64{a, b}] = c }},
		{`SELECT account_id, section_id, extract(epoch FROM start_at)::bigint, extract(epoch FROM end_at)::bigint FROM cycles ORDER BY start_at`, []any{&a, &b, &c, &e},
			func() { d.cycles[[2]int64{a, b}] = append(d.cycles[[2]int64{a, b}], cycle{c, e}) }},
		{`SELECT id, account_id, section_id, coalesce(user_id, 0), ` + in("created_at") + `, kind FROM scopes`, []any{&a, &b, &c, &e, &f, &kind},
			func() { d.scopes[a] = scope{account: b, section: c, user: e, created: f, kind: kind[0]} }},
		{`SELECT id, account_id, section_id, key, ` + in("coalesce(key_since, created_at)") + ` FROM scopes WHERE kind = 'team'
			UNION ALL SELECT scope_id, account_id, section_id, key, ` + in("recorded_at") + ` FROM key_aliases WHERE kind = 'team'`, []any{&a, &b, &c, &key, &e},
			func() { d.teams[teamKey{b, c, key}] = named{a, e} }},
		{`SELECT scope_id, parent_id, ` + in("valid_from") + `, ` + in("valid_to") + `, ` + in("recorded_at") + ` FROM scope_parents ORDER BY scope_id, valid_from`, []any{&a, &b, &c, &e, &f},
			func() { d.links = append(d.links, link{scope: a, parent: b, from: c, to: e, recorded: f}) }},
	} {
		if err := v.each(ctx, q.sql, q.dest, func() error { q.row(); return nil }); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) readPeople(ctx context.Context) error {
	p := &v.dir.people
	*p = people{users: map[keyOf]named{}, erased: map[int64]bool{}, identities: map[keyOf][]external{}, rows: map[[2]int64]int64{}, memberships: map[[2]int64][]int64{}, primaries: map[[2]int64][]primary{}}
	var a, b, c, e, f int64
	var key, source string
	for _, q := range []struct {
		sql  string
		dest []any
		row  func()
	}{
		{`SELECT account_id, id, key, ` + in("coalesce(key_since, created_at)") + `, (erased_at IS NOT NULL)::int FROM users`, []any{&a, &b, &key, &c, &e},
			func() { p.users[keyOf{a, key}], p.erased[b] = named{b, c}, e == 1 }},
		{`SELECT account_id, user_id, key, ` + in("recorded_at") + ` FROM key_aliases WHERE kind = 'user'`, []any{&a, &b, &key, &c}, func() { p.users[keyOf{a, key}] = named{b, c} }},
		{`SELECT account_id, user_id, source, value, ` + in("valid_to") + `, ` + in("recorded_at") + ` FROM user_identities ORDER BY valid_from`, []any{&a, &b, &source, &key, &c, &e},
			func() {
				p.identities[keyOf{a, key}] = append(p.identities[keyOf{a, key}], external{source: source, user: b, to: c, recorded: e})
			}},
		{`SELECT id, section_id, user_id FROM scopes WHERE kind = 'user'`, []any{&a, &b, &c}, func() { p.rows[[2]int64{c, b}] = a }},
		{`SELECT id, section_id, user_id FROM scopes WHERE kind = 'membership' ORDER BY id`, []any{&a, &b, &c},
			func() { p.memberships[[2]int64{c, b}] = append(p.memberships[[2]int64{c, b}], a) }},
		{`SELECT user_id, section_id, membership_id, ` + in("valid_from") + `, ` + in("recorded_at") + ` FROM primary_memberships ORDER BY valid_from`, []any{&a, &b, &c, &e, &f},
			func() { p.primaries[[2]int64{a, b}] = append(p.primaries[[2]int64{a, b}], primary{c, e, f}) }},
	} {
		if err := v.each(ctx, q.sql, q.dest, func() error { q.row(); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// linksOf are the rows that say below what a scope stood.
func (d *directory) linksOf(scope int64) []link {
	i := sort.Search(len(d.links), func(i int) bool { return d.links[i].scope >= scope })
	n := i
	for n < len(d.links) && d.links[n].scope == scope {
		n++
	}
	return d.links[i:n]
}
