// Package planted keeps the tests honest: for each bug that once was, or nearly, there is a patch that plants it, and a
// test elsewhere that must see it.
//
// A patch is never applied to the tree: its lines are found by what they say, changed in a copy, and the copy is laid over the
// original with go's -overlay. Headers of a patch say what the bug is and which test must catch it. A patch that no longer
// applies, a test that is not there, and a bug that nothing catches fail; so does a test that fails without the bug.
//
// It has no code but tests. `go test ./internal/planted` tries the patches on; with the build tag planted (`make planted`) the tests
// run too, which takes minutes.
package planted
