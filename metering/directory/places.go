package directory

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"

	"github.com/alchemi/cockpit/schemas/events"
)

// place is whom an account's events charge that name the same section, user, team and source, while it is between two
// times. It is remembered because finding it goes through a dozen small objects that are rarely in the processor's cache.
type place struct {
	key      string
	section  *section
	path     *Path
	member   int64 // the membership's scope; 0: none
	user     int64 // the user's row in the section; 0: none
	userID   int64
	flags    events.Flag
	from, to int64 // Unix µs; [from, to)
	hash     uint64
}

// places are an account's. They are as good as the account: one that changed is another, with none yet. Safe for concurrent
// use: readers take no lock.
type places struct {
	table atomic.Pointer[[]atomic.Pointer[place]] // open addressing, at most half full
	mu    sync.Mutex                              // of writers
	count int
}

var placeSeed = maphash.MakeSeed()

const (
	placeSlotsMin = 64
	// placesPerUser bounds what is remembered: a user may be named by several keys, in several teams and by several sources.
	// What does not fit is looked up each time.
	placesPerUser = 4
)

// placeHash is that of the request's placeKey.
func placeHash(r *Request) uint64 {
	var buf [256]byte
	return maphash.Bytes(placeSeed, placeKey(buf[:0], r))
}

// hasKey says whether key is the request's placeKey.
func (r *Request) hasKey(key string) bool {
	for _, s := range [...]string{r.Section, r.User, r.Team, r.Source} {
		if len(key) < 2+len(s) || int(key[0])|int(key[1])<<8 != len(s) || key[2:2+len(s)] != s {
			return false
		}
		key = key[2+len(s):]
	}
	return key == ""
}

// slot is where the search for the request's place begins; nil if none is remembered.
func (r *Request) slot() *atomic.Pointer[place] {
	if r.account == nil {
		return nil
	}
	table := r.account.places.table.Load()
	if table == nil {
		return nil
	}
	return &(*table)[r.hash&uint64(len(*table)-1)]
}

// placeKey appends what a place is found by.
func placeKey(b []byte, r *Request) []byte {
	for _, s := range [...]string{r.Section, r.User, r.Team, r.Source} {
		b = append(b, byte(len(s)), byte(len(s)>>8)) // no key is longer than 64 KiB
		b = append(b, s...)
	}
	return b
}

// find is the request's place at its time; nil if none is remembered.
func (p *places) find(r *Request, hash uint64) *place {
	table := p.table.Load()
	if table == nil {
		return nil
	}
	mask := uint64(len(*table) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		found := (*table)[i].Load()
		if found == nil {
			return nil
		}
		if found.hash == hash && r.TimeMicros >= found.from && r.TimeMicros < found.to && r.hasKey(found.key) {
			return found
		}
	}
}

// add remembers a place, unless there are most already.
func (p *places) add(n *place, most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count >= most {
		return
	}
	table := p.table.Load()
	if table == nil || 2*(p.count+1) > len(*table) {
		table = p.grow(table)
	}
	insertPlace(*table, n)
	p.count++
}

func (p *places) grow(old *[]atomic.Pointer[place]) *[]atomic.Pointer[place] {
	size := placeSlotsMin
	if old != nil {
		size = 2 * len(*old)
	}
	table := make([]atomic.Pointer[place], size)
	if old != nil {
		for i := range *old {
			if n := (*old)[i].Load(); n != nil {
				insertPlace(table, n)
			}
		}
	}
	p.table.Store(&table)
	return &table
}

func insertPlace(table []atomic.Pointer[place], n *place) {
	mask := uint64(len(table) - 1)
	i := n.hash & mask
	for table[i].Load() != nil {
		i = (i + 1) & mask
	}
	table[i].Store(n)
}

// place says whom the request, whose placeHash is hash, charges; nil if the account has no such section.
func (a *account) place(r *Request, hash uint64) *place {
	if found := a.places.find(r, hash); found != nil {
		return found
	}
	sec := a.sections[r.Section]
	if sec == nil {
		return nil
	}
	n := &place{key: string(placeKey(nil, r)), hash: hash, section: sec, from: math.MinInt64, to: math.MaxInt64}
	n.resolve(a, r)
	if n.userID != 0 || r.User == "" { // strangers would crowd out users
		a.places.add(n, placesPerUser*(len(a.users)+placeSlotsMin))
	}
	return n
}

// until ends the place's time at a change that comes after the request's, and begins it at one that was before.
func (n *place) until(micros, change int64) {
	if change <= micros {
		n.from = max(n.from, change)
	} else {
		n.to = min(n.to, change)
	}
}

// resolve finds the path (contracts.md, Whom it charges).
func (n *place) resolve(a *account, r *Request) {
	if a.suspended {
		n.flags |= events.AccountSuspended
	}
	if n.section.off {
		n.flags |= events.SectionOff
	}
	team := n.section.teams[r.Team]
	if r.Team != "" && team == nil {
		n.flags |= events.TeamMismatch
	}
	for _, id := range a.identities[r.User] {
		n.until(r.TimeMicros, id.to)
	}
	u := a.user(r)
	if u == nil {
		if r.User == "" && team != nil {
			n.along(team, r.TimeMicros)
			return
		}
		n.path = n.section.root
		n.flags |= events.Unattributed
		return
	}
	n.userID = u.id
	if u.inactive {
		n.flags |= events.UserInactive
	}
	st := u.in(n.section)
	if st == nil || st.scope == 0 {
		n.path = n.section.root
		n.flags |= events.NoMembership
		return
	}
	n.belongs(st, team, r.TimeMicros)
}

// belongs takes the membership that is charged.
func (n *place) belongs(st *standing, team *lineage, micros int64) {
	for _, p := range st.primaries {
		n.until(micros, p.from)
	}
	for i := range st.memberships {
		n.until(micros, st.memberships[i].to)
	}
	m := st.primary(micros)
	if team != nil && (m == nil || m.team != team.scope) {
		if in := st.member(team.scope, micros); in != nil {
			m = in
		} else {
			n.flags |= events.TeamMismatch
		}
	}
	n.user = st.scope
	if m == nil {
		n.path = n.section.root
		n.flags |= events.NoMembership
		return
	}
	n.member = m.id
	n.along(&m.above, micros)
}

func (n *place) along(l *lineage, micros int64) {
	for _, s := range l.steps {
		n.until(micros, s.from)
	}
	n.path = l.at(micros)
}
