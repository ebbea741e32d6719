package access_test

import (
	"slices"
	"testing"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"pgregory.net/rapid"
)

const (
	acme, other      = 1, 2
	copilot, console = 10, 11
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func person(grants ...access.Grant) *access.Principal {
	return &access.Principal{Kind: access.Person, ID: 7, Grants: grants}
}

func TestMay(t *testing.T) {
	t.Parallel()
	admin := person(access.Grant{Role: access.AccountAdmin, Account: acme})
	viewer := person(access.Grant{Role: access.AccountViewer, Account: acme})
	section := person(access.Grant{Role: access.SectionAdmin, Account: acme, Section: copilot})
	super := person(access.Grant{Role: access.SuperAdmin})
	elevated := person(access.Grant{Role: access.SuperAdmin})
	elevated.Elevations = []access.Elevation{{Account: acme, Until: now.Add(time.Minute)}, {Account: other, Until: now}}
	client := person(access.Grant{Role: access.AccountAdmin, Account: acme})
	client.Client = &access.Client{Key: "web", Permissions: []access.Permission{access.SectionRead, access.AccountRead}, Sections: []int64{copilot}}
	for _, c := range []struct {
		name       string
		who        *access.Principal
		permission access.Permission
		account    int64
		section    int64
		want       access.Verdict
	}{
		{"nobody", &access.Principal{}, access.SelfRead, 0, 0, access.Forbidden},
		{"an end user, of himself", person(), access.SelfRead, 0, 0, access.Allowed},
		{"an end user, of an account", person(), access.AccountRead, acme, 0, access.Forbidden},
		{"an admin, own", admin, access.AccountWrite, acme, 0, access.Allowed},
		{"an admin, own section", admin, access.SectionWrite, acme, console, access.Allowed},
		{"an admin, foreign", admin, access.AccountRead, other, 0, access.Absent},
		{"an admin, foreign section", admin, access.SectionRead, other, copilot, access.Absent},
		{"an admin, the platform", admin, access.PlatformRead, 0, 0, access.Forbidden},
		{"a viewer reads", viewer, access.SectionRead, acme, console, access.Allowed},
		{"a viewer writes", viewer, access.SectionWrite, acme, console, access.Forbidden},
		{"a section admin, his section", section, access.SectionWrite, acme, copilot, access.Allowed},
		{"a section admin, another section", section, access.SectionRead, acme, console, access.Absent},
		{"a section admin reads the account", section, access.AccountRead, acme, 0, access.Allowed},
		{"a section admin, keys", section, access.KeysRead, acme, 0, access.Forbidden},
		{"a super admin views", super, access.SectionRead, acme, copilot, access.Allowed},
		{"a super admin writes without elevation", super, access.AccountWrite, acme, 0, access.Forbidden},
		{"a super admin writes, elevated", elevated, access.AccountWrite, acme, 0, access.Allowed},
		{"a super admin writes, elevated until now", elevated, access.AccountWrite, other, 0, access.Forbidden},
		{"a super admin, the platform", super, access.AccountsManage, 0, 0, access.Allowed},
		{"a client within what it is registered for", client, access.SectionRead, acme, copilot, access.Allowed},
		{"a client's other section", client, access.SectionRead, acme, console, access.Absent},
		{"a client's other permission", client, access.AccountWrite, acme, 0, access.Forbidden},
		{"a client does not widen the person", client, access.AccountRead, other, 0, access.Absent},
	} {
		if d := c.who.May(c.permission, c.account, c.section, now); d.Verdict != c.want {
			t.Errorf("%s: %d (%s), want %d", c.name, d.Verdict, d.Reason, c.want)
		}
	}
}

func TestEffective(t *testing.T) {
	t.Parallel()
	accounts := map[string]int64{"org-acme": acme, "org-other": other}
	for _, c := range []struct {
		name        string
		claims      access.Claims
		assignments []access.Assignment
		want        []access.Grant
	}{
		{"nothing", nil, nil, nil},
		{"super admin under the platform", access.Claims{access.SuperAdmin: {"org-platform"}}, nil, []access.Grant{{Role: access.SuperAdmin}}},
		{"super admin under an account's organization", access.Claims{access.SuperAdmin: {"org-acme"}}, nil, nil},
		{"admin", access.Claims{access.AccountAdmin: {"org-acme"}}, nil, []access.Grant{{Role: access.AccountAdmin, Account: acme}}},
		{"admin of an organization that is no account", access.Claims{access.AccountAdmin: {"org-nowhere", "org-platform"}}, nil, nil},
		{"admin, narrowed to a section", access.Claims{access.AccountAdmin: {"org-acme"}}, []access.Assignment{{access.SectionAdmin, acme, copilot}},
			[]access.Grant{{access.SectionAdmin, acme, copilot}}},
		{"admin of two, one narrowed", access.Claims{access.AccountAdmin: {"org-acme", "org-other"}}, []access.Assignment{{access.AccountViewer, acme, 0}},
			[]access.Grant{{access.AccountViewer, acme, 0}, {access.AccountAdmin, other, 0}}},
		{"an assignment as admin without the issuer's word", nil, []access.Assignment{{access.AccountAdmin, acme, 0}}, nil},
		{"an assignment as super admin", access.Claims{access.AccountAdmin: {"org-acme"}}, []access.Assignment{{access.SuperAdmin, other, 0}},
			[]access.Grant{{Role: access.AccountAdmin, Account: acme}}},
		{"a viewer by assignment alone", nil, []access.Assignment{{access.AccountViewer, other, 0}}, []access.Grant{{access.AccountViewer, other, 0}}},
	} {
		if got := access.Effective(c.claims, c.assignments, accounts, "org-platform"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := access.Effective(access.Claims{access.SuperAdmin: {""}}, nil, accounts, ""); got != nil {
		t.Errorf("no platform organization: %v", got)
	}
}

// Whatever the issuer and the assignments say, nobody gets more than the issuer's admin has, nor reaches another account.
func TestAssignmentsNeverWiden(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		roles := []access.Role{access.SuperAdmin, access.AccountAdmin, access.AccountViewer, access.SectionAdmin, access.Product}
		assignments := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) access.Assignment {
			return access.Assignment{Role: rapid.SampledFrom(roles).Draw(t, "role"), Account: acme, Section: rapid.SampledFrom([]int64{0, copilot}).Draw(t, "section")}
		}), 0, 4).Draw(t, "assignments")
		claims := access.Claims{}
		admin := rapid.Bool().Draw(t, "admin")
		if admin {
			claims[access.AccountAdmin] = []string{"org-acme"}
		}
		p := person(access.Effective(claims, assignments, map[string]int64{"org-acme": acme}, "org-platform")...)
		for _, permission := range access.All() {
			level, _ := permission.Known()
			if level == access.Own {
				continue
			}
			if level == access.Platform && p.May(permission, 0, 0, now).Verdict == access.Allowed {
				t.Fatalf("%s of the platform, by %v", permission, assignments)
			}
			if p.May(permission, other, console, now).Verdict == access.Allowed {
				t.Fatalf("%s in another account, by %v", permission, assignments)
			}
			if !admin && !permission.Reads() && level == access.Account && p.May(permission, acme, 0, now).Verdict == access.Allowed {
				t.Fatalf("%s without the issuer's word, by %v", permission, assignments)
			}
		}
	})
}

func TestEveryPermissionIsSomeones(t *testing.T) {
	t.Parallel()
	had := map[access.Permission]bool{access.SelfRead: true, access.SelfWrite: true}
	for _, r := range []access.Role{access.SuperAdmin, access.AccountAdmin, access.AccountViewer, access.SectionAdmin, access.Product} {
		for _, p := range access.Of(r) {
			if _, known := p.Known(); !known {
				t.Errorf("%s has %s, which is no permission", r, p)
			}
			had[p] = true
		}
	}
	for _, p := range access.All() {
		if !had[p] {
			t.Errorf("nobody has %s", p)
		}
	}
}

// The sections in which somebody has a permission are those of the grants that give it, within what the client is registered for.
func TestSections(t *testing.T) {
	t.Parallel()
	const acme, copilot, console = 1, 11, 12
	for _, c := range []struct {
		grants []access.Grant
		client []int64
		want   []int64
		all    bool
	}{
		{nil, nil, nil, false},
		{[]access.Grant{{Role: access.SuperAdmin}}, nil, nil, true},
		{[]access.Grant{{Role: access.AccountViewer, Account: acme}}, nil, nil, true},
		{[]access.Grant{{Role: access.AccountAdmin, Account: 2}}, nil, nil, false},
		{[]access.Grant{{Role: access.Product, Account: acme}}, nil, nil, false},
		{[]access.Grant{{Role: access.SectionAdmin, Account: acme, Section: copilot}, {Role: access.SectionAdmin, Account: 2, Section: console}}, nil, []int64{copilot}, false},
		{[]access.Grant{{Role: access.SectionAdmin, Account: acme, Section: copilot}, {Role: access.AccountAdmin, Account: acme}}, nil, nil, true},
		{[]access.Grant{{Role: access.AccountAdmin, Account: acme}}, []int64{console}, []int64{console}, false},
		{[]access.Grant{{Role: access.SectionAdmin, Account: acme, Section: copilot}}, []int64{console}, []int64{}, false},
	} {
		p := access.Principal{Kind: access.Person, Grants: c.grants}
		if c.client != nil {
			p.Client = &access.Client{Sections: c.client}
		}
		got, all := p.Sections(access.AuditRead, acme)
		if all != c.all || !all && !slices.Equal(got, c.want) {
			t.Errorf("%v through %v: %v, all %v", c.grants, c.client, got, all)
		}
	}
}
