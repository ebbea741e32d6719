package directory

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/credit"
	"github.com/alchemi/cockpit/metering/price"
	"golang.org/x/text/unicode/norm"
)

// checker collects mistakes with their places.
type checker struct{ errs []error }

func (c *checker) fail(place, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(place+": "+format, args...))
}

func (c *checker) key(place, key string) {
	if key == "" || len(key) > 256 || !norm.NFC.IsNormalString(key) {
		c.fail(place, "a key is 1 to 256 bytes in Unicode form NFC, not %q", key)
	}
}

func (c *checker) oneOf(place, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.fail(place, "%q is not one of %q", value, allowed)
	}
}

func (c *checker) amount(place, value string) {
	if a, err := credit.Parse(value); err != nil {
		c.fail(place, "%w", err)
	} else if a < 0 {
		c.fail(place, "%s is below zero", value)
	}
}

func (c *checker) once(place string, seen map[string]bool, key string) {
	if seen[key] {
		c.fail(place, "is there twice")
	}
	seen[key] = true
}

func (f *File) validate() error {
	c := &checker{}
	if f.Version != 1 {
		c.fail("version", "must be 1, not %d", f.Version)
	}
	for _, s := range f.Sections {
		c.key("sections", s.Key)
		c.oneOf("section "+s.Key+": unit", s.Unit, "credits", "usd")
		c.oneOf("section "+s.Key+": models", s.Models, "platform", "account")
	}
	for _, s := range f.Sources {
		c.key("sources", s.Key)
		c.oneOf("source "+s.Key+": mode", s.Mode, "meter", "observe")
		if len(s.Sections) == 0 {
			c.fail("source "+s.Key, "has no sections")
		}
	}
	for _, m := range f.Models {
		c.model(m)
		c.key("model "+m.Key+": section", m.Section)
	}
	for _, p := range f.Plans {
		c.plan(p)
	}
	seen := map[string]bool{}
	for _, a := range f.Accounts {
		c.once("account "+a.Key, seen, a.Key)
		c.account(a)
	}
	return errors.Join(c.errs...)
}

func (c *checker) model(m Model) {
	place := "model " + m.Key
	c.key(place, m.Key)
	c.key(place+": provider", m.Provider)
	c.oneOf(place+": policy", m.Policy, "", "listed", "reported")
	seen := map[string]bool{}
	for _, p := range m.Prices {
		if p.From.IsZero() {
			c.fail(place, "a price has no from")
		}
		c.once(fmt.Sprintf("%s: the price from %s", place, p.From.Format(time.RFC3339)), seen, p.From.String())
		if _, err := price.Compile(p.Quantities); err != nil {
			c.fail(place, "%w", err)
		}
	}
}

func (c *checker) plan(p Plan) {
	place := "plan " + p.Key
	c.key(place, p.Key)
	if err := (allocation.Calendar{Period: allocation.Period(p.Cycle), Days: p.EveryDays}).Validate(); err != nil {
		c.fail(place, "%w", err)
	}
	if _, err := time.Parse(time.DateOnly, p.Anchor); err != nil {
		c.fail(place, "anchor is a date like 2026-01-01, not %q", p.Anchor)
	}
	if p.TimeZone != "" {
		c.zone(place, p.TimeZone)
	}
	c.oneOf(place+": enforcement", p.Enforcement, "stop", "notify")
	c.oneOf(place+": rollover", p.Rollover, "", "none", "unused")
	if !slices.IsSorted(p.Thresholds) || len(p.Thresholds) > 0 && p.Thresholds[0] < 1 {
		c.fail(place, "thresholds are percents from 1 on, ascending, not %d", p.Thresholds)
	}
}

func (c *checker) zone(place, name string) {
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		c.fail(place, "time_zone %q is not known", name)
	}
}

func (c *checker) account(a Account) {
	place := "account " + a.Key
	c.key(place, a.Key)
	c.zone(place, a.TimeZone)
	c.oneOf(place+": state", a.State, "", "active", "suspended", "closed")
	users, named := map[string]bool{}, map[string]bool{}
	for _, u := range a.Users {
		c.key(place+": user "+u.Key, u.Key)
		c.once(place+": user "+u.Key, named, u.Key)
		users[u.Key] = true
		for _, alias := range u.Aliases {
			c.key(place+": user "+u.Key+": alias", alias)
			c.once(place+": user "+u.Key+": alias "+alias, named, alias)
		}
		c.oneOf(place+": user "+u.Key+": state", u.State, "", "active", "inactive")
		for _, id := range u.Identities {
			c.key(place+": user "+u.Key+": identity's source", id.Source)
			c.key(place+": user "+u.Key+": identity", id.Value)
		}
	}
	for key, s := range a.Sections {
		place := place + ": section " + key
		if s.Amount != "" {
			c.amount(place+": amount", s.Amount)
		}
		c.oneOf(place+": state", s.State, "", "on", "off")
		for _, f := range s.CreditsFactor {
			if _, err := price.ParseFactor(f.Value); err != nil || f.From.IsZero() {
				c.fail(place, "credits_factor %q from %v: a positive decimal with at most 12 places, and a time", f.Value, f.From)
			}
		}
		for _, m := range s.Models {
			c.model(m)
		}
		t := treeChecker{checker: c, place: place, users: users, seen: map[string]bool{}, primaries: map[string]bool{}}
		t.below(s.Members, s.Organizations, s.Teams)
	}
}

// treeChecker checks one section's tree.
type treeChecker struct {
	*checker
	place     string
	users     map[string]bool
	seen      map[string]bool // "team key", "organization key"
	primaries map[string]bool
}

func (c *treeChecker) below(members []Member, organizations []Organization, teams []Team) {
	c.members(members)
	for _, o := range organizations {
		c.node("organization", o.Key, o.Aliases, o.Amounts)
		c.below(o.Members, o.Organizations, o.Teams)
	}
	for _, t := range teams {
		c.node("team", t.Key, t.Aliases, t.Amounts)
		c.members(t.Members)
	}
}

func (c *treeChecker) node(kind, key string, aliases []string, a Amounts) {
	place := c.place + ": " + kind + " " + key
	c.key(place, key)
	c.once(place, c.seen, kind+" "+key)
	for _, alias := range aliases {
		c.key(place+": alias", alias)
		c.once(place+": alias "+alias, c.seen, kind+" "+alias)
	}
	c.amounts(place, a)
}

func (c *treeChecker) members(members []Member) {
	seen := map[string]bool{}
	for _, m := range members {
		place := c.place + ": member " + m.User
		if !c.users[m.User] {
			c.fail(place, "is no user of the account in this file")
		}
		c.once(place, seen, m.User)
		if m.Primary {
			c.once(place+": its primary membership", c.primaries, m.User)
		}
		c.amounts(place, m.Amounts)
	}
}

func (c *treeChecker) amounts(place string, a Amounts) {
	if a.Allocation != nil {
		if a.Allocation.Equal == (a.Allocation.Fixed != "") {
			c.fail(place, "an allocation is either fixed or equal")
		} else if a.Allocation.Fixed != "" {
			c.amount(place+": allocation", a.Allocation.Fixed)
		}
	}
	if a.Cap != "" {
		c.amount(place+": cap", a.Cap)
	}
	if a.Override != nil {
		c.amount(place+": override", a.Override.Amount)
		if a.Override.Reason == "" {
			c.fail(place, "an override needs a reason")
		}
	}
}
