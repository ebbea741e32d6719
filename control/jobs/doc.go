// Package jobs is the ground for everything that is done in bulk: a job does one operation to many items, in the background.
//
// An operation is registered by the noun that it is of, in a few lines (Register): its key, the permission that making a job of
// it needs, whose level says where (platform, account, section), its parameters, how ids and a filter become items, what is done
// to items, and what undoes that. A noun that brings its own items, as the lines of a file, makes its jobs with Kind.Create, in
// its own transaction.
//
//	k := jobs.Register(j, jobs.Operation[jobs.None, Filter]{Key: "users.deactivate", Permission: access.UsersWrite, … Apply: …})
//	job, err := k.Create(ctx, c, jobs.Draft[Params]{Params: p, DryRun: true}, items) // or over POST …/jobs
//
// Apply gets a chunk of items in the order of their seq, in one transaction with the role of the job's place, and says of each
// what came of it: done, unchanged or failed. It may do all in a few statements, or with Each one by one, each in a savepoint.
// It works with a call of the job's author (api.Later): it puts changes on record with Record, and they have the job's id for
// the request's. It must change nothing but the database, by c.Tx: a chunk may be rolled back, and done again. An error that is
// a Problem below 500 ends the job as failed, with its code; any other is tried again, and ends it when it stays (triesMax).
//
// States: queued → running → done, cancelled or failed. Done says that each item was tried, and not that each succeeded. Failed
// is a job that could not go on: its author was shut out, the account suspended, something broken. Items keep what came of them.
//
// Exactly once: the transaction of a chunk does its items, puts them on record, writes what came of them, and moves the job's
// position from where it read it, if the job still runs and nobody else took it (epoch); else all of it is undone. So a worker
// that is killed, stopped or superseded anywhere leaves whole chunks and no half of one. A job that is cancelled stops at once:
// the chunk that runs is undone.
//
// River (riverqueue) says which worker works when: its queue has the numbers of account and job and nothing else, since its
// tables know no tenants. A job is queued in the transaction that makes it. A worker works on a job for a while and then goes
// to the end of the queue, so that a long job holds up nobody. A job whose worker gave no sign of life for lostAfter is queued
// again, whatever River's tables say, also when they are lost.
//
// A dry run does each chunk in a savepoint, keeps what came of it, and undoes it. What it says holds for a chunk by itself: it
// does not see what earlier chunks would have changed.
//
// Undo makes a new job of the items that were done, the last first, with what their outcomes kept for it. It is refused while
// the job runs and where another undo of it was made that was not cancelled and did not fail.
//
// Jobs that ended are kept for keptFor, and then removed with their items. An item's data goes as soon as it is done, or, within
// removeEvery, when its job was cancelled or failed.
//
// Failures: operation_unknown, too_many_items, job_ended, job_running, not_undoable, already_undone, author_shut_out, and those
// of every operation.
//
// Map: operation.go (registering), outcome.go (items and what comes of them), job.go (the object and its store), create.go,
// change.go (cancel, undo), routes.go, worker.go (River, liveness, retention), chunk.go (one transaction of work).
package jobs
