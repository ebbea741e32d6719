// Package imports is the ground of files that people send and take away: CSV of users, of a section's tree, of memberships. It owns
// the form of files, what is checked of a line whatever it is about, and how lines become the items of a job; what a line means is
// its noun's, which registers a Kind.
//
// A file comes twice under its reader, from a disk. The first time tells what its lines name, the second judges them, in pages, by
// that and by what the directory has, and makes them the items of a job, in the transaction of the request. So a job begins with
// what came of each line when the file came: a dry run says that and is done. Any other judges the lines that were good again, a
// chunk at a time, in the directory's lock and by what is there then, and applies what is still good. Both are the same Judge. What
// was bad when the file came stays bad, even where an earlier line would have made it good: so a dry run says what a run does,
// unless somebody changes the directory between them.
//
// One file after the other changes an account, in chunks, each in the account's lock. Two at once are two jobs whose chunks
// come in any order; each chunk is judged by what the others left, and of two that say different things the later one holds.
//
// Invariants: what Writer writes, Reader reads, every text of it, with whatever line ends and formulas; memory is bounded by a page
// of lines and a hash for each name, and by a line's length, whatever the file has; nothing is applied that was not judged under the
// lock; a line that is the same as what is there is unchanged, whatever the rules for new ones are. Lines keep their cells in the
// database until they are done, and nothing of them after.
//
// Failures: of a file, at once: not_csv, header_invalid, too_many_lines, too_large, unsupported_media_type. Of a line, as what came
// of its item: cells, invalid, required, named_twice, and the noun's own.
//
// Map: csv.go (files), line.go (lines and verdicts), claims.go (what a file names twice), kind.go (what a noun registers),
// register.go (the operation and its jobs), export.go.
package imports
