// Package people is who has which role where: assignments, which an account's admins give, and people, whom super admins
// see and shut out.
//
// A person is whoever signed in once, or was invited through the issuer (control/provisioning). Which accounts somebody is admin of, the issuer says; an assignment narrows that, or
// makes a viewer or a section admin (control/access, Effective). Invariants:
//
//   - An account always keeps an admin. Nobody assigns to or takes from himself, and whoever was narrowed while his request
//     was under way changes nothing: changes in an account are one after the other, so whoever made the last one still is
//     admin. And taking an assignment away never takes what the issuer says.
//   - Super admins keep one too: nobody deactivates himself, and who was deactivated meanwhile deactivates nobody.
//   - Admins name people by what they must know of them, an e-mail or a subject; by id only those who have a role in the
//     account. What else is there of other people, they can't find out.
//
// An inactive person is refused with the next request: whoever authenticates looks at the state each time. His assignments
// stay, for when he is active again.
//
// Failures: own_assignment, narrowed, person_ambiguous, own_person, shut_at_issuer, and those of every operation.
package people
