// Package clients is the registered programs that call the API with the token of a person who signed in there. A request
// has the rights of both, the person's and the client's; so a client is registered with permissions and sections, never with
// what is the platform's, and with the origins of its pages, which may call from browsers.
//
// A client is found by issuer and client id, which no two share. It is deactivated and not deleted: the audit log names it.
// Inactive, it is nobody with the next request, and its origins are forgotten within seconds.
//
// Failures: key_taken, client_id_taken, and those of every operation.
package clients
