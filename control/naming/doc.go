// Package naming is by what events know users, organizations and teams: what several nouns of the API change of it. It is
// part of the ground.
//
// An event names a user by his key, or else by an identity: what a source calls him, dated and never edited. Usage of before
// the end of an identity is his whose it was, whenever it comes.
//
// Keys are case-sensitive, in Unicode form NFC, and never given to another: one that was replaced is an alias, which charges
// as the key does, whatever the time of the event; those of erased users are kept as keyed hashes. The database holds that,
// for whoever adds one (key_aliases, erased_keys, keys_are_not_used_again). An alias stays as long as whom it names.
//
// A user may be linked to a person who signs in, platform-wide: by whoever says so in the API, or accepts an invite.
//
// Failures: identity_taken, key_taken, user_linked, person_linked, person_ambiguous, and those of every operation.
//
// Map: keys.go, identities.go, people.go.
package naming
