// Package audit is the log of who changed what: written in the transaction of the change, sealed into a chain after.
//
// An entry is inserted with a MAC over all of it, by the program's own key, in the transaction of what it records: there is
// no change without its entry, and no entry without its change. No role of the program may update or delete one.
//
// Sealing gives each account, and the platform (chain 0), a chain: seals with a contiguous seq and a hash over the hash before,
// seq, the entry and its MAC. A sealer takes entries that committed, about a second later, so that writers of one account wait
// neither for each other nor for it. The newest seal of each chain is its head, signed. Which entries are to be sealed says a
// queue that a trigger fills: never an id beyond the last one, since ids commit in any order. One sealer works at a time, under
// a lock of its transaction; killed anywhere, it leaves all or nothing. A chain that does not end as its head says is not
// sealed any further, because that would cover up what was done to it.
//
// Exporters hand every sealed entry to the topic audit.v1 and a webhook, in the order of its chain, at least once, with the
// signed head: so what is cut off in Postgres shows outside. Each remembers in Postgres how far it is.
//
// Invariants, which Verify proves with a row at a time in memory: MACs fit, seq is contiguous, hashes follow from each other,
// heads are signed and are the ends of their chains, entries older than a minute are sealed, and every head that was kept
// outside names a seal that is there. What nobody can prove is in docs/decisions/0013-audit-chain.md.
//
// Failures: an entry that can't be written fails the change. While Postgres is away, nothing is sealed or exported; while Kafka
// or the webhook is, nothing is exported there; all of it goes on by itself.
//
// Map: entry.go (writing), diff.go (what changed), chain.go (keys, hashes, heads), seal.go, verify.go, export.go with kafka.go
// and webhook.go, store.go (reading), file.go (CSV and NDJSON), row.go (how a row is read, whatever was made of it).
package audit
