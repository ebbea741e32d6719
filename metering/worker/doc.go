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
//   - the dedupe window is full: the partition stands still, deciding and forgetting nothing, until Kafka's clock, which the
//     broker is asked for, is past the window's oldest hours; or until it is started with a higher limit;
//   - a past hour of the window can't be written (a full disk): the partition stands still until it can; it can't be read
//     back: the worker starts over;
//   - Postgres or Kafka is away: everything is retried until it is back; polling stops when queues are full;
//   - the number of partitions grew: a new generation is begun, which refuses commits under the old one.
//
// Map: service.go (client, assignment, polling), partition.go (one worker's life), window.go (its dedupe window), batch.go
// (one batch), lookup.go (events older than the window), rejoin.go (after a kill), stats.go.
package worker
