// Package worker takes records from Kafka to the journal: one worker a partition, one statement a batch.
//
// A batch goes decide → publish → commit (architecture, Exactly once). The service polls on one goroutine, which also seeks,
// so that no record polled before a seek is taken after it; rebalances wait while polled records are handed out. Each
// partition's worker owns its decider and window, and takes what has queued as its next batch: while one batch commits,
// the next one grows.
//
// What goes wrong, and what happens then:
//
//   - a commit is refused, or its outcome unknown: the worker starts over from the journal (takes the log, loads the
//     window, seeks), so that nothing of a refused batch stays in the window;
//   - Kafka no longer has what was not read, or the topic was made anew: the log is paused in Postgres with the reason,
//     and goes on only when an operator accepts the loss;
//   - Postgres or Kafka is away: everything is retried until it is back; polling stops when queues are full;
//   - the number of partitions grew: a new generation is begun, which refuses commits under the old one.
//
// Map: service.go (client, assignment, polling), partition.go (one worker's life), batch.go (one batch), lookup.go
// (events older than the window), rejoin.go (after a kill), stats.go.
package worker
