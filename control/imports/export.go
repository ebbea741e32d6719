package imports

import (
	"context"
	"io"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/jackc/pgx/v5"
)

// Export gives what is there as a file that is no change when it is imported.
type Export struct {
	Name, Path, Summary, Description, Tag string
	Permission                            access.Permission
	Columns                               []Column
	Write                                 func(context.Context, *api.Call, pgx.Tx, *Writer) error // in a transaction that sees one moment
	Example                               api.Example
}

// Again is said of each export.
const Again = " The file can be imported, and is no change then."

// RegisterExport adds the operation. I says whether it is an account's or a section's.
func RegisterExport[I any](a *api.API, e Export) {
	api.Download(a, api.Operation{Path: e.Path, ID: "exportAll" + title(e.Name), Summary: e.Summary, Description: e.Description, Tag: e.Tag, Permission: e.Permission,
		Examples: []api.Example{e.Example}}, []string{csvType}, func(ctx context.Context, c *api.Call, _ *I) (*api.File, error) {
		if err := c.Record(ctx, api.Change{Action: e.Name + ".exported", Object: audit.Object{Kind: api.AccountKind.Name, ID: api.AccountKind.ID(c.Account.ID), Name: c.Account.Key}}); err != nil {
			return nil, err
		}
		return &api.File{Name: e.Name + ".csv", Type: csvType + "; charset=utf-8", Write: func(ctx context.Context, out io.Writer) error {
			return c.Within(ctx, func(tx pgx.Tx) error {
				// All of everything is read: by hashes, and not by an index for each row, whatever old statistics say.
				if _, err := tx.Exec(ctx, `SET LOCAL enable_nestloop = off`); err != nil {
					return err
				}
				w, err := NewWriter(out, e.Columns)
				if err != nil {
					return err
				}
				if err := e.Write(ctx, c, tx, w); err != nil {
					return err
				}
				return w.Flush()
			})
		}}, nil
	})
}
