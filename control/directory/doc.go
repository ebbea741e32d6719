// Package directory brings the directory to the state that a file describes: `cockpit apply` and `diff`; and
// back: `export`.
//
// Applying is one transaction. It compares and writes only what differs, so applying the same file again is no change, and
// says of everything that it changed. What the file leaves out stays, unless pruning is asked for. History is kept:
// memberships, parents, prices, factors, allocations and caps are effective-dated rows that are ended or followed, never
// edited. A past price is refused when it could have been charged at another one already; such a mistake is corrected by
// `cockpit correct`.
//
// Export writes the file that describes the database as it is now: applying it there changes nothing, pruning or not. A file
// says what holds now, and not since when nor what was before; the exceptions are prices and factors, which it has from the
// first on. What the database has and a file can't say is named, never dropped silently.
//
// Failures: every mistake in the file is reported, each with the place where it stands; the database is then not touched.
//
// Map: file.go (what a file says), validate.go, apply.go (platform: sections, sources, models, plans), account.go (accounts
// and their trees), amounts.go (allocations, caps, overrides); export.go (platform), export_account.go, write.go (a file as text).
package directory
