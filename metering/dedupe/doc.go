// Package dedupe is the window of identities seen before, by the hour of the time of the event that had them first.
//
// Its clock is Kafka's, told by Advance. The two newest hours and whatever lies ahead are sets in memory outside of the Go
// heap, at most 37 bytes an identity (set.go). An hour that is past is settled, a bounded piece at a time: its identities go
// into a sorted run in a scratch file, of which a filter and an index stay in memory, 2.3 bytes an identity (run.go, filter.go);
// four runs' filters are made into one, so that what is absent costs a line of memory for four hours (group.go). What comes
// for such an hour late is kept in a small set beside the run, and merged into a new run when it has grown to a 64th of it
// (hour.go). The memory of an hour that was settled goes to the next one that begins. Whatever is older than Floor the window
// does not hold, and says so; the journal knows it exactly.
//
// The package decides nothing by a store or a clock, and what it knows of files is File: something to write at and to read
// at. It is an interface so that tests can have a disk that is full, fails, or forgets what was written; Scratch, beside it,
// is the one that is used.
//
// Invariants:
//
//   - Contains and Add are exact for all identities whose first event's time is not below Floor: no false positive, no false
//     negative, whatever time a copy says it has. Every identity is in a set or in a run at any moment, also while it is
//     being moved, and the clock only decides what is below Floor.
//   - Add beyond the limit is ErrFull and changes nothing: nothing is forgotten to make room.
//   - Blocks of a run carry a checksum in memory. What can't be read, or is not what was written, is an error and never
//     “not seen”.
//
// Failures: when a run can't be written, Settle says so, nothing has changed, and it may be called again. After ErrBroken the
// window is to be closed and made anew from the journal. A window is memory that the garbage collector does not
// know: Close gives it back.
package dedupe
