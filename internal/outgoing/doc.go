// Package outgoing is the one HTTP client for addresses that somebody outside named: webhooks, documents, servers of tools.
//
// It reaches only what is globally routable. The address is looked at when the connection is made, after DNS, so that a name
// that resolves to one address for a check and to another for the connection gains nothing. Hosts that operators name are
// excepted: they may be private, and plain HTTP; but never link-local, nor where clouds keep their machines' credentials.
// No redirect is followed, no proxy variable is heeded, and an answer has limits of size and time.
//
// Failures: ErrRefused for what may not be asked, ErrTooLarge while reading an answer that is longer than allowed, and the
// errors of net/http. None of them tells which address a name has here: whoever named it shall not learn that.
package outgoing
