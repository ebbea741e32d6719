package access

import (
	"fmt"
	"slices"
	"time"
)

// Role is a named set of permissions (glossary, Role).
type Role string

// Roles. An end user has none.
const (
	SuperAdmin    Role = "super_admin"
	AccountAdmin  Role = "account_admin"
	AccountViewer Role = "account_viewer"
	SectionAdmin  Role = "section_admin"
	Product       Role = "product"
)

// Grant is a role that a principal holds, in an account and a section of it. 0 is all of them.
type Grant struct {
	Role             Role
	Account, Section int64
}

// Elevation lets a super admin write in an account until a time.
type Elevation struct {
	Account int64
	Until   time.Time
	Reason  string
}

// Client is a registered program through which a person acts. Its rights bound the person's.
type Client struct {
	ID          int64
	Key         string
	Permissions []Permission
	Sections    []int64 // empty: all
}

// Kind is what a principal is.
type Kind string

// Kinds.
const (
	Nobody  Kind = "nobody"
	Person  Kind = "person"
	Service Kind = "service"
)

// Principal is who calls. The zero value may nothing.
type Principal struct {
	Kind       Kind
	ID         int64 // of the person, or of the service key
	Name       string
	Issuer     string // of a person
	Subject    string
	Client     *Client // nil: the cockpit's own pages and commands
	Session    int64   // 0: a token
	Grants     []Grant
	Elevations []Elevation
}

// Verdict is the answer to May.
type Verdict int

// Verdicts.
const (
	Absent    Verdict = iota // nothing to do with it: answer as if it were not there
	Forbidden                // lacks the permission there
	Allowed
)

// Decision says whether: by which role, or, for people, why not.
type Decision struct {
	Verdict Verdict
	Reason  string
	Role    Role // of Allowed; empty where everybody who signed in may
}

// May says whether p may do what needs permission in a place: account 0 is the platform, section 0 the account itself.
// now ends elevations.
func (p *Principal) May(permission Permission, account, section int64, now time.Time) Decision {
	level, known := permission.Known()
	if !known {
		panic("BUG: there is no permission " + string(permission))
	}
	if p.Kind != Person && p.Kind != Service {
		return Decision{Verdict: Forbidden, Reason: "sign in first"}
	}
	if p.Client != nil {
		if !slices.Contains(p.Client.Permissions, permission) {
			return Decision{Verdict: Forbidden, Reason: fmt.Sprintf("the client %s is not registered for %s", p.Client.Key, permission)}
		}
		if section != 0 && len(p.Client.Sections) > 0 && !slices.Contains(p.Client.Sections, section) {
			return Decision{Verdict: Absent}
		}
	}
	if level == Own {
		return Decision{Verdict: Allowed}
	}
	if len(p.Grants) == 0 {
		return Decision{Verdict: Forbidden, Reason: "you have no role in the cockpit; end users use their products"}
	}
	return p.granted(permission, level, account, section, now)
}

func (p *Principal) granted(permission Permission, level Level, account, section int64, now time.Time) Decision {
	best := Decision{Verdict: Absent}
	if level == Platform {
		best = Decision{Verdict: Forbidden, Reason: fmt.Sprintf("only a super admin has %s", permission)}
	}
	for _, g := range p.Grants {
		if level != Platform && !g.reaches(level, account, section) {
			continue
		}
		d := Decision{Verdict: Forbidden, Reason: fmt.Sprintf("%s does not have %s", g.Role, permission)}
		if slices.Contains(table[g.Role], permission) {
			d = p.elevated(g, permission, level, account, now)
		}
		if d.Verdict > best.Verdict || best.Reason == "" {
			best = d
		}
	}
	return best
}

// reaches says whether the grant's place has to do with that of a request.
func (g Grant) reaches(level Level, account, section int64) bool {
	if g.Account != 0 && g.Account != account {
		return false
	}
	return level != Section || g.Section == 0 || g.Section == section
}

// elevated allows, except that a super admin writes in an account only while elevated there.
func (p *Principal) elevated(g Grant, permission Permission, level Level, account int64, now time.Time) Decision {
	if g.Role != SuperAdmin || level == Platform || permission.Reads() || permission == AccountsElevate {
		return Decision{Verdict: Allowed, Role: g.Role}
	}
	for _, e := range p.Elevations {
		if e.Account == account && now.Before(e.Until) {
			return Decision{Verdict: Allowed, Role: g.Role}
		}
	}
	return Decision{Verdict: Forbidden, Reason: "a super admin views an account; to write, elevate with a reason first"}
}

// Is says whether the principal holds the role anywhere.
func (p *Principal) Is(r Role) bool {
	return slices.ContainsFunc(p.Grants, func(g Grant) bool { return g.Role == r })
}

// Sections are those of an account in which p has the permission; all says that it has it in the account itself, and so in
// all of them. A client's sections narrow that.
func (p *Principal) Sections(permission Permission, account int64) (sections []int64, all bool) {
	for _, g := range p.Grants {
		if (g.Account == 0 || g.Account == account) && slices.Contains(table[g.Role], permission) {
			all = all || g.Section == 0
			sections = append(sections, g.Section)
		}
	}
	if p.Client == nil || len(p.Client.Sections) == 0 {
		return sections, all
	}
	if all {
		return slices.Clone(p.Client.Sections), false
	}
	return slices.DeleteFunc(sections, func(s int64) bool { return !slices.Contains(p.Client.Sections, s) }), false
}
