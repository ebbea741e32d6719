package api

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/access"
	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

// Operation describes one operation. Its place follows from its path: below /v1/accounts/{account} it is of the account,
// below …/sections/{section} of the section, and otherwise of the platform or the caller.
type Operation struct {
	Method      string
	Path        string
	ID          string // createAccount
	Summary     string // Create an account
	Description string
	Tag         string // Accounts
	Permission  access.Permission
	Status      int   // of success; default 200
	Errors      []int // besides those that every operation may answer with
	Examples    []Example

	account, section bool
	timeout          time.Duration
}

// Example is a request that a test runs against the demo, and that the document shows for curl.
type Example struct {
	As     string // super_admin, account_admin:acme, … as of `cockpit token --as`
	Path   string // with its parameters and query filled in; {id} is the id of what Make made
	Make   string // the operation whose first example is run before
	Header map[string]string
	Body   string // JSON; empty: none
	Status int    // that must come; default: the operation's
}

// AccountPath is embedded by the inputs of an account's operations. Which account it is, the call knows.
type AccountPath struct {
	Account string `path:"account" maxLength:"200" doc:"the account's id, or key: and its key" example:"key:acme"`
}

// SectionPath is embedded by those of a section's operations.
type SectionPath struct {
	AccountPath
	Section string `path:"section" maxLength:"200" doc:"the section's id, or key: and its key" example:"key:copilot"`
}

// Describe puts an operation into the document that is served beside huma, by whoever streams its body. Its statuses and
// bodies are what o says; everything else about it is as with all others.
func Describe[Body any](a *API, op Operation, o huma.Operation) {
	if _, known := op.Permission.Known(); !known || op.ID == "" || op.Summary == "" || op.Tag == "" || len(op.Examples) == 0 {
		panic("BUG: an operation that is described has what all have: " + op.Path)
	}
	registry := a.huma.OpenAPI().Components.Schemas
	o.Method, o.Path, o.OperationID, o.Summary, o.Description, o.Tags = op.Method, op.Path, op.ID, op.Summary, op.Description, []string{op.Tag}
	o.Security = []map[string][]string{{"bearer": {}}}
	o.Extensions = map[string]any{"x-permission": op.Permission, "x-codeSamples": a.samples(&op)}
	problem := &huma.MediaType{Schema: registry.Schema(reflect.TypeFor[Problem](), true, "Problem")}
	answer := &huma.MediaType{Schema: registry.Schema(reflect.TypeFor[Body](), true, "Answer")}
	o.Responses = map[string]*huma.Response{strconv.Itoa(op.Status): {Description: http.StatusText(op.Status), Content: map[string]*huma.MediaType{"application/json": answer}}}
	for _, status := range op.Errors {
		o.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{"application/problem+json": problem}}
	}
	if r := o.Responses["400"]; r != nil {
		r.Content["application/json"] = answer
	}
	o.Errors = op.Errors
	a.huma.OpenAPI().AddOperation(&o)
	a.elsewhere = append(a.elsewhere, &op)
}

// everywhere are the errors that every operation may answer with.
var everywhere = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity,
	http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// ofWrites are those of writes besides.
var ofWrites = []int{http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}

// noDeadline keeps huma from setting one on the connection: the body has been read before, and a deadline that passes while
// the handler works would end the request's context.
const noDeadline = -1

// prepare checks what can be checked when the program starts, and panics about it.
func (a *API) prepare(op *Operation) huma.Operation {
	level, known := op.Permission.Known()
	op.account = strings.HasPrefix(op.Path, "/v1/accounts/{account}")
	op.section = strings.HasPrefix(op.Path, "/v1/accounts/{account}/sections/{section}")
	switch {
	case !known:
		panic(fmt.Sprintf("BUG: %s %s needs a permission of control/access, and not %q", op.Method, op.Path, op.Permission))
	case (level == access.Section) != op.section, (level == access.Account || level == access.Section) != op.account:
		panic(fmt.Sprintf("BUG: %s %s does not stand where %s is checked", op.Method, op.Path, op.Permission))
	case op.ID == "" || op.Summary == "" || op.Tag == "" || len(op.Examples) == 0:
		panic(fmt.Sprintf("BUG: %s %s needs an id, a summary, a tag and an example", op.Method, op.Path))
	}
	if op.Status == 0 {
		op.Status = http.StatusOK
	}
	if op.timeout == 0 {
		op.timeout = requestTimeout
	}
	errs := append(slices.Clone(everywhere), op.Errors...)
	if op.Method != http.MethodGet {
		errs = append(errs, ofWrites...)
	}
	slices.Sort(errs)
	a.operations = append(a.operations, op)
	return huma.Operation{Method: op.Method, Path: op.Path, OperationID: op.ID, Summary: op.Summary, Description: op.Description, Tags: []string{op.Tag},
		DefaultStatus: op.Status, Errors: slices.Compact(errs), MaxBodyBytes: bodyMax, BodyReadTimeout: noDeadline, Middlewares: huma.Middlewares{a.admit(op)},
		Security:   []map[string][]string{{"session": {}}, {"bearer": {}}},
		Extensions: map[string]any{"x-permission": op.Permission, "x-codeSamples": a.samples(op)}, RejectUnknownQueryParameters: true}
}

// Read registers an operation that changes nothing. Its transaction is read-only, and sees one moment.
func Read[I, O any](a *API, op Operation, f func(context.Context, *Call, *I) (*O, error)) {
	huma.Register(a.huma, a.prepare(&op), func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		var out *O
		err := a.cfg.Stores.InTx(ctx, c.accountID(), pgx.ReadOnly, func(tx pgx.Tx) (err error) {
			c.Tx = tx
			out, err = f(ctx, c, in)
			return err
		})
		if err != nil {
			return nil, a.problem(ctx, c.RequestID, err)
		}
		if unchanged(in, out) {
			return nil, NewProblem(http.StatusNotModified, "", "").With("ETag", any(out).(tagged).entityTag())
		}
		return out, nil
	})
}

type tagged interface{ entityTag() string }

func unchanged(in, out any) bool {
	asked, ok := in.(interface{ has(tag string) bool })
	if !ok {
		return false
	}
	t, ok := out.(tagged)
	return ok && asked.has(t.entityTag())
}

// Write registers an operation that changes something. Handler, audit entry and the kept answer are one transaction.
func Write[I, O any](a *API, op Operation, f func(context.Context, *Call, *I) (*O, error)) {
	huma.Register(a.huma, a.prepare(&op), func(ctx context.Context, in *I) (*O, error) {
		c := callOf(ctx)
		out, err := write(ctx, c, in, in, func() (*O, error) { return f(ctx, c, in) })
		if err != nil {
			return nil, a.problem(ctx, c.RequestID, err)
		}
		return out, nil
	})
}

// write calls f in the transaction of a write: with an Idempotency-Key once for the same request.
func write[I, O any](ctx context.Context, c *Call, in *I, request any, f func() (*O, error)) (out *O, err error) {
	err = c.api.cfg.Stores.InTx(ctx, c.accountID(), pgx.ReadWrite, func(tx pgx.Tx) (err error) {
		c.Tx = tx
		key := ""
		if i, ok := any(in).(idempotent); ok {
			key = i.idempotencyKey()
		}
		out, err = once(ctx, c, key, request, f)
		if err == nil && !c.recorded && !c.repeated {
			return fmt.Errorf("BUG: %s left no audit entry", c.operation.ID)
		}
		return err
	})
	return out, err
}
