package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

// Page is embedded by the inputs of lists.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"how many at most"`
	Cursor string `query:"cursor" maxLength:"2000" doc:"next_cursor of the page before; with the same filters and sort"`
	Total  bool   `query:"total" doc:"count them all, too; slow for long lists"`
}

// Paging gives the page.
func (p *Page) Paging() *Page { return p }

// Items is a page of a list.
type Items[T any] struct {
	Items      []T    `json:"items" nullable:"false"`
	NextCursor string `json:"next_cursor,omitempty" doc:"where the next page begins; absent on the last"`
	Total      *int64 `json:"total,omitempty" doc:"how many there are, if asked for"`
}

// ListAnswer is the answer of a list.
type ListAnswer[T any] struct{ Body Items[T] }

// Query is what a list reads. Rows are in the order of Sort and, among equals, of ID; both are SQL expressions that are
// never null. A page goes on behind the last row of the one before, so depth costs nothing.
type Query[T any] struct {
	Select string // columns, in the order of Scan
	From   string // tables, joins
	Where  []string
	Args   []any // of Where: $1 …
	Sort   Sort
	ID     string // bigint expression, unique
	Scan   pgx.RowToFunc[T]
}

// Sort is one order of a list.
type Sort struct {
	By   string // SQL expression
	Type string // text, bigint, numeric or timestamptz
	Desc bool
}

// SortBy picks the order that a caller named: a field, or -field for descending.
func SortBy(name string, sorts map[string]Sort) (Sort, error) {
	field, desc := strings.CutPrefix(name, "-")
	s, ok := sorts[field]
	if !ok {
		return s, Invalid("query.sort", "there is no order "+name)
	}
	s.Desc = desc
	return s, nil
}

// Filter adds a condition with its arguments, each ? of it in turn.
func (q *Query[T]) Filter(condition string, args ...any) {
	q.Where = append(q.Where, q.numbered(condition, args))
}

// In keeps the rows whose column is one of many ids, or those whose is none of them. They are joined, so that it matters
// little how many there are.
func (q *Query[T]) In(column string, ids []int64, in bool) {
	alias := fmt.Sprintf("among_%d", len(q.Args))
	q.From += q.numbered(fmt.Sprintf(" LEFT JOIN unnest(?::bigint[]) %[1]s(id) ON %[1]s.id = %[2]s", alias, column), []any{ids})
	if in {
		q.Where = append(q.Where, alias+".id IS NOT NULL")
	} else {
		q.Where = append(q.Where, alias+".id IS NULL")
	}
}

// numbered gives each ? the number of its argument.
func (q *Query[T]) numbered(sql string, args []any) string {
	for _, a := range args {
		q.Args = append(q.Args, a)
		sql = strings.Replace(sql, "?", fmt.Sprintf("$%d", len(q.Args)), 1)
	}
	return sql
}

// Created is embedded by lists of what was made at a time.
type Created struct {
	After  time.Time `query:"created_after" json:"created_after,omitzero" doc:"only those made at this time or later"`
	Before time.Time `query:"created_before" json:"created_before,omitzero" doc:"only those made before this time"`
}

// FilterCreated keeps those that column says were made then.
func FilterCreated[T any](q *Query[T], column string, when Created) {
	if !when.After.IsZero() {
		q.Filter(column+" >= ?", when.After)
	}
	if !when.Before.IsZero() {
		q.Filter(column+" < ?", when.Before)
	}
}

// Search keeps the rows that have text in one of the columns, in any case. An empty text keeps all. It reads every row that
// the other filters leave; a list that is too long for that has an index of its own, and Like.
func (q *Query[T]) Search(text string, columns ...string) {
	if text == "" {
		return
	}
	conditions, args := make([]string, len(columns)), make([]any, len(columns))
	for i, column := range columns {
		conditions[i], args[i] = "strpos(lower("+column+"), lower(?)) > 0", text
	}
	q.Filter(strings.Join(conditions, " OR "), args...)
}

// cursor is the place behind a row. Sort is there so that a cursor is not taken for one of another order.
type cursor struct {
	Sort string `json:"s"`
	Last string `json:"l"`
	ID   int64  `json:"i"`
}

func (q *Query[T]) order() string { return fmt.Sprintf("%s %t", q.Sort.By, q.Sort.Desc) }

func (c cursor) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic("BUG: a cursor that is no JSON: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// CursorAt is a cursor in the ascending order of a text, behind all rows with it: where a list may be entered from elsewhere.
func CursorAt(by, last string) string {
	return cursor{Sort: by + " false", Last: last, ID: math.MaxInt64}.String()
}

func (q *Query[T]) readCursor(text string) (c cursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.Sort != q.order() {
		return c, Invalid("query.cursor", "this is no cursor of this list in this order")
	}
	return c, nil
}

// sql is the statement of a page behind after (nil: the first), of n rows at most. The last two columns are the place.
func (q *Query[T]) sql(after *cursor, n int) (string, []any) {
	where, args := slices.Clone(q.Where), slices.Clone(q.Args)
	comparison, direction := ">", "ASC"
	if q.Sort.Desc {
		comparison, direction = "<", "DESC"
	}
	if after != nil {
		where = append(where, fmt.Sprintf("(%s, %s) %s ($%d::text::%s, $%d::bigint)", q.Sort.By, q.ID, comparison, len(args)+1, q.Sort.Type, len(args)+2))
		args = append(args, after.Last, after.ID)
	}
	return fmt.Sprintf("SELECT %s, (%s)::text, %s FROM %s%s ORDER BY %s %s, %s %s LIMIT %d",
		q.Select, q.Sort.By, q.ID, q.From, condition(where), q.Sort.By, direction, q.ID, direction, n), args
}

// Numbers are the IDs of all rows of the list, in their own order: at most n, and one more where there are more.
func (q *Query[T]) Numbers(ctx context.Context, tx pgx.Tx, n int) ([]int64, error) {
	rows, err := tx.Query(ctx, fmt.Sprintf("SELECT %s FROM %s%s ORDER BY 1 LIMIT %d", q.ID, q.From, condition(q.Where), n+1), q.Args...)
	if err != nil {
		return nil, q.blame(err)
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return numbers, q.blame(err)
}

func condition(where []string) string {
	if len(where) == 0 {
		return ""
	}
	return " WHERE (" + strings.Join(where, ") AND (") + ")"
}

// page reads n rows behind after, and where the last one is; nil when there are no more.
func (q *Query[T]) page(ctx context.Context, tx pgx.Tx, after *cursor, n int) (items []T, next *cursor, err error) {
	sql, args := q.sql(after, n+1)
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, nil, q.blame(err)
	}
	places := []cursor{}
	items, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (T, error) {
		place := cursor{Sort: q.order()}
		item, err := q.Scan(placed{row, &place})
		places = append(places, place)
		return item, err
	})
	if err != nil {
		return nil, nil, q.blame(err)
	}
	if len(items) <= n {
		return items, nil, nil
	}
	return items[:n], &places[n-1], nil
}

// blame makes a cursor with a value that does not fit its column the caller's fault.
func (q *Query[T]) blame(err error) error {
	if class(err) == "22" {
		return Invalid("query", "a value does not fit")
	}
	return err
}

// placed is a row whose last two columns are its place; the others are the item's.
type placed struct {
	pgx.CollectableRow
	place *cursor
}

// Scan implements pgx.CollectableRow.
func (p placed) Scan(dest ...any) error {
	return p.CollectableRow.Scan(append(dest, &p.place.Last, &p.place.ID)...)
}

// lister is the input of a list.
type lister[I any] interface {
	*I
	Paging() *Page
}

// List registers a list, and its CSV twin at the path with .csv: exactly the filtered view, all pages of it.
func List[I any, P lister[I], T any](a *API, op Operation, build func(context.Context, *Call, *I) (*Query[T], error)) {
	op.Method = http.MethodGet
	Read(a, op, func(ctx context.Context, c *Call, in *I) (*ListAnswer[T], error) {
		q, err := build(ctx, c, in)
		if err != nil {
			return nil, err
		}
		page := P(in).Paging()
		var after *cursor
		if page.Cursor != "" {
			place, err := q.readCursor(page.Cursor)
			if err != nil {
				return nil, err
			}
			after = &place
		}
		out := &ListAnswer[T]{}
		var next *cursor
		if out.Body.Items, next, err = q.page(ctx, c.Tx, after, page.Limit); err != nil {
			return nil, err
		}
		if next != nil {
			out.Body.NextCursor = next.String()
		}
		if page.Total {
			out.Body.Total = new(int64)
			err = c.Tx.QueryRow(ctx, "SELECT count(*) FROM "+q.From+condition(q.Where), q.Args...).Scan(out.Body.Total)
		}
		return out, err
	})
	listCSV(a, op, build)
}

// listCSV registers the CSV twin. The answer is streamed, so that its length does not matter.
func listCSV[I, T any](a *API, op Operation, build func(context.Context, *Call, *I) (*Query[T], error)) {
	op.Path += ".csv"
	op.ID += "CSV"
	op.Summary += ", as CSV"
	op.Description = "All rows of the filtered list; limit and cursor do not count. Cells that a spreadsheet would take for a formula begin with '."
	op.Examples, op.timeout = nil, fileTimeout
	described := a.prepare(op.exampled(a.operations[len(a.operations)-1]))
	described.Responses = map[string]*huma.Response{"200": {Description: "The rows, with a line of names first.",
		Content: map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}}}}
	huma.Register(a.huma, described, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		c := callOf(ctx)
		file := newCSV[T](op.Tag)
		begun := false
		return &huma.StreamResponse{Body: func(h huma.Context) {
			err := a.cfg.Stores.InTx(ctx, c.accountID(), pgx.ReadOnly, func(tx pgx.Tx) error {
				c.Tx = tx
				q, err := build(ctx, c, in)
				if err != nil {
					return err
				}
				return file.stream(ctx, h, q, tx, &begun)
			})
			if err != nil && !begun {
				a.refuse(h, err)
			} else if err != nil {
				a.cut(h, err)
			}
		}}, nil
	})
}

// exampled is the operation with the examples of the list that it is the twin of.
func (op *Operation) exampled(list *Operation) *Operation {
	for _, e := range list.Examples {
		path, query, has := strings.Cut(e.Path, "?")
		e.Path = path + ".csv"
		if has {
			e.Path += "?" + query
		}
		op.Examples = append(op.Examples, e)
	}
	return op
}
