// Package accounts is the account as a noun of the API: what super admins do with all accounts, and what an account's
// admins do with their own.
//
// States: active → suspended (authorize denies, usage is still charged and flagged; its people read) → active; either →
// closed, for 30 days in which it can be opened again → erased (control/closing): exported, with nothing left of it but its
// key and ids, and never changed again. Key and region never
// change. Each change raises the directory's version, so that metering knows within a second.
//
// Failures: key_taken, section_absent, factor_exists, already_charged, issuer_organization_taken, account_closed, account_erased, and those of every operation.
//
// Map: account.go (the object and its store), platform.go (operations of super admins), own.go (of the account),
// sections.go, factors.go, elevations.go.
package accounts
