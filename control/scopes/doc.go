// Package scopes is a section's tree as nouns of the API: organizations, which nest, teams, which hang below an organization
// or the account, and memberships, a user's places below any of them.
//
// A key is what products name a team by: case-sensitive, in Unicode form NFC, and no other's of its kind in the section,
// ever: one that it is renamed from is an alias. Nothing is deleted: what is deactivated stands below nothing from then on, keeps what was charged to it, and
// usage that still names it is charged where it stood last. Moving it below something makes it active again.
//
// Links to parents are dated, and never edited: one ends at the moment at which the next begins. So an event is charged along
// the path of its own time, before a move and after it. There is no circle, as changes of an account's directory are one after
// the other; and no move that would set aside more below a scope than it has. The limit `teams` counts those that are active,
// in all sections.
//
// A user has any number of memberships, one below each parent, and, while he has any, exactly one of them is the primary one.
// A membership never changes its parent: a move ends it, with what was set aside for it, and begins another, so that late usage
// still finds the old one. When the primary one ends, the oldest other one is that.
//
// The audit log has users by their ids alone, since who they are may be erased.
//
// Failures: key_taken, limit_reached, circle, not_empty, allocation_short, team_inactive, organization_inactive, section_absent,
// already_member, user_erased, and those of every operation.
//
// Map: scope.go (organizations and teams, and their store), operations.go, changes.go (move, deactivate), links.go (parents over time), membership.go (memberships and their store), memberships.go (operations),
// import_tree.go, import_sort.go, import_judge.go and import_tree_apply.go (a tree of a file), import_members.go and import_members_apply.go (its memberships),
// export_files.go.
package scopes
