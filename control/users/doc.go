// Package users is the user as a noun of the API: whom usage is charged to, in one account. He need not be able to sign in.
//
// A key is what products name him by: case-sensitive, in Unicode form NFC, and no other user's, ever: one that
// he is renamed from is an alias. States: active ⇄
// inactive (usage that still comes is charged, and flagged) → erased, for good: name, e-mail, identities and what alerts call
// him are gone, the key is a neutral one, and what was charged stays with his id. An erased user's keys are known by keyed
// hashes alone, since they may say who he was, so that nobody gets them again; nor does the audit log ever have name, e-mail, key or the values of identities, but only that
// they changed. Every user has a row in each section of the account, as in each section that comes later.
//
// Identities are what others call a user: unique in an account while they last, dated, and never edited. Usage of before the
// end of one is his, whenever it comes.
//
// A user may be a person who signs in: one user of an account at most is. The person's subject is an identity of his, with the issuer as
// its source, which comes and goes with the link.
//
// The limit `users` counts those who are active. It holds, as changes of an account's directory are one after the other.
//
// Failures: key_taken, identity_taken, limit_reached, user_inactive, user_active, user_erased, user_linked, person_linked, and those of every operation.
//
// Map: user.go (the object and its store), list.go, operations.go, identities.go, rename.go, person.go, erase.go, export.go,
// import.go and import_apply.go (users of files, judged and written many at once), cell.go (identities in a cell), export_file.go.
package users
