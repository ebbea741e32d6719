// Package scopes is a section's tree as nouns of the API: organizations, which nest, and teams, which hang below an organization
// or the account.
//
// A key is what products name a team by: case-sensitive, in Unicode form NFC, never changed, and no other's of its kind in the
// section, ever. Nothing is deleted: what is deactivated stands below nothing from then on, keeps what was charged to it, and
// usage that still names it is charged where it stood last. Moving it below something makes it active again.
//
// Links to parents are dated, and never edited: one ends at the moment at which the next begins. So an event is charged along
// the path of its own time, before a move and after it. There is no circle, as changes of an account's directory are one after
// the other; and no move that would set aside more below a scope than it has. The limit `teams` counts those that are active,
// in all sections.
//
// Failures: key_taken, limit_reached, circle, not_empty, allocation_short, team_inactive, organization_inactive, section_absent,
// and those of every operation.
//
// Map: scope.go (the object and its store), operations.go, changes.go (move, deactivate), links.go (parents over time).
package scopes
