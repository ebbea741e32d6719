// Package access says who may do what: principals, their roles, and the one table from roles to permissions.
//
// It is pure: whoever authenticates builds a Principal from what the issuer says and what Postgres knows now, and everybody
// asks Principal.May. A role counts only in the place it was given for: super_admin for the platform, the others for one
// account and one section of it, or all. Where a person comes through a registered client, both must be allowed.
//
// A denial has one of two forms. Absent: the principal has nothing to do with that account or section, and must not learn
// whether it exists. Forbidden: it has, and lacks this permission; the reason says what would give it.
package access
