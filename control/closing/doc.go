// Package closing ends accounts: when the time comes that a closed account can't be opened any more (accounts.closes_at), it
// exports what the account has into a directory, and then erases it.
//
// The export is NDJSON files, directory, ledger, usage and audit, and a manifest with the SHA-256 of each, all of one
// snapshot, in DIR/acc_…; it is written beside its name and renamed when all of it is on disk, so that what has the name is
// whole. Secrets, and the hashes of keys, are in no file. Usage is what the journal says, by ids;
// where ClickHouse is, events has the events as they were sent.
//
// Erasing is one transaction. It takes every name, e-mail, identity, key of a user or scope, author and reason, the audit log
// with its chain, keys and roles. What stays says nothing of anybody: the account's row with its key, so that the key is
// never used again, and ids, allocations, balances and the journal, which never change, so that the books still balance. The
// events in ClickHouse lose the same, after it and until it is done. The
// platform's audit log says what was erased, with the manifest's hash. People who have a role nowhere else lose name and
// e-mail here, until they sign in again; the issuer's are the issuer's.
//
// A crash anywhere: what has no name yet is written anew; what was exported is erased, unless the account changed since, and
// then it is exported again. One process does it at a time. Without a directory nothing is exported, and nothing erased.
//
// Failures: the disk's and the database's; they are logged, and tried again.
//
// Map: job.go (when, and in which order), export.go (the files), erase.go (what goes). Every table of an account stands in
// both tables, or a test fails.
package closing
