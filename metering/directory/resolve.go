package directory

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/alchemi/cockpit/metering/price"
	"github.com/alchemi/cockpit/schemas/events"
)

// Request is what an event says, in the keys that products know.
type Request struct {
	Source, Account, Section, User, Team, Model string
	TimeMicros                                  int64 // Unix µs
	NoModel                                     bool  // nothing is to be priced

	ahead   *Snapshot // whose Ahead found the account; nil: none did
	account *account
	hash    uint64 // of the place
}

// Resolution is whom the event charges and at what price. Reason is set when it can't be charged.
type Resolution struct {
	Reason    events.Reason
	Detail    string
	AccountID int64
	SectionID int64
	Observe   bool // the source only observes
	Path      *Path
	Member    int64 // the membership's scope below the path; 0: none
	User      int64 // the user's row; 0: none
	Flags     events.Flag

	ModelID  int64
	Free     bool
	Reported bool // the event's own cost is charged
	PriceID  int64
	Price    *price.Price
	FactorID int64
	Factor   price.Factor

	section *section
}

// Resolve answers for the request's own time (contracts.md, Whom it charges).
func (s *Snapshot) Resolve(r *Request, out *Resolution) {
	*out = Resolution{}
	if r.ahead != s {
		s.find(r)
	}
	a := r.account
	if a == nil {
		out.reject(events.UnknownAccount, "no account has this key")
		return
	}
	out.AccountID = a.id
	at := a.place(r, r.hash)
	if at == nil {
		out.reject(events.UnknownSection, "the account has no such section")
		return
	}
	sec := at.section
	out.SectionID, out.section = sec.id, sec
	src := s.platform.sources[r.Source]
	if src == nil || !src.sections[sec.id] || !src.allAccounts && !src.accounts[a.id] {
		out.reject(events.SourceNotAllowed, "the source is not registered for this account and section")
		return
	}
	out.Observe = src.observes
	out.Path, out.Member, out.User, out.Flags = at.path, at.member, at.user, at.flags
	if !r.NoModel {
		s.price(a, sec, r, out)
	}
}

// Ahead finds and reads what Resolve will read first of these requests, so that what waits for memory waits together. It
// returns what nobody needs: so that it is read indeed.
func (s *Snapshot) Ahead(requests []Request) (sum uint64) {
	var slots [16]*atomic.Pointer[place]
	for some := range slices.Chunk(requests, len(slots)) {
		n := 0
		for i := range some {
			r := &some[i]
			s.find(r)
			if slot := r.slot(); slot != nil {
				slots[n] = slot
				n++
			}
		}
		var found [len(slots)]*place
		for i, slot := range slots[:n] {
			found[i] = slot.Load()
		}
		for _, p := range found[:n] {
			if p != nil {
				sum += p.hash + uint64(len(p.key))
			}
		}
		for _, p := range found[:n] {
			if p != nil {
				sum += uint64(p.key[0])
			}
		}
	}
	return sum
}

// find looks up the request's account.
func (s *Snapshot) find(r *Request) {
	r.ahead, r.account = s, s.accounts[r.Account]
	if r.account != nil {
		r.hash = placeHash(r)
	}
}

func (out *Resolution) reject(reason events.Reason, detail string) {
	out.Reason, out.Detail = reason, detail
}

// user is who has that key or external identity: of the event's source, else of whichever, if all say the same.
func (a *account) user(r *Request) *user {
	if r.User == "" {
		return nil
	}
	if u := a.users[r.User]; u != nil {
		return u
	}
	var found *user
	ambiguous := false
	for i := range a.identities[r.User] {
		id := &a.identities[r.User][i]
		if id.to <= r.TimeMicros { // one that begins later is taken for earlier times as well
			continue
		}
		if id.source == r.Source {
			return id.user
		}
		ambiguous = ambiguous || found != nil && found != id.user
		found = id.user
	}
	if ambiguous {
		return nil
	}
	return found
}

// primary is the membership that usage without a team is charged along; nil if the user had none.
func (st *standing) primary(micros int64) *membership {
	of, rows := st.memberships, st.primaries
	if len(rows) > 0 {
		row := rows[last(len(rows), func(i int) int64 { return rows[i].from }, micros)]
		for i := range of {
			if m := &of[i]; m.id == row.membership && micros < m.to {
				return m
			}
		}
	}
	for i := range of { // the primary one ended: the oldest that has not
		if m := &of[i]; micros < m.to {
			return m
		}
	}
	return nil
}

// member is the user's membership in the team at that time. A user first known later takes the first.
func (st *standing) member(team, micros int64) *membership {
	for i := range st.memberships {
		if m := &st.memberships[i]; m.team == team && micros < m.to {
			return m
		}
	}
	return nil
}

func (s *Snapshot) price(a *account, sec *section, r *Request, out *Resolution) {
	key := modelKey{sec.id, r.Model}
	m := a.models[key]
	if m == nil {
		m = s.platform.models[key]
	}
	if m == nil {
		if !out.Observe {
			out.reject(events.UnknownModel, "neither the platform nor the account has this model in the section")
		}
		return
	}
	out.ModelID = m.id
	terms := m.terms
	i := last(len(terms), func(i int) int64 { return terms[i].from }, r.TimeMicros)
	if len(terms) == 0 || terms[i].from > r.TimeMicros {
		out.unpriced()
		return
	}
	out.Free, out.Reported = terms[i].free, terms[i].reported
	f, ok := factorAt(a.factors[sec.id], r.TimeMicros)
	if !ok {
		f, ok = factorAt(s.platform.factors[sec.id], r.TimeMicros)
	}
	if !ok {
		out.unpriced()
		return
	}
	out.FactorID, out.Factor = f.id, f.value
	if out.Free || out.Reported {
		return
	}
	i = last(len(m.prices), func(i int) int64 { return m.prices[i].from }, r.TimeMicros)
	if len(m.prices) == 0 || m.prices[i].from > r.TimeMicros {
		out.unpriced()
		return
	}
	out.PriceID, out.Price = m.prices[i].id, m.prices[i].price
}

// unpriced rejects what is to be charged; what only is observed needs no price.
func (out *Resolution) unpriced() {
	if !out.Observe {
		out.reject(events.UnpricedModel, "the model has no price, or the section no factor, for the event's time")
	}
}

func factorAt(rows []factor, micros int64) (factor, bool) {
	if len(rows) == 0 {
		return factor{}, false
	}
	f := rows[last(len(rows), func(i int) int64 { return rows[i].from }, micros)]
	return f, f.from <= micros
}

// Cycle is the cycle of what was resolved with the time (Unix µs) in it, in Unix seconds.
func (out *Resolution) Cycle(micros int64) (start, end int64) {
	seconds := micros / 1e6
	if micros < 0 && micros%1e6 != 0 {
		seconds--
	}
	cycles := out.section.cycles
	for i := len(cycles) - 1; i >= 0; i-- {
		if c := cycles[i]; seconds >= c.start {
			if seconds < c.end {
				return c.start, c.end
			}
			break
		}
	}
	from, to := out.section.calendar.Containing(time.UnixMicro(micros))
	return from.Unix(), to.Unix()
}
