// Package keys makes, lists, rotates, revokes and recognizes service keys: what products and gateways send events with.
//
// A key's text is ck_ and 40 characters: 32 random ones in base 62 and the CRC-32 of them in 8 hexadecimal digits, so that a
// mistyped key, or one found in a log, is known for what it is without a database. Only its SHA-256 is kept; it is shown
// once. A key covers sources (or all), and through them sections and accounts. An account's own key is for that account
// alone; one of the platform's is for all accounts, or for those that it names. Rotating gives a key a new text; the one
// before is good for as long as was asked, and no other: at most two texts are good at once.
//
// A key that is revoked, expires or loses its account opens nothing after cacheFor, in every process. An account has at
// most limits.keys keys that are good, however many are made at once: whoever makes one holds the account's row.
//
// Failures: ErrUnknown for a key that is not one, revoked, expired or never made; keys_limit, key_revoked, key_expired of
// the API; anything else is the database's.
//
// Map: text.go (what a key looks like), key.go (the object and how it is kept), store.go (for the collector and the command
// line), own.go (operations of an account), platform.go (of the platform).
package keys
