// Package provisioning keeps ZITADEL in step with the directory: an account's organization there, the people who were
// invited, and their roles in that organization; and takes what is changed there back.
//
// What is wanted is written in the caller's transaction (Organization, Invite, Mail, Revoke, SetState, SetPerson), one row for
// each object there: so a request never fails because ZITADEL is away, and several changes of one object are one call. A
// Worker in each process of the API brings it about. Invariants:
//
//   - Level-triggered: a row says that something is wanted (asked is raised), and the worker reads what, when it gets to it.
//     What was changed meanwhile leaves asked above done, and is done next. Nothing is lost, and nothing done in a wrong order.
//   - Order: organization, its project grant, user, mail, authorization. A row whose turn has not come is not claimed.
//   - One organization an account, one user a person, whatever is lost or repeated: ids there are of our own choosing and in the
//     row before the first call, so that a call which was done and not answered is done again as the same. Whoever has the
//     e-mail there already, verified, is taken: a further account is an authorization, and never a second user. An e-mail that
//     nobody verified gives nobody a role.
//   - ZITADEL owns name, e-mail and log-in state; the cockpit owns who belongs where with which roles. A deactivation on either
//     side wins, and each side takes back only its own. An account's admin reaches roles in his account; the person himself only
//     when the account made him and no other has him.
//   - A row is one process's while leased; what it finds out afterwards counts only if nobody took it over.
//   - Events come signed, are applied once and in order (sequence), and each effect is on record. Those that got lost are made up
//     for by Reconcile, which compares with lists in pages.
//
// Failures: while ZITADEL is away, or limits us, or refuses the service user, one row is tried now and then, at most a minute
// apart, and everything goes on when that works. What is refused five times is failed, with the reason, and tried hourly or
// when somebody asks. Everything is off, and no row is made, where the program has no key of a service user.
package provisioning
