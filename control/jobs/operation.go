package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

// chunkDefault is how many items one transaction does: few enough that nobody who changes a directory waits for long.
const chunkDefault = 200

// None is for operations without parameters, or without a filter.
type None struct{}

// Selection is what a filter selects: an api.Query is one.
type Selection interface {
	Numbers(ctx context.Context, tx pgx.Tx, max int) ([]int64, error)
}

// Operation is what jobs of one kind do. P are its parameters and F the fields of its filter: structs with json names and
// huma's tags, by which they are validated; unknown fields are refused.
type Operation[P, F any] struct {
	Key        string // users.deactivate: the noun, and what is done
	Summary    string // Deactivate users
	Permission access.Permission
	Kind       api.Kind // of the objects that it is done to
	Chunk      int      // how many items a transaction does; 0: chunkDefault
	Fills      []string // tables that grow by a row or so for each item
	Reasoned   bool     // a job of it must say why

	// Check refuses parameters that can't be; it may fill them in, as with the id of what a key names. nil: all can.
	Check func(context.Context, *api.Call, *P) error
	// IDs are the refs of what ids of a request name, in their order: ids of Kind, and as it was given what names nothing, which
	// Apply then says. Canonical does that. nil: none are taken.
	IDs func(context.Context, *api.Call, *P, []string) ([]string, error)
	// Filter selects, by what the noun's own list is made of, so that it selects what that shows. nil: none is taken.
	Filter func(context.Context, *api.Call, *P, *F) (Selection, error)

	Apply Apply[P]
	Undo  Apply[P] // nil: it can't be undone
}

// Kind is a registered operation, for the noun that makes jobs of it by itself.
type Kind[P any] struct {
	jobs *Jobs
	op   *operation
}

// operation is one without its types.
type operation struct {
	key, summary string
	permission   access.Permission
	level        access.Level
	kind         api.Kind
	chunk        int
	fills        []string
	reasoned     bool
	params       *form
	filter       *form

	check       func(context.Context, *api.Call, json.RawMessage) (json.RawMessage, error)
	ids         func(context.Context, *api.Call, json.RawMessage, []string) ([]string, error)
	selects     func(context.Context, *api.Call, json.RawMessage, json.RawMessage) (Selection, error)
	apply, undo func(context.Context, *api.Call, *Batch[json.RawMessage]) ([]Outcome, error)
}

// Register adds an operation.
func Register[P, F any](j *Jobs, o Operation[P, F]) *Kind[P] {
	level, known := o.Permission.Known()
	switch {
	case !known || level == access.Own:
		panic(fmt.Sprintf("BUG: the operation %s needs a permission of a place, and not %q", o.Key, o.Permission))
	case o.Key == "" || o.Summary == "" || o.Apply == nil || j.operations[o.Key] != nil:
		panic(fmt.Sprintf("BUG: the operation %q needs a key of its own, a summary and what it does", o.Key))
	case o.Chunk == 0:
		o.Chunk = chunkDefault
	}
	op := &operation{key: o.Key, summary: o.Summary, permission: o.Permission, level: level, kind: o.Kind, chunk: o.Chunk, fills: o.Fills, reasoned: o.Reasoned,
		params: newForm[P]("body.params"), filter: newForm[F]("body.filter"), apply: untyped(o.Apply), undo: untyped(o.Undo)}
	op.check = func(ctx context.Context, c *api.Call, params json.RawMessage) (json.RawMessage, error) {
		p, err := read[P](params)
		if err == nil && o.Check != nil {
			err = o.Check(ctx, c, p)
		}
		if err != nil {
			return nil, inParams(err)
		}
		return json.Marshal(p)
	}
	if o.IDs != nil {
		op.ids = func(ctx context.Context, c *api.Call, params json.RawMessage, ids []string) ([]string, error) {
			p, err := read[P](params)
			if err != nil {
				return nil, err
			}
			return o.IDs(ctx, c, p, ids)
		}
	}
	if o.Filter != nil {
		op.selects = func(ctx context.Context, c *api.Call, params, filter json.RawMessage) (Selection, error) {
			p, err := read[P](params)
			if err != nil {
				return nil, err
			}
			f, err := read[F](filter)
			if err != nil {
				return nil, err
			}
			return o.Filter(ctx, c, p, f)
		}
	}
	j.operations[o.Key] = op
	return &Kind[P]{j, op}
}

// inParams says of a field of the parameters where it is in the body: what checks them knows them as a body of their own.
func inParams(err error) error {
	var p *api.Problem
	if errors.As(err, &p) {
		for i, e := range p.Errors {
			if field, ok := strings.CutPrefix(e.Field, "body."); ok {
				p.Errors[i].Field = "body.params." + field
				p.Detail = strings.ReplaceAll(p.Detail, e.Field, p.Errors[i].Field)
			}
		}
	}
	return err
}

func read[T any](text json.RawMessage) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(text, v)
}

func untyped[P any](f Apply[P]) func(context.Context, *api.Call, *Batch[json.RawMessage]) ([]Outcome, error) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, c *api.Call, b *Batch[json.RawMessage]) ([]Outcome, error) {
		p, err := read[P](b.Params)
		if err != nil {
			return nil, err
		}
		return f(ctx, c, &Batch[P]{Params: *p, Items: b.Items, Reason: b.Reason, DryRun: b.DryRun})
	}
}

// form validates JSON as huma does bodies.
type form struct {
	where    string
	registry huma.Registry
	schema   *huma.Schema
}

func newForm[T any](where string) *form {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	return &form{where, registry, registry.Schema(reflect.TypeFor[T](), false, where)}
}

// check validates text; without any it is an empty object.
func (f *form) check(text json.RawMessage) (json.RawMessage, error) {
	if len(text) == 0 {
		text = json.RawMessage(`{}`)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, api.Invalid(f.where, "it is no JSON")
	}
	path, result := huma.NewPathBuffer([]byte{}, 0), &huma.ValidateResult{}
	path.Push(f.where)
	huma.Validate(f.registry, f.schema, path, huma.ModeWriteToServer, value, result)
	if len(result.Errors) == 0 {
		return text, nil
	}
	return nil, huma.Error422UnprocessableEntity("validation failed", result.Errors...)
}

// fields are the names of what a form has, and what they say.
func (f *form) fields() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(f.schema.Properties)) {
		text := "`" + name + "`"
		if slices.Contains(f.schema.Required, name) {
			text += " (required)"
		}
		names = append(names, text)
	}
	return strings.Join(names, ", ")
}

// AsGiven takes ids of a request as they are, for Operation.IDs: of objects that have no keys.
func AsGiven[P any](_ context.Context, _ *api.Call, _ *P, ids []string) ([]string, error) {
	return ids, nil
}

// Canonical are the refs of what ids name, for Operation.IDs. sql selects id and key of the objects whose id is in $1 or key in
// $2; its other arguments follow from $3. What names nothing stays as it is, so that its item fails as what is not there.
func Canonical(ctx context.Context, c *api.Call, k api.Kind, ids []string, sql string, args ...any) ([]string, error) {
	numbers, keys := []int64{}, []string{}
	for _, id := range ids {
		if ref := k.Ref(id); ref.Key != "" {
			keys = append(keys, ref.Key)
		} else if ref.ID != 0 {
			numbers = append(numbers, ref.ID)
		}
	}
	rows, err := c.Tx.Query(ctx, sql, append([]any{numbers, keys}, args...)...)
	if err != nil {
		return nil, err
	}
	found := map[api.Ref]string{}
	var number int64
	var key *string
	if _, err := pgx.ForEachRow(rows, []any{&number, &key}, func() error {
		found[api.Ref{ID: number}] = k.ID(number)
		if key != nil {
			found[api.Ref{Key: *key}] = k.ID(number)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	refs := make([]string, len(ids))
	for i, given := range ids {
		if refs[i] = found[k.Ref(given)]; refs[i] == "" {
			refs[i] = given
		}
	}
	return refs, nil
}
