// Package unattributed is what was used in the name of keys that no user has, and what admins say of it: whose a key is, an
// attribution.
//
// Such usage is charged to the account alone, flagged. The keys are listed from ClickHouse, which has the events with their
// decisions: as far as they are not corrected, for as long as events are kept, the largest (or newest) keysMost of them. A
// key is made a user by createUser with that key, or given to a user as an identity; usage of from then on is charged to
// him within a second, as with every change of the directory.
//
// What was charged before is corrected by a job, if that is asked for: all charges of the open cycles that name exactly this
// key and were flagged (also those of a team that the user was not in, or of no membership), along the path that the
// directory gives now. It waits until every worker has the directory, notes where the logs stand, waits until ClickHouse has
// the events below, corrects them (metering/correct), and looks again until nothing is left. States: waiting → running → done,
// or failed, which can be tried again. It is durable, and may be cut off anywhere: corrections are fenced in the journal, a
// charge that is as the directory says is left alone, and how many were corrected is counted in the journal. Who asked and
// why stands in the journal and in the audit log, which has no keys.
//
// Failures: usage_unavailable, key_taken, identity_taken, user_erased, attribution_waiting and the like, and those of every
// operation. While a store is away the job tries again.
//
// Map: list.go (keys), attribution.go (the object and its store), operations.go, job.go.
package unattributed
