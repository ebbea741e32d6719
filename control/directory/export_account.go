package directory

import (
	"fmt"
	"strings"
	"time"

	"github.com/alchemi/cockpit/metering/credit"
)

// notOf leaves out a state that is what a file means when it says nothing.
func notOf(usual, s string) string {
	if s == usual {
		return ""
	}
	return s
}

func (e *exporter) accounts(f *File, only string) {
	type row struct {
		ID                     int64
		Key, Name, Zone, State string
	}
	for _, a := range collect[row](e, `SELECT account_id, key, name, time_zone, state FROM accounts WHERE $1 = '' OR key = $1 ORDER BY key`, only) {
		account := Account{Key: a.Key, Name: a.Name, TimeZone: a.Zone, State: notOf("active", a.State), Sections: map[string]AccountSection{}}
		e.users(&account, a.ID)
		e.sections(&account, a.ID)
		e.before(a.ID, "account "+a.Key)
		f.Accounts = append(f.Accounts, account)
	}
}

// before notes what an account had.
func (e *exporter) before(account int64, place string) {
	e.history(place, `SELECT 'ended identities', count(*) FROM user_identities WHERE account_id = $1 AND valid_to <> 'infinity'
		UNION ALL SELECT 'places and memberships that ended', count(*) FROM scope_parents WHERE account_id = $1 AND valid_to <> 'infinity'
		UNION ALL SELECT 'primary memberships that ended', count(*) FROM primary_memberships WHERE account_id = $1 AND valid_to <> 'infinity'
		UNION ALL SELECT 'plans that ended', count(*) FROM scope_plans WHERE account_id = $1 AND valid_to <> 'infinity'
		UNION ALL SELECT 'earlier allocations', count(*) - count(DISTINCT scope_id) FROM allocations WHERE account_id = $1
		UNION ALL SELECT 'earlier caps', count(*) - count(DISTINCT scope_id) FROM caps WHERE account_id = $1
		UNION ALL SELECT 'expired overrides', count(*) FROM overrides WHERE account_id = $1 AND valid_until <= now()
		UNION ALL SELECT 'earlier terms of models', count(*) - count(DISTINCT model_id) FROM model_terms WHERE account_id = $1`, account)
	e.history(place, `SELECT 'budget plans of its own', count(*) FROM budget_plans WHERE account_id = $1
		UNION ALL SELECT 'plans below the root', count(*) FROM scope_plans p JOIN scopes s ON s.account_id = p.account_id AND s.id = p.scope_id
			WHERE p.account_id = $1 AND p.valid_to = 'infinity' AND s.kind <> 'account'`, account)
}

func (e *exporter) users(a *Account, id int64) {
	type row struct {
		ID                      int64
		Key, Name, Email, State string
	}
	aliases := e.aliases(id)
	for _, u := range collect[row](e, `SELECT id, key, name, coalesce(email, ''), state FROM users WHERE account_id = $1 ORDER BY key`, id) {
		a.Users = append(a.Users, User{Key: u.Key, Aliases: aliases[-u.ID], Name: u.Name, Email: u.Email, State: notOf("active", u.State),
			Identities: collect[Identity](e, `SELECT source, value FROM user_identities WHERE account_id = $1 AND user_id = $2 AND valid_to = 'infinity' ORDER BY source, value`, id, u.ID)})
	}
}

func (e *exporter) sections(a *Account, account int64) {
	type row struct {
		Section, Root    int64
		Key, State, Plan string
		Hidden           bool // the plan is not the one that its key means to apply
	}
	for _, s := range collect[row](e, `SELECT s.section_id, s.root_scope_id, x.key, s.state, coalesce(p.key, ''),
			p.account_id IS NULL AND EXISTS (SELECT FROM budget_plans o WHERE o.account_id = s.account_id AND o.key = p.key)
			FROM account_sections s JOIN sections x ON x.id = s.section_id
			LEFT JOIN scope_plans sp ON sp.account_id = s.account_id AND sp.scope_id = s.root_scope_id AND sp.valid_to = 'infinity'
			LEFT JOIN budget_plans p ON p.id = sp.plan_id WHERE s.account_id = $1`, account) {
		t := &treeExporter{exporter: e, account: account, section: s.Section, place: "account " + a.Key + ": section " + s.Key}
		out := AccountSection{Plan: s.Plan, State: notOf("on", s.State)}
		if s.Hidden {
			t.note("%s: the platform's plan %s is hidden by the account's own of that key", t.place, s.Plan)
			out.Plan = ""
		}
		for _, f := range collect[Factor](e, `SELECT valid_from, trim_scale(value)::text FROM credits_factors WHERE account_id = $1 AND section_id = $2 ORDER BY valid_from`, account, s.Section) {
			out.CreditsFactor = append(out.CreditsFactor, Factor{From: f.From.UTC(), Value: f.Value})
		}
		out.Models = e.models(`m.account_id = $1 AND m.section_id = $2`, account, s.Section)
		for i := range out.Models {
			out.Models[i].Section = ""
		}
		t.load()
		t.root(s.Root, &out)
		out.Members, out.Organizations, out.Teams = t.below(s.Root)
		t.strays()
		a.Sections[s.Key] = out
	}
}

// treeExporter reads one section's tree.
type treeExporter struct {
	*exporter
	account, section int64
	place            string
	children         map[int64][]node
	amounts          map[int64]Amounts
	called           map[int64][]string // aliases
}

type node struct {
	ID, Parent            int64
	Kind, Key, Name, User string
	Primary               bool
}

func (n *node) String() string {
	return strings.TrimSpace(n.Kind + " " + n.Key + n.User)
}

func (t *treeExporter) load() {
	t.children, t.amounts, t.called = map[int64][]node{}, map[int64]Amounts{}, t.aliases(t.account)
	for _, n := range collect[node](t.exporter, `SELECT s.id, p.parent_id, s.kind, coalesce(s.key, ''), coalesce(s.name, ''), coalesce(u.key, ''), m.membership_id IS NOT NULL
			FROM scope_parents p JOIN scopes s ON s.account_id = p.account_id AND s.id = p.scope_id LEFT JOIN users u ON u.account_id = s.account_id AND u.id = s.user_id
			LEFT JOIN primary_memberships m ON m.account_id = s.account_id AND m.membership_id = s.id AND m.valid_to = 'infinity'
			WHERE p.account_id = $1 AND p.section_id = $2 AND p.valid_to = 'infinity' ORDER BY s.key, u.key`, t.account, t.section) {
		t.children[n.Parent] = append(t.children[n.Parent], n)
	}
	type allocated struct {
		Scope  int64
		Kind   string
		Amount *int64
	}
	for _, a := range collect[allocated](t.exporter, `SELECT DISTINCT ON (x.scope_id) x.scope_id, x.kind, x.amount FROM allocations x
			JOIN scopes s ON s.account_id = x.account_id AND s.id = x.scope_id WHERE x.account_id = $1 AND s.section_id = $2 ORDER BY x.scope_id, x.id DESC`, t.account, t.section) {
		if a.Kind != "none" {
			allocation := &Allocation{Equal: a.Kind == "equal"}
			if a.Amount != nil {
				allocation.Fixed = decimal(*a.Amount)
			}
			t.amounts[a.Scope] = Amounts{Allocation: allocation}
		}
	}
	type capped struct {
		Scope  int64
		Amount *int64
	}
	for _, c := range collect[capped](t.exporter, `SELECT DISTINCT ON (x.scope_id) x.scope_id, x.amount FROM caps x
			JOIN scopes s ON s.account_id = x.account_id AND s.id = x.scope_id WHERE x.account_id = $1 AND s.section_id = $2 ORDER BY x.scope_id, x.id DESC`, t.account, t.section) {
		if c.Amount != nil {
			a := t.amounts[c.Scope]
			a.Cap = decimal(*c.Amount)
			t.amounts[c.Scope] = a
		}
	}
	t.overrides()
}

// overrides keeps the one of each scope that counts now: the last. A file can't say when one begins, nor override a cap.
func (t *treeExporter) overrides() {
	type row struct {
		Scope, Amount int64
		Kind, Reason  string
		Until         *time.Time // nil: it never expires
		Begun         bool
	}
	for _, o := range collect[row](t.exporter, `SELECT o.scope_id, o.amount, o.kind, o.reason, CASE WHEN isfinite(o.valid_until) THEN o.valid_until END, o.valid_from <= now()
			FROM overrides o JOIN scopes s ON s.account_id = o.account_id AND s.id = o.scope_id
			WHERE o.account_id = $1 AND s.section_id = $2 AND o.valid_until > now() ORDER BY o.id DESC`, t.account, t.section) {
		a := t.amounts[o.Scope]
		switch {
		case o.Kind != "allocation":
			t.note("%s: an override of a cap, %s (%s), is not in the file", t.place, decimal(o.Amount), o.Reason)
		case !o.Begun || a.Override != nil:
			t.note("%s: an override that another goes before, or that has not begun, %s (%s), is not in the file", t.place, decimal(o.Amount), o.Reason)
		default:
			a.Override = &Override{Amount: decimal(o.Amount), Reason: o.Reason}
			if o.Until != nil {
				a.Override.Until = o.Until.UTC()
			}
			t.amounts[o.Scope] = a
		}
	}
}

// decimal is an amount as people write it.
func decimal(micros int64) string {
	text := credit.Amount(micros).String()
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// root takes what a file can say of the account's scope: a fixed amount.
func (t *treeExporter) root(id int64, out *AccountSection) {
	a := t.amounts[id]
	if a.Allocation != nil {
		out.Amount = a.Allocation.Fixed
	}
	if a.Allocation != nil && a.Allocation.Equal || a.Cap != "" || a.Override != nil {
		t.note("%s: the account's own equal share, cap or override is not in the file", t.place)
	}
	delete(t.amounts, id)
}

func (t *treeExporter) below(parent int64) (members []Member, organizations []Organization, teams []Team) {
	children := t.children[parent]
	delete(t.children, parent)
	for _, n := range children {
		amounts := t.amounts[n.ID]
		delete(t.amounts, n.ID)
		switch n.Kind {
		case "membership":
			members = append(members, Member{User: n.User, Primary: n.Primary, Amounts: amounts})
		case "organization":
			o := Organization{Key: n.Key, Aliases: t.called[n.ID], Name: notOf(n.Key, n.Name), Amounts: amounts}
			o.Members, o.Organizations, o.Teams = t.below(n.ID)
			organizations = append(organizations, o)
		case "team":
			team := Team{Key: n.Key, Aliases: t.called[n.ID], Name: notOf(n.Key, n.Name), Amounts: amounts}
			team.Members, _, _ = t.below(n.ID)
			teams = append(teams, team)
		default:
			panic(fmt.Sprintf("BUG: a scope of kind %s stands below another", n.Kind))
		}
	}
	return members, organizations, teams
}

// strays notes what stands below nothing that stands, and amounts of what stands nowhere.
func (t *treeExporter) strays() {
	for _, children := range t.children {
		for _, n := range children {
			t.note("%s: %s %d stands below what has ended, and is not in the file", t.place, &n, n.ID)
			delete(t.amounts, n.ID)
		}
	}
	if len(t.amounts) > 0 {
		t.note("%s: allocations, caps or overrides of %d scopes that stand nowhere, or of users, are not in the file", t.place, len(t.amounts))
	}
}
