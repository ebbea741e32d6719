package directory

import (
	"sort"

	"github.com/alchemi/cockpit/metering/allocation"
	"github.com/alchemi/cockpit/metering/price"
)

// Snapshot is the directory at one version.
type Snapshot struct {
	Version  int64 // deployment.directory_version
	accounts map[string]*account
	platform platform
}

// platform is what belongs to no account.
type platform struct {
	sections map[int64]string // keys
	sources  map[string]*source
	models   map[modelKey]*model
	factors  map[int64][]factor // by section
}

type source struct {
	observes    bool
	sections    map[int64]bool
	accounts    map[int64]bool
	allAccounts bool
}

type modelKey struct {
	section int64
	key     string
}

type model struct {
	id     int64
	terms  []term // ascending
	prices []modelPrice
}

type term struct {
	from     int64 // Unix µs
	free     bool
	reported bool
}

type modelPrice struct {
	from  int64
	id    int64
	price *price.Price
}

type factor struct {
	from  int64
	id    int64
	value price.Factor
}

type account struct {
	id         int64
	key        string
	suspended  bool
	users      map[string]*user // by key, and by those that they had before
	identities map[string][]identity
	sections   map[string]*section // by key
	models     map[modelKey]*model
	factors    map[int64][]factor
	places     places
}

// user and what it has stand close together, in few objects: there may be millions of them, which are looked up at random and
// are the garbage collector's to go through.
type user struct {
	id        int64
	inactive  bool
	standings []standing // by section: few, and found without another map
}

// standing is a user's place in one section.
type standing struct {
	section     *section
	memberships []membership
	primaries   []primary // none where there is but one membership, and it is the primary one
	scope       int64     // the user's row in the section
}

// in is the user's standing in a section; nil if there is none.
func (u *user) in(sec *section) *standing {
	for i := range u.standings {
		if st := &u.standings[i]; st.section == sec {
			return st
		}
	}
	return nil
}

// entering is the same while a snapshot is made: there is one from then on. It is good until the next is made.
func (u *user) entering(sec *section) *standing {
	st := u.in(sec)
	if st == nil {
		u.standings = append(u.standings, standing{section: sec})
		st = &u.standings[len(u.standings)-1]
	}
	return st
}

type identity struct {
	source string
	user   *user
	to     int64
}

// section is an account's part in a section.
type section struct {
	id       int64
	root     *Path // the account alone
	off      bool
	teams    map[string]*lineage // by key, and by those that they had before
	cycles   []cycle
	calendar allocation.Calendar // of times that no row covers
}

type cycle struct{ start, end int64 } // Unix s

type primary struct {
	from, to   int64
	membership int64
}

// membership is a user's place below one parent.
type membership struct {
	id    int64
	team  int64 // its parent's scope now or when it ended
	to    int64
	above lineage // its parent's
}

// lineage is a scope's path from the root over time; of a membership, its parent's.
type lineage struct {
	scope int64
	steps []step // ascending; the first holds for earlier times as well
}

type step struct {
	from int64
	path *Path
}

// Path is the scopes from the account's root down to whom usage without a user charges: an account, organization or team.
// Its members share it.
type Path struct {
	Scopes []int64
}

func (l *lineage) at(micros int64) *Path {
	return l.steps[last(len(l.steps), func(i int) int64 { return l.steps[i].from }, micros)].path
}

// last is the index of the last of n ascending times that is not after t, or 0.
func last(n int, time func(int) int64, t int64) int {
	if n == 1 {
		return 0
	}
	return max(0, sort.Search(n, func(i int) bool { return time(i) > t })-1)
}

// AccountID is the id of the account with that key; 0 if there is none.
func (s *Snapshot) AccountID(key string) int64 {
	if a := s.accounts[key]; a != nil {
		return a.id
	}
	return 0
}
