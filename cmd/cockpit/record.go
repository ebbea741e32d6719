package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/control/secrets"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

// recorder puts on record what a command changes, under the name of who runs it.
type recorder struct{ log *audit.Log }

// keysFile is the key file as set, or that of a local dev.
func (o *options) keysFile(cfg *config) string {
	if cfg.KeysFile == "" {
		return filepath.Join(o.data, devKeys)
	}
	return cfg.KeysFile
}

// recorder is nil, with a warning, where there is no key file: without the module api there may be none.
func (o *options) recorder(c *cobra.Command, cfg *config) (*recorder, error) {
	own, err := secrets.Load(o.keysFile(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(c.ErrOrStderr(), "not on record in the audit log: COCKPIT_KEYS_FILE names no key file")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what this changes is on record by the program's keys (COCKPIT_KEYS_FILE): %w", err)
	}
	return &recorder{auditLog(own)}, nil
}

func (r *recorder) entry(account int64, action string, object audit.Object) *audit.Entry {
	return &audit.Entry{Account: account, At: time.Now(), Actor: audit.Actor{Kind: "system", Name: author()}, Action: action, Object: object}
}

// applied records what `apply` changed of an account, or of the platform.
func (r *recorder) applied(ctx context.Context, tx pgx.Tx, account int64, changes []string) error {
	object := audit.Object{Kind: "platform", ID: "platform"}
	if account != 0 {
		object = audit.Object{Kind: api.AccountKind.Name, ID: api.AccountKind.ID(account)}
		if err := tx.QueryRow(ctx, `SELECT key FROM accounts WHERE account_id = $1`, account).Scan(&object.Name); err != nil {
			return err
		}
	}
	lines, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	e := r.entry(account, "directory.applied", object)
	e.Changes = []audit.Change{{Field: "applied", After: lines}}
	return r.log.Append(ctx, tx, e)
}

// key records that a service key was made or ended.
func (r *recorder) key(ctx context.Context, tx pgx.Tx, action string, id int64, name string) error {
	return r.log.Append(ctx, tx, r.entry(0, action, audit.Object{Kind: api.KeyKind.Name, ID: api.KeyKind.ID(id), Name: name}))
}
