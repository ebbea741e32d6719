// Package rollups writes ClickHouse: every usage and guardrail event with its decision and charge, and the sums that
// charts read. It follows the journal, and reads the events themselves from Kafka again.
//
// Exactly once: the bounds of each batch are persisted in Postgres (rollup_batches) before its first insert; every insert
// carries a token of table, batch, logs and ranges, with its rows in order, so that an insert that is repeated after a crash is
// recognized by ClickHouse's deduplication window and dropped. Rows are functions of bounds and journal alone. Sums are
// made here and not by materialized views, whose deduplication differs between releases.
//
// One process writes at a time, held by an advisory lock; the others wait for it. A batch is of all logs, and takes what
// there is up to a bound: an insert costs much more than its rows, so few and large ones keep up where many small ones do not.
//
// Failures: whatever store is away, batches are tried again until they are in. An event that Kafka no longer has is
// written with what the journal knows of it.
//
// Map: writer.go (the loop), plan.go (bounds), source.go (events from Kafka), build.go (journal ⨝ events → rows),
// insert.go (tables and tokens), correct.go (corrections), query.go (the one way to read), reconcile.go (are sums those of the events).
package rollups
