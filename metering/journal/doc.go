// Package journal is the fence and the append-only record of what metering decided, in Postgres.
//
// It owns the tables offsets and journal. A log is a partition of a topic, by (cluster id, topic id, partition), or the
// log of corrections. Invariants:
//
//   - One statement moves a log's position and appends the row, so a position without its row, or a row without its
//     position, cannot be; and a worker that stops in the middle holds no lock.
//   - Whoever takes a log raises its epoch. A commit under an older epoch, another generation (number of partitions) or
//     from another position writes nothing and returns ErrFenced.
//   - Ranges of one log are contiguous.
//   - A log that is paused has an alert, written in the statement that pauses it.
//
// Failures: a commit whose answer was lost is resolved by taking the log (which waits for the statement, should it still
// run, and shuts out what comes later) and looking up the batch id, never by comparing positions.
package journal
