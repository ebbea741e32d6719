package directory_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/directory"
	"github.com/alchemi/cockpit/deploy"
	"github.com/alchemi/cockpit/internal/testkit"
	"github.com/alchemi/cockpit/schemas/postgres"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"
)

func export(t *testing.T, pool *pgxpool.Pool, account string) (text string, notes []string) {
	t.Helper()
	f, notes, err := directory.Export(t.Context(), pool, account)
	if err != nil {
		t.Fatal(err)
	}
	written, err := f.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return string(written), notes
}

// applied parses and applies what an export wrote.
func applied(t *testing.T, pool *pgxpool.Pool, text string, o directory.Options) []string {
	t.Helper()
	f, err := directory.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	o.Author = "test"
	changes, err := directory.Apply(t.Context(), pool, f, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return changes
}

func TestTheDemoIsExportedWhole(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	text, notes := export(t, pool, "")
	if len(notes) != 0 {
		t.Errorf("notes of a database without a past: %q", notes)
	}
	for _, o := range []directory.Options{{}, {Prune: true}} {
		if changes := applied(t, pool, text, o); len(changes) != 0 {
			t.Errorf("%+v: applying the export changed %q", o, changes)
		}
	}
	empty := testkit.Pool(t, testkit.Database(t), postgres.RoleMetering)
	applied(t, empty, text, directory.Options{})
	if again, _ := export(t, empty, ""); again != text {
		t.Errorf("exported\n%s\nand from a database made of that\n%s", text, again)
	}
	if changes := applied(t, empty, string(deploy.Demo), directory.Options{Prune: true}); len(changes) != 0 {
		t.Errorf("the demo itself changes a database made of its export: %q", changes)
	}
	account, _ := export(t, pool, "globex")
	if strings.Contains(account, "acme") || strings.Contains(account, "sources") || !strings.Contains(account, "rockets") {
		t.Errorf("an account alone is\n%s", account)
	}
	if _, _, err := directory.Export(t.Context(), pool, "nobody"); err == nil {
		t.Error("an account that is not there was exported")
	}
}

// Whatever was applied, and changed after: the export changes nothing, and makes the same account of an empty one.
func TestAnExportIsNoChange(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	other, _ := demo(t)
	files := rapid.Custom(func(t *rapid.T) []directory.Account {
		return rapid.SliceOfN(rapid.Custom(randomAccount), 1, 3).Draw(t, "one after the other")
	})
	for seed := range 30 {
		key := fmt.Sprintf("made-%d", seed)
		for i, a := range files.Example(seed) {
			a.Key = key
			text, err := (&directory.File{Version: 1, Accounts: []directory.Account{a}}).YAML()
			if err != nil {
				t.Fatal(err)
			}
			applied(t, pool, string(text), directory.Options{Prune: i > 0 && seed%2 == 0})
		}
		text, notes := export(t, pool, key)
		for _, o := range []directory.Options{{}, {Prune: true}} {
			if changes := applied(t, pool, text, o); len(changes) != 0 {
				t.Fatalf("%+v: applying\n%s\nchanged %q", o, text, changes)
			}
		}
		applied(t, other, text, directory.Options{})
		if again, _ := export(t, other, key); again != text {
			t.Fatalf("exported\n%s\nand from an account made of that\n%s\nnotes %q", text, again, notes)
		}
	}
}

func randomAccount(t *rapid.T) directory.Account {
	a := directory.Account{Name: rapid.StringMatching(`[A-Za-z: #'"é-]{1,8}`).Draw(t, "name"), TimeZone: "Europe/Berlin", State: rapid.SampledFrom([]string{"", "suspended"}).Draw(t, "state"),
		Sections: map[string]directory.AccountSection{}}
	for _, u := range []string{"1", "null", "u-3"} {
		user := directory.User{Key: u, Name: u, State: rapid.SampledFrom([]string{"", "", "inactive"}).Draw(t, "state")}
		if rapid.Bool().Draw(t, "identity") {
			user.Identities = []directory.Identity{{Source: "zitadel", Value: "z" + u}}
		}
		a.Users = append(a.Users, user)
	}
	for _, section := range []string{"copilot", "console"} {
		if section == "console" && rapid.Bool().Draw(t, "one section") {
			continue
		}
		s := directory.AccountSection{Plan: rapid.SampledFrom([]string{"standard", "daily"}).Draw(t, "plan"), Amount: rapid.SampledFrom([]string{"1000", "1000.000001"}).Draw(t, "amount"),
			State: rapid.SampledFrom([]string{"", "off"}).Draw(t, "section's state")}
		primaries := map[string]bool{}
		s.Members = randomMembers(t, primaries)
		for _, o := range []string{"eng", "true"} {
			if rapid.Bool().Draw(t, "organization") {
				s.Organizations = append(s.Organizations, directory.Organization{Key: o, Amounts: randomAmounts(t, "100", "60"), Members: randomMembers(t, primaries),
					Teams: []directory.Team{{Key: o + "-team", Name: "Team", Amounts: randomAmounts(t, "20", "10"), Members: randomMembers(t, primaries)}}})
			}
		}
		a.Sections[section] = s
	}
	return a
}

func randomMembers(t *rapid.T, primaries map[string]bool) (members []directory.Member) {
	for _, u := range []string{"1", "null", "u-3"} {
		if rapid.IntRange(0, 2).Draw(t, "member") == 0 {
			m := directory.Member{User: u, Primary: !primaries[u] && rapid.Bool().Draw(t, "primary"), Amounts: randomAmounts(t, "0.5", "0.2")}
			primaries[u] = primaries[u] || m.Primary
			members = append(members, m)
		}
	}
	return members
}

func randomAmounts(t *rapid.T, fixed, over string) (a directory.Amounts) {
	switch rapid.IntRange(0, 3).Draw(t, "allocation") {
	case 0:
		a.Allocation = &directory.Allocation{Fixed: fixed}
	case 1:
		a.Allocation = &directory.Allocation{Equal: true}
	}
	if rapid.Bool().Draw(t, "cap") {
		a.Cap = rapid.SampledFrom([]string{"300", "400.25"}).Draw(t, "cap's")
	}
	if rapid.IntRange(0, 3).Draw(t, "override") == 0 {
		a.Override = &directory.Override{Amount: over, Reason: rapid.SampledFrom([]string{"launch", "- no"}).Draw(t, "reason")}
		if rapid.Bool().Draw(t, "expires") {
			a.Override.Until = time.Date(2099, 1, 1, 0, 0, 0, 1000, time.UTC)
		}
	}
	return a
}

// What a file can't say is said.
func TestAnExportNamesWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	moved := strings.Replace(string(deploy.Demo), `{fixed: "5000"}`, `{fixed: "4000"}`, 1)
	apply(t, pool, parse(t, strings.Replace(moved, "- {user: u-6, primary: true}", "", 1)), directory.Options{Prune: true})
	for _, sql := range []string{
		`INSERT INTO overrides (account_id, scope_id, kind, amount, reason, author, valid_from) SELECT account_id, id, 'cap', 5000000, 'a higher cap', 'x', now() FROM scopes WHERE key = 'sales'`,
		`INSERT INTO overrides (account_id, scope_id, kind, amount, reason, author, valid_from) SELECT account_id, id, 'allocation', 6000000, 'from next year', 'x', now() + interval '1 year' FROM scopes WHERE key = 'sales'`,
		`INSERT INTO caps (account_id, scope_id, amount, valid_from, author) SELECT account_id, root_scope_id, 7, now(), 'x' FROM account_sections`,
		`INSERT INTO credits_factors (section_id, value, valid_from) SELECT id, 90, now() + interval '1 day' FROM sections WHERE key = 'copilot'`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	text, notes := export(t, pool, "")
	if changes := applied(t, pool, text, directory.Options{}); len(changes) != 0 {
		t.Errorf("applying the export changed %q", changes)
	}
	for _, want := range []string{"account acme: not in the file, which says what holds now: 1 places and memberships that ended, 1 primary memberships that ended, 1 earlier allocations",
		"5 (a higher cap)", "6 (from next year)", "section copilot: the account's own equal share, cap or override", "platform: not in the file, which says what holds now: 1 credits factors of sections"} {
		if !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, want) }) {
			t.Errorf("nothing is said of %q: %q", want, notes)
		}
	}
}

// Pruning ends what the file leaves out of the accounts that it names, and nothing of others; again is no change.
func TestPrune(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	text := `{version: 1, accounts: [{key: acme, name: Acme, time_zone: Europe/Berlin, users: [{key: u-1, name: Ada Lovelace, email: ada@acme.example}, {key: u-42, name: Grace Hopper, email: grace@acme.example}],
		sections: {copilot: {teams: [{key: sales, members: [{user: u-1}]}], organizations: [{key: eng, name: Engineering, teams: [{key: support, name: Support, members: [{user: u-42, allocation: {fixed: "10"}}]}]}]}}}]}`
	globex, _ := export(t, pool, "globex")
	if changes := applied(t, pool, text, directory.Options{}); slices.ContainsFunc(changes, func(c string) bool { return strings.Contains(c, "ended") || strings.Contains(c, "off") }) {
		t.Errorf("without pruning %q", changes)
	}
	changes := strings.Join(applied(t, pool, text, directory.Options{Prune: true}), "\n")
	for _, want := range []string{"user u-3: inactive", "section console: off", "identity 2801 of zitadel: ended", "override ended", "organization research", "allocation none", "cap none"} {
		if !strings.Contains(changes, want) {
			t.Errorf("%q is not among\n%s", want, changes)
		}
	}
	if again := applied(t, pool, text, directory.Options{Prune: true}); len(again) != 0 {
		t.Errorf("again %q", again)
	}
	if after, _ := export(t, pool, "globex"); after != globex {
		t.Errorf("another account was\n%s\nand is\n%s", globex, after)
	}
	// u-1's primary membership was in a team that has ended: the one in sales is it now.
	if acme, _ := export(t, pool, "acme"); !strings.Contains(acme, "- user: u-1\n                primary: true") {
		t.Errorf("u-1 has no primary membership:\n%s", acme)
	}
}

// A plan may have no thresholds.
func TestAPlanWithoutThresholds(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	text := `{version: 1, plans: [{key: quiet, cycle: never, anchor: 2026-01-01, enforcement: notify}]}`
	if changes := applied(t, pool, text, directory.Options{}); len(changes) != 1 {
		t.Fatalf("%q", changes)
	}
	if again := applied(t, pool, text, directory.Options{}); len(again) != 0 {
		t.Fatalf("again %q", again)
	}
}

// Keys that things had before are in the file: where it is applied they are aliases, too, and what still has such a key gets
// the new one. A file from before the rename is refused.
func TestAliasesAreExported(t *testing.T) {
	t.Parallel()
	pool, _ := demo(t)
	before, _ := export(t, pool, "acme")
	after := strings.ReplaceAll(before, "user: u-42", "user: grace")
	for old, key := range map[string]string{"u-42": "grace", "support": "care", "eng": "engineering"} {
		after = regexp.MustCompile(`(?m)^( *)- key: `+old+`$`).ReplaceAllString(after, "$1- key: "+key+"\n$1  aliases: ["+old+"]")
	}
	if changes := applied(t, pool, after, directory.Options{}); len(changes) != 3 {
		t.Errorf("%q", changes)
	}
	text, _ := export(t, pool, "acme")
	if changes := applied(t, pool, text, directory.Options{Prune: true}); len(changes) != 0 {
		t.Errorf("the export changed %q", changes)
	}
	f, err := directory.Parse([]byte(before))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := directory.Apply(t.Context(), pool, f, directory.Options{Author: "test"}); err == nil || !strings.Contains(err.Error(), "is called grace by now") {
		t.Errorf("the file from before: %v", err)
	}
	empty := testkit.Pool(t, testkit.Database(t), postgres.RoleMetering)
	whole, _ := export(t, pool, "")
	applied(t, empty, whole, directory.Options{})
	if again, _ := export(t, empty, ""); again != whole {
		t.Errorf("exported again:\n%s", again)
	}
	if _, err := directory.Parse([]byte(regexp.MustCompile(`(aliases:\s+- )u-42`).ReplaceAllString(text, "${1}u-1"))); err == nil || !strings.Contains(err.Error(), "is there twice") {
		t.Errorf("an alias that is a key: %v", err)
	}
}
