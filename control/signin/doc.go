// Package signin recognizes callers: people in browsers, programs with a token, products with a service key.
//
// Service.Authenticate makes an access.Principal of a request. What it is made of:
//
//   - a session cookie. The browser holds a random id and nothing else; Postgres has its SHA-256, what the issuer said
//     about the person, and the tokens, sealed. On unsafe methods the request must come from our own origin and carry the
//     session's CSRF token.
//   - a bearer token: a JWT access token, checked here; an opaque one, which the issuer is asked about (kept for 30 s); or
//     a service key (ck_…).
//
// Whatever a token says, each request asks Postgres (one query) for what holds now: is the person active, is the client
// registered and active, which assignments and elevations are there, which account is an organization of the issuer's. A
// person is written down when first seen. A token of a client that is neither the cockpit nor registered is refused.
//
// Roles of a session are asked for again at the issuer every few minutes, by one process, with the tokens that the session
// holds. While the issuer is away sessions go on with what it said last, until their absolute end; when it refuses, the
// session ends. Discovery, keys and introspection happen when they are needed, in bounded time, on contexts of their own,
// and not more often than a limit, so that neither a caller who hangs up nor a flood of made-up tokens decides what the
// issuer sees.
//
// Failures are an *Error: 401 with a code and the reason, 403 where a request with a cookie did not prove where it comes
// from, 503 where the issuer or Postgres can't be reached and nothing that is known helps. Nothing is let in unsure.
package signin
