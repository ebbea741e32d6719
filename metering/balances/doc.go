// Package balances answers what every scope may spend, has spent and has left, at this moment: the last checkpoint plus
// the journal's tail, read in one snapshot, so that it is as fresh as the last commit whatever the fold does.
//
// It owns no table. Sums adds up journal bodies; the fold uses it too, so that a checkpoint and a tail can't disagree on
// what a charge debits. Trees are the allocation engine's, made of the directory's rows as they are at an instant.
//
// Map: sums.go (journal → amounts), tree.go (rows → allocation.Tree), read.go (both together, by scope), live.go (the same for
// everybody, in memory), open.go (who used nothing, or all, in the open cycle).
package balances
