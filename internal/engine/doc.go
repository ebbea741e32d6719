// Package engine runs the stores that cockpit dev and the tests use on one machine: Postgres, Kafka (franz-go's kfake) and
// ClickHouse (libchdb), each as a child process with its data on disk.
//
// The engines come from npm, pinned by deploy/engines, into a cache that all checkouts share (Install). A child dies with
// its parent, also when the parent is killed: on Linux by the parent-death signal, elsewhere and for the children that are
// this program itself by the end of their standard input. Ports are chosen anew at each start, so that a stale one does
// not matter; a stale lock file of a Postgres that is gone is removed by Postgres itself.
//
// Postgres refuses to run as root. Started by root it runs in a user namespace in which root's files belong to nobody, so
// that no file needs another owner; where namespaces are not allowed, as the user nobody, who must then be able to reach
// the data directory.
//
// Failures: an engine that does not come up returns the end of its log in the error.
package engine
