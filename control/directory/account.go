package directory

import (
	"fmt"
	"slices"
	"time"

	metering "github.com/alchemi/cockpit/metering/directory"
	"github.com/jackc/pgx/v5"
)

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (a *applier) account(f Account) {
	state := orDefault(f.State, "active")
	var id int64
	var name, zone, have string
	if !a.get(`SELECT account_id, name, time_zone, state FROM accounts WHERE key = $1`, []any{f.Key}, &id, &name, &zone, &have) {
		a.get(`INSERT INTO accounts (key, name, time_zone, state, version) VALUES ($1, $2, $3, $4, $5) RETURNING account_id`,
			[]any{f.Key, f.Name, f.TimeZone, state, a.version}, &id)
		a.changed(id, "account %s: added", f.Key)
	} else if name != f.Name || zone != f.TimeZone || have != state {
		a.do(`UPDATE accounts SET name = $2, time_zone = $3, state = $4 WHERE account_id = $1`, id, f.Name, f.TimeZone, state)
		a.changed(id, "account %s: name %q, time zone %s, %s", f.Key, f.Name, f.TimeZone, state)
	}
	users := map[string]int64{}
	for _, u := range f.Users {
		users[u.Key] = a.user(id, f.Key, u)
	}
	if a.options.Prune {
		a.each(`SELECT id, key FROM users WHERE account_id = $1 AND state = 'active'`, []any{id}, func(user int64, key string) {
			if _, named := users[key]; !named {
				a.changed(id, "account %s: user %s: inactive", f.Key, key)
			}
		})
		keys := []string{}
		for key := range users {
			keys = append(keys, key)
		}
		a.do(`UPDATE users SET state = 'inactive', revision = revision + 1 WHERE account_id = $1 AND state = 'active' AND key <> ALL($2)`, id, keys)
		a.sectionsOff(id, f)
	}
	for key, s := range f.Sections {
		t := &treeApplier{applier: a, account: id, place: "account " + f.Key + ": section " + key, users: users,
			section: a.sectionID(key, "account "+f.Key), kept: map[int64]bool{}}
		t.apply(s)
	}
	a.userScopes(id)
}

// sectionsOff switches off the sections that the account's part of the file leaves out.
func (a *applier) sectionsOff(account int64, f Account) {
	a.each(`SELECT s.section_id, x.key FROM account_sections s JOIN sections x ON x.id = s.section_id WHERE s.account_id = $1 AND s.state = 'on' ORDER BY x.key`,
		[]any{account}, func(_ int64, key string) {
			if _, named := f.Sections[key]; !named {
				a.changed(account, "account %s: section %s: off", f.Key, key)
			}
		})
	keys := []string{}
	for key := range f.Sections {
		keys = append(keys, key)
	}
	a.do(`UPDATE account_sections s SET state = 'off' FROM sections x WHERE x.id = s.section_id AND s.account_id = $1 AND s.state = 'on' AND x.key <> ALL($2)`, account, keys)
}

func (a *applier) user(account int64, accountKey string, u User) (id int64) {
	place := "account " + accountKey + ": user " + u.Key
	state := orDefault(u.State, "active")
	c := called{account: account, kind: "user", key: u.Key, aliases: u.Aliases, place: place}
	var name, email, have string
	find := func() bool {
		return a.get(`SELECT id, name, coalesce(email, ''), state FROM users WHERE account_id = $1 AND key = $2`, []any{account, u.Key}, &id, &name, &email, &have)
	}
	found := find()
	if !found {
		a.renamed(c)
		found = find()
	}
	if !found {
		a.get(`INSERT INTO users (account_id, key, name, email, state) VALUES ($1, $2, $3, nullif($4, ''), $5) RETURNING id`,
			[]any{account, u.Key, u.Name, u.Email, state}, &id)
		a.changed(account, "%s: added", place)
	} else if name != u.Name || email != u.Email || have != state {
		a.do(`UPDATE users SET name = $3, email = nullif($4, ''), state = $5, revision = revision + 1 WHERE account_id = $1 AND id = $2`, account, id, u.Name, u.Email, state)
		a.changed(account, "%s: name %q, e-mail %q, %s", place, u.Name, u.Email, state)
	}
	a.also(id, c)
	for _, i := range u.Identities {
		var owner int64
		if a.get(`SELECT user_id FROM user_identities WHERE account_id = $1 AND source = $2 AND value = $3 AND valid_to = 'infinity'`,
			[]any{account, i.Source, i.Value}, &owner) {
			if owner != id {
				a.fail("%s: the identity %s of %s belongs to another user", place, i.Value, i.Source)
			}
			continue
		}
		a.do(`INSERT INTO user_identities (account_id, user_id, source, value, valid_from) VALUES ($1, $2, $3, $4, $5)`, account, id, i.Source, i.Value, a.now)
		a.changed(account, "%s: identity %s of %s", place, i.Value, i.Source)
	}
	if a.options.Prune {
		a.endIdentities(account, id, place, u.Identities)
	}
	return id
}

// endIdentities ends those that the file does not name.
func (a *applier) endIdentities(account, user int64, place string, named []Identity) {
	var ended []Identity
	a.eachIdentity(account, user, func(i Identity) {
		if !slices.Contains(named, i) {
			ended = append(ended, i)
		}
	})
	for _, i := range ended {
		a.do(`UPDATE user_identities SET valid_to = $4 WHERE account_id = $1 AND source = $2 AND value = $3 AND valid_to = 'infinity'`, account, i.Source, i.Value, a.now)
		a.changed(account, "%s: identity %s of %s: ended", place, i.Value, i.Source)
	}
}

func (a *applier) eachIdentity(account, user int64, f func(Identity)) {
	if a.err != nil {
		return
	}
	rows, err := a.tx.Query(a.ctx, `SELECT source, value FROM user_identities WHERE account_id = $1 AND user_id = $2 AND valid_to = 'infinity'`, account, user)
	if err == nil {
		var i Identity
		_, err = pgx.ForEachRow(rows, []any{&i.Source, &i.Value}, func() error { f(i); return nil })
	}
	a.err = err
}

// userScopes gives every user a row in every section of the account.
func (a *applier) userScopes(account int64) {
	a.do(`INSERT INTO scopes (account_id, section_id, kind, user_id)
		SELECT u.account_id, s.section_id, 'user', u.id FROM users u JOIN account_sections s USING (account_id)
		WHERE u.account_id = $1 AND NOT EXISTS (SELECT FROM scopes x
			WHERE x.account_id = u.account_id AND x.section_id = s.section_id AND x.kind = 'user' AND x.user_id = u.id)`, account)
}

// treeApplier applies one section of one account.
type treeApplier struct {
	*applier
	account, section int64
	place            string
	users            map[string]int64
	kept             map[int64]bool // scopes that the file names
}

func (t *treeApplier) apply(s AccountSection) {
	state := orDefault(s.State, "on")
	var root int64
	var have string
	if !t.get(`SELECT root_scope_id, state FROM account_sections WHERE account_id = $1 AND section_id = $2`, []any{t.account, t.section}, &root, &have) {
		t.get(`INSERT INTO scopes (account_id, section_id, kind) VALUES ($1, $2, 'account') RETURNING id`, []any{t.account, t.section}, &root)
		t.do(`INSERT INTO account_sections (account_id, section_id, root_scope_id, state) VALUES ($1, $2, $3, $4)`, t.account, t.section, root, state)
		t.changed(t.account, "%s: added", t.place)
		if s.Plan == "" {
			t.fail("%s: needs a plan", t.place)
		}
	} else if have != state {
		t.do(`UPDATE account_sections SET state = $3 WHERE account_id = $1 AND section_id = $2`, t.account, t.section, state)
		t.changed(t.account, "%s: %s", t.place, state)
	}
	if s.Plan != "" {
		t.plan(root, s.Plan)
	}
	if s.Amount != "" {
		t.amounts(root, t.place, Amounts{Allocation: &Allocation{Fixed: s.Amount}})
	}
	for _, f := range s.CreditsFactor {
		t.factor(f)
	}
	for _, m := range s.Models {
		t.model(&t.account, t.section, m)
	}
	t.below(root, s.Members, s.Organizations, s.Teams)
	if t.options.Prune {
		t.prune()
	}
}

func (t *treeApplier) plan(scope int64, key string) {
	var id, have int64
	if !t.get(`SELECT id FROM budget_plans WHERE key = $1 AND (account_id = $2 OR account_id IS NULL) ORDER BY account_id NULLS LAST LIMIT 1`, []any{key, t.account}, &id) {
		t.fail("%s: there is no plan %q", t.place, key)
		return
	}
	t.get(`SELECT plan_id FROM scope_plans WHERE account_id = $1 AND scope_id = $2 AND valid_to = 'infinity'`, []any{t.account, scope}, &have)
	if have == id {
		return
	}
	t.do(`UPDATE scope_plans SET valid_to = $3 WHERE account_id = $1 AND scope_id = $2 AND valid_to = 'infinity'`, t.account, scope, t.now)
	t.do(`INSERT INTO scope_plans (account_id, scope_id, plan_id, valid_from) VALUES ($1, $2, $3, $4)`, t.account, scope, id, t.now)
	t.changed(t.account, "%s: plan %s", t.place, key)
}

func (t *treeApplier) factor(f Factor) {
	place := fmt.Sprintf("%s: credits_factor from %s", t.place, f.From.UTC().Format(time.RFC3339))
	if t.err != nil {
		return
	}
	added, err := metering.Factor{Account: t.account, Section: t.section, Value: f.Value, From: f.From}.Add(t.ctx, t.tx, t.now, t.options.Correct)
	if err != nil {
		t.refused(place, err)
	}
	if added {
		t.changed(t.account, "%s: %s", place, f.Value)
	}
}

func (t *treeApplier) below(parent int64, members []Member, organizations []Organization, teams []Team) {
	t.members(parent, members)
	for _, o := range organizations {
		id := t.node(parent, "organization", o.Key, o.Aliases, o.Name, o.Amounts)
		t.below(id, o.Members, o.Organizations, o.Teams)
	}
	for _, team := range teams {
		id := t.node(parent, "team", team.Key, team.Aliases, team.Name, team.Amounts)
		t.members(id, team.Members)
	}
}

// node makes an organization or team stand below parent.
func (t *treeApplier) node(parent int64, kind, key string, aliases []string, name string, amounts Amounts) (id int64) {
	place := t.place + ": " + kind + " " + key
	c := called{account: t.account, section: t.section, kind: kind, key: key, aliases: aliases, place: place}
	name = orDefault(name, key)
	var have string
	find := func() bool {
		return t.get(`SELECT id, name FROM scopes WHERE account_id = $1 AND section_id = $2 AND kind = $3 AND key = $4`, []any{t.account, t.section, kind, key}, &id, &have)
	}
	found := find()
	if !found {
		t.renamed(c)
		found = find()
	}
	if !found {
		t.get(`INSERT INTO scopes (account_id, section_id, kind, key, name) VALUES ($1, $2, $3, $4, $5) RETURNING id`,
			[]any{t.account, t.section, kind, key, name}, &id)
		t.changed(t.account, "%s: added", place)
	} else if have != name {
		t.do(`UPDATE scopes SET name = $3, revision = revision + 1 WHERE account_id = $1 AND id = $2`, t.account, id, name)
		t.changed(t.account, "%s: name %q", place, name)
	}
	t.kept[id] = true
	t.also(id, c)
	if t.parent(id, parent) {
		t.do(`UPDATE scopes SET revision = revision + 1 WHERE account_id = $1 AND id = $2`, t.account, id)
		t.changed(t.account, "%s: stands below %d", place, parent)
	}
	t.amounts(id, place, amounts)
	return id
}

// parent links scope below parent from now on; false if it is already.
func (t *treeApplier) parent(scope, parent int64) bool {
	var have int64
	t.get(`SELECT parent_id FROM scope_parents WHERE account_id = $1 AND scope_id = $2 AND valid_to = 'infinity'`, []any{t.account, scope}, &have)
	if have == parent {
		return false
	}
	var circle bool
	t.get(`WITH RECURSIVE up AS (SELECT $2::bigint AS id UNION
			SELECT p.parent_id FROM up JOIN scope_parents p ON p.account_id = $1 AND p.scope_id = up.id AND p.valid_to = 'infinity')
		SELECT EXISTS (SELECT FROM up WHERE id = $3)`, []any{t.account, parent, scope}, &circle)
	if circle {
		t.fail("%s: scope %d can't stand below itself", t.place, scope)
	}
	t.do(`UPDATE scope_parents SET valid_to = $3 WHERE account_id = $1 AND scope_id = $2 AND valid_to = 'infinity'`, t.account, scope, t.now)
	t.do(`INSERT INTO scope_parents (account_id, section_id, scope_id, parent_id, valid_from) VALUES ($1, $2, $3, $4, $5)`,
		t.account, t.section, scope, parent, t.now)
	return true
}

func (t *treeApplier) members(parent int64, members []Member) {
	for _, m := range members {
		t.member(parent, m)
	}
}

func (t *treeApplier) member(parent int64, m Member) {
	place := t.place + ": member " + m.User
	user := t.users[m.User]
	var id int64
	if !t.get(`SELECT s.id FROM scopes s JOIN scope_parents p ON p.account_id = s.account_id AND p.scope_id = s.id AND p.valid_to = 'infinity'
		WHERE s.account_id = $1 AND s.section_id = $2 AND s.kind = 'membership' AND s.user_id = $3 AND p.parent_id = $4`,
		[]any{t.account, t.section, user, parent}, &id) {
		t.get(`INSERT INTO scopes (account_id, section_id, kind, user_id) VALUES ($1, $2, 'membership', $3) RETURNING id`, []any{t.account, t.section, user}, &id)
		t.parent(id, parent)
		t.changed(t.account, "%s: added below %d", place, parent)
	}
	t.kept[id] = true
	var primary int64
	has := t.get(`SELECT membership_id FROM primary_memberships WHERE account_id = $1 AND section_id = $2 AND user_id = $3 AND valid_to = 'infinity'`,
		[]any{t.account, t.section, user}, &primary)
	if !has || m.Primary && primary != id {
		t.do(`UPDATE primary_memberships SET valid_to = $4 WHERE account_id = $1 AND section_id = $2 AND user_id = $3 AND valid_to = 'infinity' AND valid_from < $4`,
			t.account, t.section, user, t.now)
		t.do(`INSERT INTO primary_memberships (account_id, section_id, user_id, membership_id, valid_from) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (account_id, section_id, user_id, valid_from) DO UPDATE SET membership_id = EXCLUDED.membership_id`,
			t.account, t.section, user, id, t.now)
		t.changed(t.account, "%s: primary below %d", place, parent)
	}
	t.amounts(id, place, m.Amounts)
}

// prune ends what the file does not name.
func (t *treeApplier) prune() {
	t.each(`SELECT p.scope_id, s.kind || ' ' || coalesce(s.key, '') FROM scope_parents p JOIN scopes s ON s.account_id = p.account_id AND s.id = p.scope_id
		WHERE p.account_id = $1 AND p.section_id = $2 AND p.valid_to = 'infinity'`, []any{t.account, t.section}, func(id int64, what string) {
		if !t.kept[id] {
			t.changed(t.account, "%s: %s %d: ended", t.place, what, id)
		}
	})
	kept := []int64{}
	for id := range t.kept {
		kept = append(kept, id)
	}
	t.do(`UPDATE scopes s SET revision = revision + 1 FROM scope_parents p WHERE s.account_id = $1 AND s.section_id = $2 AND s.id <> ALL($3) AND s.key IS NOT NULL
		AND p.account_id = s.account_id AND p.scope_id = s.id AND p.valid_to = 'infinity'`, t.account, t.section, kept)
	for _, table := range []string{"scope_parents", "primary_memberships"} {
		id := map[string]string{"scope_parents": "scope_id", "primary_memberships": "membership_id"}[table]
		t.do(`UPDATE `+table+` SET valid_to = $3 WHERE account_id = $1 AND section_id = $2 AND valid_to = 'infinity' AND `+id+` <> ALL($4)`,
			t.account, t.section, t.now, kept)
	}
	// Whose primary membership ended has another, or applying the same file again would choose one.
	t.do(`INSERT INTO primary_memberships (account_id, section_id, user_id, membership_id, valid_from)
		SELECT s.account_id, s.section_id, s.user_id, min(s.id), $3 FROM scopes s
		JOIN scope_parents p ON p.account_id = s.account_id AND p.scope_id = s.id AND p.valid_to = 'infinity'
		WHERE s.account_id = $1 AND s.section_id = $2 AND s.kind = 'membership' AND NOT EXISTS (SELECT FROM primary_memberships m
			WHERE m.account_id = s.account_id AND m.section_id = s.section_id AND m.user_id = s.user_id AND m.valid_to = 'infinity')
		GROUP BY 1, 2, 3`, t.account, t.section, t.now)
}
