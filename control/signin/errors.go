package signin

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Error says why a caller is not recognized.
type Error struct {
	Status int    // 401, 403 or 503
	Code   string // for programs; never changes
	Reason string // for people
	cause  error
}

// Codes.
const (
	CodeUnauthenticated = "unauthenticated"      // 401: nobody says who it is
	CodeInvalidToken    = "invalid_token"        // 401: a token or key that is none
	CodeExpiredToken    = "expired_token"        // 401: it was good
	CodeSessionEnded    = "session_ended"        // 401: expired, revoked, signed out, or never there
	CodeClientRefused   = "client_refused"       // 401: of a program that may not call here
	CodePersonInactive  = "person_inactive"      // 401
	CodeCSRF            = "csrf"                 // 403
	CodeIssuerAway      = "issuer_unreachable"   // 503
	CodeDatabaseAway    = "database_unreachable" // 503
)

func (e *Error) Error() string {
	if e.cause != nil {
		return e.Reason + ": " + e.cause.Error()
	}
	return e.Reason
}

func (e *Error) Unwrap() error { return e.cause }

// Refusal is what the caller is told.
func (e *Error) Refusal() (status int, code, detail string) { return e.Status, e.Code, e.Reason }

// Header sets what goes with the answer: how to sign in (RFC 6750), or when to try again.
func (e *Error) Header(h http.Header) {
	switch e.Status {
	case http.StatusUnauthorized:
		challenge := "Bearer"
		if e.Code != CodeUnauthenticated {
			challenge += ` error="invalid_token", error_description=` + strconv.QuoteToASCII(e.Reason)
		}
		h.Set("WWW-Authenticate", challenge)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "2")
	}
}

// Reasons for which a token is refused. Each check has its own.
const (
	reasonCredentials  = "more than one credential"
	reasonScheme       = "the Authorization header is no bearer token"
	reasonForm         = "the token is not well formed"
	reasonSize         = "the token is too long"
	reasonHeader       = "the token's header is not that of an access token"
	reasonPayload      = "the token's payload is no object of claims"
	reasonTwice        = "the token has a claim twice"
	reasonAlgorithm    = "the token's algorithm is not allowed"
	reasonIssuer       = "the token is of another issuer"
	reasonSignature    = "the token's signature is not the issuer's"
	reasonExpired      = "the token has expired"
	reasonNotYet       = "the token is not good yet"
	reasonIssuedLater  = "the token is issued in the future"
	reasonIssuedAt     = "the token does not say when it was issued"
	reasonSubject      = "the token does not say whom it stands for"
	reasonTokenID      = "the token has no id"
	reasonClient       = "the token does not say which client it is for, or says two"
	reasonAudience     = "the token is not meant for the cockpit's project"
	reasonIDToken      = "the token is an ID token"
	reasonLogout       = "the token is a log-out token"
	reasonActor        = "the token lets somebody act for another"
	reasonBound        = "the token is bound to a key, and came as a bearer token"
	reasonRoles        = "the token's roles are not in the issuer's form"
	reasonInactive     = "the issuer says that the token is not active"
	reasonOpaque       = "opaque tokens are not accepted here"
	reasonKey          = "the service key opens nothing"
	reasonClientNone   = "the token is of a client that is not registered here"
	reasonClientOff    = "the client is inactive"
	reasonPersonOff    = "the person is inactive"
	reasonSession      = "the session has ended; sign in again"
	reasonNothing      = "sign in, or send a bearer token"
	reasonIssuerAway   = "the issuer can't be reached"
	reasonDatabaseAway = "the database can't be reached"
	reasonOrigin       = "the request does not come from the cockpit's own pages"
	reasonCSRF         = "the request lacks the session's CSRF token (X-CSRF-Token, from GET /auth/session)"
)

func refused(reason string) *Error {
	e := &Error{Status: http.StatusUnauthorized, Code: CodeInvalidToken, Reason: reason}
	switch reason {
	case reasonNothing:
		e.Code = CodeUnauthenticated
	case reasonExpired:
		e.Code = CodeExpiredToken
	case reasonSession:
		e.Code = CodeSessionEnded
	case reasonClientNone, reasonClientOff:
		e.Code = CodeClientRefused
	case reasonPersonOff:
		e.Code = CodePersonInactive
	case reasonOrigin, reasonCSRF:
		e.Status, e.Code = http.StatusForbidden, CodeCSRF
	}
	return e
}

func issuerAway(cause error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeIssuerAway, Reason: reasonIssuerAway, cause: cause}
}

func databaseAway(cause error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: CodeDatabaseAway, Reason: reasonDatabaseAway, cause: cause}
}

// problem answers with an error as problem details (RFC 9457). The cause is for the log and does not leave.
func (s *Service) problem(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = databaseAway(err)
	}
	if e.Status == http.StatusServiceUnavailable {
		s.log.WarnContext(r.Context(), "a caller can't be recognized", "code", e.Code, "error", e)
	}
	e.Header(w.Header())
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(e.Status), "status": e.Status, "code": e.Code, "detail": e.Reason})
}
