// Package invites is the invite as a noun of the API: what brings somebody who signs in to what the account has for him.
//
// There are two kinds. An invite to a role (account_admin, account_viewer, section_admin) names an e-mail; whoever accepts it
// gets the assignment. An invite of an end user names a user of the account who has a place in the section; whoever accepts it
// is from then on the person of that user. So the directory is made first, by hand or by an import, and inviting only says who
// signs in as whom. One person may accept invites of any number of accounts.
//
// An invite goes out by link, which is shown once to whoever invites and is his to pass on, or by the issuer's own mail, where
// the cockpit provisions it. A link is good once, until the invite expires, is revoked, or is sent again, which makes another
// one. It is accepted by whom the issuer knows under the e-mail that was invited, in any case and not unverified, so that a link that
// went astray opens nothing. The text of a link is kept as a hash. An invite by mail is accepted for whom it is for as soon as he has set
// himself up at the issuer, or signs in here.
//
// Where the issuer is provisioned, it is told the role: with the mail, or when a link is accepted. Revoking takes that back, unless
// another invite of his has it. Whom the issuer calls admin already is not made less by an invite to a smaller role.
//
// States: pending → accepted or revoked; a pending one whose time is over shows as expired, and can be sent again. Nobody has
// two pending invites to the same: inviting again sends the first one again. An account may name the domains that it invites; they are looked at when an invite is made,
// sent again, and accepted.
//
// The audit log has the e-mail of an invite to a role, and of an end user only his id.
//
// Failures: invite_accepted, invite_revoked, invite_expired, domain_not_allowed, no_email, no_membership,
// user_linked, user_inactive, user_erased, other_email, mail_unavailable, by_link, and those of every operation.
//
// Map: invite.go (the object and its store), send.go (make and send again), mail.go (by the issuer), operations.go, accept.go,
// page.go (the page that a link opens), jobs.go.
package invites
