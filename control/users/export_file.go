package users

import (
	"context"
	"slices"

	"github.com/alchemi/cockpit/control/access"
	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/imports"
	"github.com/alchemi/cockpit/control/jobs"
	"github.com/jackc/pgx/v5"
)

// RegisterFiles adds the import of many users, and the export that it reads.
func RegisterFiles(a *api.API, j *jobs.Jobs) {
	imports.Register[plan, imports.OfAccount](a, j, files, imports.Doc{Path: "/v1/accounts/{account}/imports/users", Summary: "Add and change users from a file", Tag: tag, Permission: access.UsersWrite,
		Description: imports.Rules + "Columns: key (required); name; email, which an empty cell takes away; state: active or inactive; identities: all that others call the user, " +
			`source=value; source=value, where a backslash before ; = or \ takes its meaning away; those that it leaves out end, and an empty cell ends all. A new user needs a name.`,
		Example: api.Example{As: asAdmin, Path: "/v1/accounts/key:acme/imports/users?dry_run=true", Body: "key,name,email,identities\nu-7,Frances Allen,frances@acme.example,litellm=gateway-fran\n"}})
	imports.RegisterExport[api.AccountPath](a, imports.Export{Name: "users", Path: "/v1/accounts/{account}/exports/users.csv", Summary: "All users, as a file", Tag: tag, Permission: access.UsersRead,
		Description: "Those who are erased are left out." + imports.Again, Columns: fileColumns, Write: writeUsers,
		Example: api.Example{As: asAdmin, Path: "/v1/accounts/key:acme/exports/users.csv"}})
}

// writeUsers writes a line for each user of the account, by key.
func writeUsers(ctx context.Context, c *api.Call, tx pgx.Tx, w *imports.Writer) error {
	rows, err := tx.Query(ctx, `SELECT u.key, u.name, coalesce(u.email, ''), u.state, coalesce(i.sources, '{}'), coalesce(i.values, '{}')
		FROM users u LEFT JOIN (SELECT user_id, array_agg(source ORDER BY id) AS sources, array_agg(value ORDER BY id) AS values FROM user_identities
			WHERE account_id = $1 AND valid_to = 'infinity' GROUP BY user_id) i ON i.user_id = u.id
		WHERE u.account_id = $1 AND u.erased_at IS NULL ORDER BY u.key`, c.Account.ID)
	if err != nil {
		return err
	}
	var key, name, email, state string
	var sources, values []string
	_, err = pgx.ForEachRow(rows, []any{&key, &name, &email, &state, &sources, &values}, func() error {
		list := make([]called, len(sources))
		for i := range sources {
			list[i] = called{sources[i], values[i]}
		}
		slices.SortFunc(list, called.compare)
		return w.Line(key, name, email, state, identitiesCell(list))
	})
	return err
}
