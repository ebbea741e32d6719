package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Problem is an error as callers get it: RFC 9457 problem details, with a code that does not change.
type Problem struct {
	Type      string       `json:"type" doc:"always about:blank: the code says more" example:"about:blank"`
	Title     string       `json:"title" doc:"the status, in words" example:"Not Found"`
	Status    int          `json:"status" doc:"the HTTP status" example:"404"`
	Code      string       `json:"code" doc:"what went wrong, for programs; stable" example:"not_found"`
	Detail    string       `json:"detail" doc:"what went wrong, for people" example:"There is no such account."`
	RequestID string       `json:"request_id" doc:"finds this request in the logs and in the audit log" example:"01JD8Z6V0T5W3K"`
	Errors    []FieldError `json:"errors,omitempty" doc:"every invalid field"`
	Current   any          `json:"current,omitempty" doc:"of a stale write: the object as it is now, with its ETag in the header"`
	Yours     any          `json:"yours,omitempty" doc:"of a stale write: what you asked for"`

	header http.Header
	cause  error // for the log only
}

// FieldError is what is wrong with one field.
type FieldError struct {
	Field   string `json:"field" doc:"where: body.limits.users, query.limit, path.account" example:"body.time_zone"`
	Code    string `json:"code" example:"invalid"`
	Message string `json:"message" example:"there is no such time zone"`
}

// Codes of problems that every operation may answer with. Nouns add their own.
const (
	CodeUnauthenticated = "unauthenticated"
	CodeForbidden       = "forbidden"
	CodeNotFound        = "not_found"
	CodeInvalid         = "invalid"
	CodeStale           = "stale"
	CodeConflict        = "conflict"
	CodePrecondition    = "precondition_required"
	CodeKeyReused       = "idempotency_key_reused"
	CodeRateLimited     = "rate_limited"
	CodeUnavailable     = "unavailable"
	CodeTimeout         = "timeout"
	CodeInternal        = "internal"
)

// NewProblem makes one.
func NewProblem(status int, code, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// NotFound is the answer for what is not there, and for what is not yours.
func NotFound(k Kind) *Problem {
	return NewProblem(http.StatusNotFound, CodeNotFound, "There is no such "+strings.ReplaceAll(k.Name, "_", " ")+".")
}

// Invalid is the answer for a field that can't be.
func Invalid(field, message string) *Problem {
	p := NewProblem(http.StatusUnprocessableEntity, CodeInvalid, field+": "+message)
	p.Errors = []FieldError{{field, CodeInvalid, message}}
	return p
}

// Conflict is the answer for what does not go with how things are.
func Conflict(code, detail string) *Problem { return NewProblem(http.StatusConflict, code, detail) }

// With sets a header of the answer.
func (p *Problem) With(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Unwrap is what lies behind it.
func (p *Problem) Unwrap() error { return p.cause }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// useProblems makes huma's own errors be Problems. huma knows no other way than its package variable.
var useProblems = sync.OnceFunc(func() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		if status == http.StatusInternalServerError {
			p := NewProblem(status, CodeInternal, "Something went wrong here. The request id finds it in the logs.")
			p.cause = errors.Join(errs...)
			return p
		}
		p := NewProblem(status, codeOf(status), message)
		for _, err := range errs {
			if err == nil {
				continue
			}
			field := FieldError{Code: CodeInvalid, Message: err.Error()}
			var d huma.ErrorDetailer
			if errors.As(err, &d) {
				field.Field, field.Message = d.ErrorDetail().Location, d.ErrorDetail().Message
			}
			p.Errors = append(p.Errors, field)
		}
		if len(p.Errors) == 1 {
			p.Detail = strings.TrimPrefix(p.Errors[0].Field+": "+p.Errors[0].Message, ": ")
		}
		return p
	}
})

func codeOf(status int) string {
	switch status {
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		return CodeInvalid
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	case http.StatusNotAcceptable:
		return "not_acceptable"
	case http.StatusRequestTimeout:
		return CodeTimeout
	}
	return strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "_")
}

// refusal is an Authenticator's error: why a caller is not recognized.
type refusal interface {
	error
	Refusal() (status int, code, detail string)
	Header(http.Header)
}

// problemOf maps any error to what the caller gets. It is the one place that does.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var r refusal
	if errors.As(err, &r) {
		p = NewProblem(r.Refusal())
		p.header, p.cause = http.Header{}, err
		r.Header(p.header)
		return p
	}
	switch {
	case away(err):
		p = NewProblem(http.StatusServiceUnavailable, CodeUnavailable, "The database can't be reached now; try again.").With("Retry-After", "1")
	case class(err) == "22": // data exception: a text with NUL, a number out of range
		p = NewProblem(http.StatusUnprocessableEntity, CodeInvalid, "A value is one that can't be stored.")
	case errors.Is(err, context.DeadlineExceeded):
		p = NewProblem(http.StatusGatewayTimeout, CodeTimeout, "This took too long; ask for less at once.")
	default:
		p = NewProblem(http.StatusInternalServerError, CodeInternal, "Something went wrong here. The request id finds it in the logs.")
	}
	p.cause = err
	return p
}

// Away says whether an error is one that goes by itself: the database can't be reached, ended the session, or can't write now.
func Away(err error) bool { return away(err) }

// away says whether the database could not be reached, or ended the session, or can't write now.
func away(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "53", "57", "58":
			return pg.Code != "57014" || strings.Contains(pg.Message, "lock timeout") // a statement's own timeout is not
		}
		return pg.Code == "25006" || pg.Code == "55P03" // read-only: a standby; a lock that was not to be had
	}
	var connect *pgconn.ConnectError
	var network *net.OpError
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, errPoolBusy) || pgconn.SafeToRetry(err) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// class is the class of a Postgres error; empty if it is none.
func class(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code[:2]
	}
	return ""
}

// Violates says whether err is a violation of the constraint of that name: the way to tell one conflict from another.
func Violates(err error, constraint string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.ConstraintName == constraint
}

var errPoolBusy = errors.New("no connection to the database is free")

// acquire is a connection of the pool, and errPoolBusy when none is free in time.
func acquire(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	conn, err := pool.Acquire(limited)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.Join(errPoolBusy, err)
	}
	return conn, err
}

// One is the row of a query that has one at most: NotFound of k when it has none.
func One[T any](k Kind, rows pgx.Rows, err error, scan pgx.RowToFunc[T]) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, NotFound(k)
	}
	return v, err
}
