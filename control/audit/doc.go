// Package audit is the log of who changed what: written in the transaction of the change, sealed into a chain after.
//
// An entry is inserted with a MAC over all of it, by the program's own key, in the transaction of what it records: there is
// no change without its entry, and no entry without its change. No role may update or delete one.
//
// Failures: an entry that can't be written fails the change.
package audit
