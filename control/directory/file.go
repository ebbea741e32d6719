package directory

import (
	"bytes"
	"fmt"
	"time"

	"github.com/alchemi/cockpit/metering/price"
	"github.com/goccy/go-yaml"
)

// File is what apply reads.
type File struct {
	Version  int
	Sections []Section
	Sources  []Source
	Models   []Model
	Plans    []Plan
	Accounts []Account
}

// Section is a line of products.
type Section struct {
	Key    string
	Unit   string // credits or usd
	Models string // who owns them: platform or account
}

// Source is a program that emits events.
type Source struct {
	Key      string
	Sections []string
	Accounts Accounts
	Mode     string // meter or observe
}

// Accounts is a list of keys, or the word all.
type Accounts struct {
	All  bool
	Keys []string
}

// UnmarshalYAML reads either form.
func (a *Accounts) UnmarshalYAML(text []byte) error {
	if string(bytes.Trim(bytes.TrimSpace(text), `"'`)) == "all" {
		a.All = true
		return nil
	}
	return yaml.Unmarshal(text, &a.Keys)
}

// Model is a model with its prices.
type Model struct {
	Key      string
	Section  string // of the platform's; an account's own stand below their section
	Provider string
	Free     bool
	Policy   string // listed (default) or reported
	Prices   []Price
}

// Price holds from a time on.
type Price struct {
	From       time.Time
	Quantities map[string]price.Item
}

// Plan is a budget plan.
type Plan struct {
	Key         string
	Cycle       string
	EveryDays   int `yaml:"every_days"`
	Anchor      string
	TimeZone    string `yaml:"time_zone"`
	Enforcement string
	Thresholds  []int
	Rollover    string
}

// Account is a tenant.
type Account struct {
	Key      string
	Name     string
	TimeZone string `yaml:"time_zone"`
	State    string // active (default), suspended, closed
	Users    []User
	Sections map[string]AccountSection
}

// User is a person or a key in one account.
type User struct {
	Key        string
	Aliases    []string // keys that he had before
	Name       string
	Email      string
	State      string // active (default), inactive
	Identities []Identity
}

// Identity is a name that somebody else knows the user by.
type Identity struct {
	Source string
	Value  string
}

// AccountSection is an account's part in a section.
type AccountSection struct {
	Plan          string
	State         string   // on (default), off
	Amount        string   // of the root, a cycle
	CreditsFactor []Factor `yaml:"credits_factor"`
	Models        []Model
	Members       []Member
	Organizations []Organization
	Teams         []Team
}

// Factor is CREDITS_FACTOR from a time on.
type Factor struct {
	From  time.Time
	Value string
}

// Amounts is what a scope may spend.
type Amounts struct {
	Allocation *Allocation
	Cap        string
	Override   *Override
}

// Allocation is one of its two fields.
type Allocation struct {
	Fixed string
	Equal bool
}

// Override replaces the allocation for a while.
type Override struct {
	Amount string
	Reason string
	Until  time.Time
}

// Organization is a node that may nest.
type Organization struct {
	Key           string
	Aliases       []string
	Name          string
	Amounts       `yaml:",inline"`
	Members       []Member
	Organizations []Organization
	Teams         []Team
}

// Team is a node with members.
type Team struct {
	Key     string
	Aliases []string
	Name    string
	Amounts `yaml:",inline"`
	Members []Member
}

// Member is a user's membership.
type Member struct {
	User    string
	Primary bool
	Amounts `yaml:",inline"`
}

// Parse reads and checks a file.
func Parse(text []byte) (*File, error) {
	f := &File{}
	if err := yaml.UnmarshalWithOptions(text, f, yaml.Strict(), yaml.DisallowUnknownField()); err != nil {
		return nil, fmt.Errorf("read the file: %s", yaml.FormatError(err, false, true))
	}
	return f, f.validate()
}
