// Package naming is by what events know users, organizations and teams: what several nouns of the API change of it. It is
// part of the ground.
//
// An event names a user by his key, or else by an identity: what a source calls him, dated and never edited. Usage of before
// the end of an identity is his whose it was, whenever it comes.
//
// Failures: identity_taken, and those of every operation.
//
// Map: identities.go.
package naming
