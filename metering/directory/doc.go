// Package directory is what metering resolves events with: an immutable snapshot of accounts, users, trees, sources, models,
// prices, factors and cycles, kept in memory and followed from Postgres.
//
// Invariants: a snapshot never changes; everything effective-dated is answered for the event's own time, and a time before
// the first row takes the first (a user who became known later takes the first membership). Resolving allocates nothing.
// A change committed to Postgres reaches Follower.Current within its interval, since every such transaction raises
// deployment.directory_version and the version of the accounts that it touched; only those are loaded again.
//
// Failures: while Postgres is away the last snapshot goes on, and Follower logs it.
//
// Map: snapshot.go (what is held), resolve.go (an event → whom to charge at what price), load.go (SQL), follower.go, cycles.go
// (the rows of cycles, made ahead of time).
package directory
