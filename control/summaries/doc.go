// Package summaries is the platform's summary of all accounts: users, allocated, used, forecast, open alerts, last
// activity, in a list that is sorted by any of them and stays quick with any number of accounts.
//
// A job brings a table up to date (account_summaries); the list reads nothing else of metering. One process does at a time.
// Used is exact as of as_of, checkpoint and tail of the journal in one snapshot (metering/balances), and is compared for all
// accounts, since one read gives it. Users and allocated are counted again for accounts whose directory changed since, or
// whose cycle or override ended. A row is written when one of its figures changed; a forecast, which changes with every
// second, at least every forecastEvery.
//
// Credits and USD are summed apart. A section whose root nothing limits adds nothing to allocated. Last activity is when the
// job saw usage grow: to its period, and not of late events of cycles that have ended.
//
// Failures: the job says what it could not do and tries again; the list goes on with what there is, and as_of says of when.
package summaries
