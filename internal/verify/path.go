package verify

import (
	"fmt"
	"sort"
)

// Flags of a charge that say why its path is not the usual one (schemas/events).
const (
	unattributed, teamMismatch, noMembership = 1, 2, 4
	pathFlags                                = unattributed | teamMismatch | noMembership
)

// lineage says what is wrong with a path in itself: it must lead from the account's root to its last scope by the parents
// of the event's own time, in the cycle that the time is in, and the user's row must be the account's.
func (d *directory) lineage(dec *decision) error {
	p := dec.path
	key := [2]int64{p.account, p.section}
	if len(p.scopes) == 0 || p.scopes[0] != d.roots[key] {
		return fmt.Errorf("its path does not begin at the account's root")
	}
	for i := 1; i < len(p.scopes); i++ {
		if !d.below(p.scopes[i], p.scopes[i-1], dec.micros) {
			return fmt.Errorf("scope %d did not stand below %d", p.scopes[i], p.scopes[i-1])
		}
	}
	if row := d.scopes[p.user]; p.user != 0 && (row.kind != 'u' || row.account != p.account || row.section != p.section) {
		return fmt.Errorf("%d is no user's row of account %d, section %d", p.user, p.account, p.section)
	}
	if last := d.scopes[p.scopes[len(p.scopes)-1]]; last.kind == 'm' && last.user != d.scopes[p.user].user {
		return fmt.Errorf("membership %d is not the user's", p.scopes[len(p.scopes)-1])
	}
	seconds := dec.micros / 1e6
	cycles := d.cycles[key]
	n := sort.Search(len(cycles), func(i int) bool { return cycles[i].start > seconds })
	if n > 0 && seconds < cycles[n-1].end && cycles[n-1].start != p.cycle || p.cycle > seconds {
		return fmt.Errorf("it was charged in the cycle from %s and happened at %s", stamp(p.cycle), stamp(seconds))
	}
	return nil
}

// below says whether a scope stood below another; the first parent holds for earlier times as well, the last for later ones.
func (d *directory) below(scope, parent, at int64) bool {
	links := d.linksOf(scope)
	for i, link := range links {
		if link.parent == parent && (i == 0 || at >= link.from-slack) && (i == len(links)-1 || at < links[i+1].from+slack) {
			return true
		}
	}
	return false
}

// whom says what is wrong with whom an event was charged to, by what was known when it was decided.
func (d *directory) whom(e *event, dec *decision) error {
	p := dec.path
	if d.accounts[e.Data.Account] != p.account || d.sections[e.Data.Section] != p.section {
		return fmt.Errorf("it was charged to account %d, section %d", p.account, p.section)
	}
	if d.erased[p.account] || d.people.erased[d.scopes[p.user].user] {
		return nil
	}
	last := p.scopes[len(p.scopes)-1]
	var want standing
	for i, late := range [...][2]int64{{0, 0}, {0, slack}, {slack, slack}} {
		s := d.standing(e, p, moment{dec.micros - late[0], dec.decided - late[1]})
		if s.row == p.user && s.last == last && s.flags == dec.flags&pathFlags {
			return nil
		}
		if i == 0 {
			want = s
		}
	}
	return fmt.Errorf("it was charged to user row %d and scope %d (flags %d), and should be to %d and %d (flags %d)",
		p.user, last, dec.flags&pathFlags, want.row, want.last, want.flags)
}

// moment is an event's own time, and when it was decided, in Unix µs.
type moment struct{ at, known int64 }

// ended says whether something had ended at the event's time, as far as was known: an end is known once it has come.
func (m moment) ended(to int64) bool { return to <= m.at && to <= m.known }

// standing is whom an event charges: the user's row, and the last scope of the path.
type standing struct{ row, last, flags int64 }

// standing finds whom an event charges (contracts.md, Whom it charges).
func (d *directory) standing(e *event, p *path, m moment) (s standing) {
	team := int64(0)
	if t := d.teams[teamKey{p.account, p.section, e.Data.Team}]; t.since <= m.known {
		team = t.id
	}
	if e.Data.Team != "" && team == 0 {
		s.flags |= teamMismatch
	}
	root := d.roots[[2]int64{p.account, p.section}]
	u := d.user(e, p.account, m)
	if u == 0 {
		if e.Data.User == "" && team != 0 {
			s.last = team
			return s
		}
		return standing{0, root, s.flags | unattributed}
	}
	key := [2]int64{u, p.section}
	s.row = d.people.rows[key]
	if s.row == 0 || d.scopes[s.row].created > m.known {
		return standing{0, root, s.flags | noMembership}
	}
	s.last = d.primary(key, m)
	if team != 0 && (s.last == 0 || d.team(s.last, m) != team) {
		in := int64(0)
		for _, id := range d.people.memberships[key] {
			if in == 0 && d.lives(id, m) && d.team(id, m) == team {
				in = id
			}
		}
		if in != 0 {
			s.last = in
		} else {
			s.flags |= teamMismatch
		}
	}
	if s.last == 0 {
		return standing{s.row, root, s.flags | noMembership}
	}
	return s
}

// user is who has the key or had it, or else the external identity: of the event's source, or of any if all say the same.
func (d *directory) user(e *event, account int64, m moment) (found int64) {
	if e.Data.User == "" {
		return 0
	}
	key := keyOf{account, e.Data.User}
	if u := d.people.users[key]; u.id != 0 && u.since <= m.known {
		return u.id
	}
	ambiguous := false
	for _, x := range d.people.identities[key] {
		if x.recorded > m.known || m.ended(x.to) {
			continue
		}
		if x.source == e.Source {
			return x.user
		}
		ambiguous = ambiguous || found != 0 && found != x.user
		found = x.user
	}
	if ambiguous {
		return 0
	}
	return found
}

// primary is the membership that usage without a team is charged along: the primary one of that time, or, if it had ended,
// the oldest that had not.
func (d *directory) primary(key [2]int64, m moment) int64 {
	chosen := int64(0)
	for _, row := range d.people.primaries[key] {
		if row.recorded <= m.known && (chosen == 0 || row.from <= m.at) {
			chosen = row.membership
		}
	}
	if chosen != 0 && d.lives(chosen, m) {
		return chosen
	}
	for _, id := range d.people.memberships[key] {
		if d.lives(id, m) {
			return id
		}
	}
	return 0
}

// lastLink is a membership's newest place that was known.
func (d *directory) lastLink(membership int64, m moment) (l link) {
	for _, l2 := range d.linksOf(membership) {
		if l2.recorded <= m.known {
			l = l2
		}
	}
	return l
}

func (d *directory) lives(membership int64, m moment) bool {
	l := d.lastLink(membership, m)
	return l.scope != 0 && !m.ended(l.to)
}

func (d *directory) team(membership int64, m moment) int64 { return d.lastLink(membership, m).parent }
