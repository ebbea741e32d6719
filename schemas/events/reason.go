package events

import "strings"

// Reason is why an event was quarantined. The numbers are part of the journal's format.
type Reason uint8

// The reasons.
const (
	Malformed        Reason = iota + 1 // no CloudEvent could be read
	Schema                             // a field is missing, or not as the schema says
	TooLarge                           // a record over 1 MiB, or a batch that unpacks to over 64 MiB
	TooLate                            // more than the window's span older than its arrival
	TooEarly                           // its time is ahead of its arrival
	UnknownAccount                     // no account has that key
	UnknownSection                     // the account has no such section
	SourceNotAllowed                   // the source is not registered for that account and section
	UnknownModel                       // neither the platform nor the account has that model
	UnpricedModel                      // the model has no price for the event's time
	Overflow                           // its credits do not fit
	Misrouted                          // moved three times and not home
)

var reasonNames = [...]string{"", "malformed", "schema", "too_large", "too_late", "too_early", "unknown_account", "unknown_section",
	"source_not_allowed", "unknown_model", "unpriced_model", "overflow", "misrouted"}

// String is the word in the quarantine's header reason.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return ""
}

// ParseReason returns the reason of that name; false if there is none.
func ParseReason(name string) (Reason, bool) {
	for i, n := range reasonNames {
		if i > 0 && n == name {
			return Reason(i), true
		}
	}
	return 0, false
}

// Flag is a set of remarks on a charge that did not go the usual way.
type Flag uint32

// The flags.
const (
	Unattributed     Flag = 1 << iota // the user is unknown: charged to the account
	TeamMismatch                      // the team is unknown, or the user is not in it: charged along the primary membership
	NoMembership                      // the user has no membership in the section: charged to account and user
	UserInactive                      // authorize would have denied it
	AccountSuspended                  // authorize would have denied it
	SectionOff                        // authorize would have denied it
)

var flagNames = [...]string{"unattributed", "team_mismatch", "no_membership", "user_inactive", "account_suspended", "section_off"}

// Names lists the flags that are set.
func (f Flag) Names() []string {
	var names []string
	for i, n := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// String joins the names with commas.
func (f Flag) String() string { return strings.Join(f.Names(), ",") }
