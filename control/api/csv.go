package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/alchemi/cockpit/control/sheet"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/jackc/pgx/v5"
)

// csvPage is how many rows are read at once for a file.
const csvPage = 2000

// csvFile writes rows of T: a column for each field of its JSON, nested ones with dots.
type csvFile[T any] struct {
	name  string
	names []string
}

func newCSV[T any](tag string) *csvFile[T] {
	return &csvFile[T]{name: strings.ToLower(strings.ReplaceAll(tag, " ", "-")), names: columns(reflect.TypeFor[T](), "")}
}

func columns(t reflect.Type, prefix string) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && name == "" {
			names = append(names, columns(f.Type, prefix)...)
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			names = append(names, columns(inner, prefix+name+".")...)
			continue
		}
		names = append(names, prefix+name)
	}
	return names
}

// stream writes all rows of q. begun is set when the first byte may have gone out.
func (f *csvFile[T]) stream(ctx context.Context, h huma.Context, q *Query[T], tx pgx.Tx, begun *bool) error {
	var after *cursor
	w := csv.NewWriter(h.BodyWriter())
	for {
		items, next, err := q.page(ctx, tx, after, csvPage)
		if err != nil {
			return err
		}
		if !*begun {
			*begun = true
			h.SetHeader("Content-Type", "text/csv; charset=utf-8")
			h.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.csv"`, f.name))
			h.SetStatus(http.StatusOK)
			if err := w.Write(f.names); err != nil {
				return err
			}
		}
		for _, item := range items {
			line, err := f.line(item)
			if err != nil {
				return err
			}
			if err := w.Write(line); err != nil {
				return err
			}
		}
		w.Flush()
		if err := w.Error(); err != nil || next == nil {
			return err
		}
		after = next
	}
}

// line are the cells of a row.
func (f *csvFile[T]) line(item T) ([]string, error) {
	text, err := json.Marshal(item)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	line := make([]string, len(f.names))
	for i, name := range f.names {
		if line[i], err = cell(object, name); err != nil {
			return nil, err
		}
	}
	return line, nil
}

func cell(object map[string]json.RawMessage, name string) (string, error) {
	first, rest, nested := strings.Cut(name, ".")
	value := object[first]
	if len(value) == 0 || string(value) == "null" {
		return "", nil
	}
	if nested {
		var inner map[string]json.RawMessage
		if err := json.Unmarshal(value, &inner); err != nil {
			return "", err
		}
		return cell(inner, rest)
	}
	switch value[0] {
	case '"':
		var text string
		err := json.Unmarshal(value, &text)
		return sheet.Cell(text), err
	case '[':
		var list []any
		if err := json.Unmarshal(value, &list); err != nil {
			return "", err
		}
		texts := make([]string, len(list))
		for i, v := range list {
			texts[i] = fmt.Sprint(v)
		}
		return sheet.Cell(strings.Join(texts, " ")), nil
	}
	return string(value), nil // a number: a minus in front is no formula
}

// cut ends an answer that has begun, so that the caller sees that it is not whole.
func (a *API) cut(h huma.Context, err error) {
	_ = a.problem(h.Context(), requestID(h), err) // for the log
	conn, _, hijack := http.NewResponseController(humagin.Unwrap(h).Writer).Hijack()
	if hijack != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.Close()
}
