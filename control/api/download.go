package api

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

// File is an answer that is written while it is read, so that its length does not matter.
type File struct {
	Name  string // for whoever saves it
	Type  string // one of those that Download was told
	Write func(ctx context.Context, w io.Writer) error
}

// Download registers an operation that answers with a file. That it was asked for is on record (Call.Record) before the first
// byte leaves; what it reads, it reads after that, with Call.Within.
func Download[I any](a *API, op Operation, types []string, f func(context.Context, *Call, *I) (*File, error)) {
	op.Method, op.timeout = http.MethodGet, fileTimeout
	described := a.prepare(&op)
	content := map[string]*huma.MediaType{}
	for _, t := range types {
		schema := &huma.Schema{Type: huma.TypeString}
		if t == "application/json" {
			schema = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
		}
		content[t] = &huma.MediaType{Schema: schema}
	}
	described.Responses = map[string]*huma.Response{"200": {Description: "The file.", Content: content}}
	huma.Register(a.huma, described, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		c := callOf(ctx)
		return &huma.StreamResponse{Body: func(h huma.Context) {
			var file *File
			err := a.cfg.Stores.InTx(ctx, c.accountID(), pgx.ReadWrite, func(tx pgx.Tx) (err error) {
				c.Tx = tx
				file, err = f(ctx, c, in)
				if err == nil && !c.recorded {
					return fmt.Errorf("BUG: %s left no audit entry", op.ID)
				}
				return err
			})
			w := &fileWriter{h: h, file: file}
			if err == nil {
				err = file.Write(ctx, w)
			}
			switch {
			case err == nil:
				_, _ = w.Write(nil) // an empty file has headers, too
			case w.begun:
				a.cut(h, err)
			default:
				a.refuse(h, err)
			}
		}}, nil
	})
}

// fileWriter sends the headers with the first byte: an error before it is answered as any other.
type fileWriter struct {
	h     huma.Context
	file  *File
	begun bool
}

// Write implements io.Writer.
func (w *fileWriter) Write(b []byte) (int, error) {
	if !w.begun {
		w.begun = true
		w.h.SetHeader("Content-Type", w.file.Type)
		w.h.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, w.file.Name))
		w.h.SetStatus(http.StatusOK)
	}
	return w.h.BodyWriter().Write(b)
}

// Within calls f in a transaction of its own that reads in the call's place.
func (c *Call) Within(ctx context.Context, f func(pgx.Tx) error) error {
	return c.api.cfg.Stores.InTx(ctx, c.accountID(), pgx.ReadOnly, f)
}
