package access

import (
	"maps"
	"slices"
)

// Permission is what an operation needs. It is part of the API's description (x-permission).
type Permission string

// Level says what a permission is checked against.
type Level int

// Levels.
const (
	Own      Level = iota // the caller's own: whoever signed in has it
	Platform              // all accounts
	Account               // one account
	Section               // one section of one account
)

// Permissions. A name is the noun and what is done to it.
const (
	SelfRead  Permission = "self.read"  // who am I, and my sessions
	SelfWrite Permission = "self.write" // end my sessions

	PlatformRead     Permission = "platform.read"     // all accounts and their summary, people, clients
	AccountsManage   Permission = "accounts.manage"   // create, suspend, reactivate and close accounts; their limits
	ClientsManage    Permission = "clients.manage"    // which programs may call with a person's token
	SectionsManage   Permission = "sections.manage"   // add sections to the platform
	PlatformKeys     Permission = "platform.keys"     // service keys for more than one account
	PlatformAudit    Permission = "platform.audit"    // the platform's audit log
	PeopleManage     Permission = "people.manage"     // shut people out, and let them in again
	SessionsManage   Permission = "sessions.manage"   // see and end anybody's sessions
	AccountsElevate  Permission = "accounts.elevate"  // write in an account that one only views
	AccountRead      Permission = "account.read"      // the account and its settings
	AccountWrite     Permission = "account.write"     // its settings
	AssignmentsRead  Permission = "assignments.read"  // who has which role
	AssignmentsWrite Permission = "assignments.write" // narrow roles, make viewers and section admins
	KeysRead         Permission = "keys.read"         // the account's service keys
	KeysWrite        Permission = "keys.write"        // make, rotate, revoke them
	AuditRead        Permission = "audit.read"        // the account's audit log
	AuditExport      Permission = "audit.export"      // all of it, as a file
	UsersRead        Permission = "users.read"        // the account's users
	UsersWrite       Permission = "users.write"       // add, change, deactivate and erase them
	SectionRead      Permission = "section.read"      // a section and its settings
	SectionWrite     Permission = "section.write"     // its settings
	DirectoryRead    Permission = "directory.read"    // a section's organizations, teams and memberships
	DirectoryWrite   Permission = "directory.write"   // add, rename, move and deactivate them
	EventsWrite      Permission = "events.write"      // send events
)

// levels has every permission; one that is not here does not exist.
var levels = map[Permission]Level{
	SelfRead: Own, SelfWrite: Own,
	PlatformRead: Platform, AccountsManage: Platform, ClientsManage: Platform, SectionsManage: Platform, PlatformKeys: Platform,
	PlatformAudit: Platform, PeopleManage: Platform, SessionsManage: Platform,
	AccountsElevate: Account, AccountRead: Account, AccountWrite: Account, AssignmentsRead: Account, AssignmentsWrite: Account,
	KeysRead: Account, KeysWrite: Account, AuditRead: Account, AuditExport: Account, UsersRead: Account, UsersWrite: Account, EventsWrite: Account,
	SectionRead: Section, SectionWrite: Section, DirectoryRead: Section, DirectoryWrite: Section,
}

// reading are the permissions that change nothing: what a viewer has, and a super admin who views an account.
var reading = []Permission{AccountRead, AssignmentsRead, KeysRead, AuditRead, UsersRead, SectionRead, DirectoryRead}

// table maps roles to what they may. It is the only place that does.
var table = map[Role][]Permission{
	SuperAdmin: {PlatformRead, AccountsManage, ClientsManage, SectionsManage, PlatformKeys, PlatformAudit, PeopleManage, SessionsManage, AccountsElevate,
		AccountRead, AccountWrite, AssignmentsRead, AssignmentsWrite, KeysRead, KeysWrite, AuditRead, AuditExport, UsersRead, UsersWrite, SectionRead, SectionWrite,
		DirectoryRead, DirectoryWrite},
	AccountAdmin: {AccountRead, AccountWrite, AssignmentsRead, AssignmentsWrite, KeysRead, KeysWrite, AuditRead, AuditExport, UsersRead, UsersWrite,
		SectionRead, SectionWrite, DirectoryRead, DirectoryWrite},
	AccountViewer: reading,
	SectionAdmin:  {AccountRead, AuditRead, UsersRead, SectionRead, SectionWrite, DirectoryRead, DirectoryWrite},
	Product:       {EventsWrite},
}

// Known says whether there is such a permission, and its level.
func (p Permission) Known() (Level, bool) {
	level, ok := levels[p]
	return level, ok
}

// Reads says whether the permission changes nothing.
func (p Permission) Reads() bool {
	return slices.Contains(reading, p) || p == SelfRead || p == PlatformRead || p == PlatformAudit || p == AuditExport
}

// All are the permissions, by name.
func All() []Permission { return slices.Sorted(maps.Keys(levels)) }

// Of are the permissions of a role.
func Of(r Role) []Permission { return slices.Clone(table[r]) }
