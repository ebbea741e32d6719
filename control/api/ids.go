package api

import (
	"strconv"
	"strings"
)

// Kind is a kind of object with ids of its own. Ids are opaque to callers: the prefix of the kind and a number in base 36.
type Kind struct {
	Prefix string // acc
	Name   string // account
}

// Kinds of objects.
var (
	AccountKind      = Kind{"acc", "account"}
	FactorKind       = Kind{"fac", "credits_factor"}
	SectionKind      = Kind{"sec", "section"}
	PersonKind       = Kind{"per", "person"}
	KeyKind          = Kind{"key", "service_key"}
	SourceKind       = Kind{"src", "source"}
	ClientKind       = Kind{"cli", "client"}
	AssignmentKind   = Kind{"asg", "assignment"}
	ElevationKind    = Kind{"elv", "elevation"}
	SessionKind      = Kind{"ses", "session"}
	EntryKind        = Kind{"aud", "audit_entry"}
	UserKind         = Kind{"usr", "user"}
	IdentityKind     = Kind{"idn", "identity"}
	OrganizationKind = Kind{"org", "organization"}
	TeamKind         = Kind{"tem", "team"}
	MembershipKind   = Kind{"mem", "membership"}
	JobKind          = Kind{"job", "job"}
	ProvisioningKind = Kind{"prv", "provisioning"}
	AttributionKind  = Kind{"atr", "attribution"}
	InviteKind       = Kind{"inv", "invite"}
)

const idBase = 36

// ID is the text of an id.
func (k Kind) ID(n int64) string { return k.Prefix + "_" + strconv.FormatInt(n, idBase) }

// Parse reads an id; false if it is none of this kind.
func (k Kind) Parse(text string) (int64, bool) {
	digits, ok := strings.CutPrefix(text, k.Prefix+"_")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, idBase, 64)
	return n, err == nil && n > 0 && k.ID(n) == text
}

const keyPrefix = "key:"

// Ref is what a path or a body names an object by: its id, or key: and its key. The zero Ref names nothing.
type Ref struct {
	ID  int64
	Key string
}

// Ref reads an id or a key. What is neither names nothing, and is answered as what is not there.
func (k Kind) Ref(text string) Ref {
	if key, ok := strings.CutPrefix(text, keyPrefix); ok {
		return Ref{Key: key}
	}
	n, _ := k.Parse(text)
	return Ref{ID: n}
}
