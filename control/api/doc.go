// Package api is the ground that every noun of the control API stands on: huma v2 on gin, and what contracts.md promises
// of each operation alike.
//
// An operation is described once, with Read, Write or List: its route, permission, errors and examples. From that come the
// server, the OpenAPI document, its docs page, the CSV twin of each list, and the tests that walk over all operations. One
// without a known permission panics when it is registered, so that no build with it passes its tests.
//
// What happens to a request, in this order: limits of size, depth and time; request id; who calls (401); how often (429);
// which account and section the path names, and whether the caller may do this there (404 for what is not his, exactly as
// for what is not there; 403 where he lacks the permission); validation (422); and then, in one transaction, the
// Idempotency-Key, the handler, and the audit entry. A handler gets a transaction whose role and account are set: in an
// account's route it can't reach another account's rows, whatever it asks for (row-level security).
//
// Errors: a handler returns a *Problem, or any other error, which problemOf maps: a store that is away is 503 with
// Retry-After, what is not foreseen 500 without details, and in the log with them.
//
// Map: api.go (the server), operation.go (Read, Write), download.go and upload.go (files), call.go (who and where), transaction.go, idempotency.go, list.go and
// csv.go (lists), etag.go, problem.go, limits.go, ids.go, description.go and docs.html (the document and its page).
package api
