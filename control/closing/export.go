package closing

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/alchemi/cockpit/control/api"
	"github.com/jackc/pgx/v5"
)

// Manifest says what an export is of, and what is in it.
type Manifest struct {
	Account    string          `json:"account"`
	Key        string          `json:"key"`
	Name       string          `json:"name"`
	ExportedAt time.Time       `json:"exported_at"`
	State      State           `json:"state"`
	Files      map[string]File `json:"files"`
}

// State is by what an export is known to be of the account as it is.
type State struct {
	Version   int64 `json:"version"`
	Revision  int64 `json:"revision"`
	LastAudit int64 `json:"last_audit_entry"`
}

// File is one file of an export.
type File struct {
	SHA256 string `json:"sha256"`
	Lines  int64  `json:"lines"`
	Bytes  int64  `json:"bytes"`
}

const manifestName = "manifest.json"

var errChanged = errors.New("the account changed while it was exported; it is exported again")

func readState(ctx context.Context, tx pgx.Tx, account int64) (s State, err error) {
	err = tx.QueryRow(ctx, `SELECT version, revision, coalesce((SELECT max(id) FROM audit_entries WHERE account_id = $1), 0) FROM accounts WHERE account_id = $1`, account).
		Scan(&s.Version, &s.Revision, &s.LastAudit)
	return s, err
}

// exported are the tables of an account: the file that each goes to, and what of it does not.
var exported = []struct {
	table, file string
	secrets     []string
}{
	{"accounts", "directory", nil}, {"users", "directory", nil}, {"user_identities", "directory", nil}, {"scopes", "directory", nil}, {"scope_parents", "directory", nil},
	{"primary_memberships", "directory", nil}, {"account_sections", "directory", nil}, {"attributions", "directory", nil}, {"key_aliases", "directory", nil}, {"erased_keys", "directory", []string{"hash"}}, {"source_accounts", "directory", nil}, {"models", "directory", nil}, {"model_terms", "directory", nil},
	{"model_prices", "directory", nil}, {"assignments", "directory", nil}, {"invites", "directory", []string{"token_hash"}}, {"issuer_organizations", "directory", nil}, {"issuer_grants", "directory", nil}, {"elevations", "directory", nil}, {"service_keys", "directory", []string{"hash", "previous_hash"}},
	{"service_key_accounts", "directory", nil}, {"budget_plans", "directory", nil}, {"budget_plan_versions", "directory", nil}, {"scope_plans", "directory", nil},
	{"credits_factors", "ledger", nil}, {"cycles", "ledger", nil}, {"allocations", "ledger", nil}, {"caps", "ledger", nil}, {"overrides", "ledger", nil}, {"rollovers", "ledger", nil},
	{"balance_pages", "ledger", nil}, {"alerts", "ledger", nil}, {"jobs", "directory", nil}, {"job_items", "directory", nil},
	{"audit_entries", "audit", nil},
}

// export writes the files beside dir, and gives them their name when all are on disk.
func (j *Job) export(ctx context.Context, account int64, dir string) (*Manifest, error) {
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(partial, 0o700); err != nil {
		return nil, err
	}
	m := &Manifest{Account: api.AccountKind.ID(account), ExportedAt: j.Now().UTC(), Files: map[string]File{}}
	err := j.inAccount(ctx, account, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		if err := tx.QueryRow(ctx, `SELECT key, name FROM accounts WHERE account_id = $1`, account).Scan(&m.Key, &m.Name); err != nil {
			return err
		}
		if m.State, err = readState(ctx, tx, account); err != nil {
			return err
		}
		for _, name := range []string{"directory", "ledger", "usage", "audit", "events"} {
			if name == "events" && j.Events == nil {
				continue
			}
			w, err := create(filepath.Join(partial, name+".ndjson"))
			if err != nil {
				return err
			}
			switch name {
			case "usage":
				err = usage(ctx, tx, account, w)
			case "events":
				err = j.Events(ctx, account, func(object []byte) error { return w.put(json.RawMessage(object)) })
			default:
				err = rows(ctx, tx, account, name, w)
			}
			file, err := w.close(err)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			m.Files[name+".ndjson"] = file
			if err := j.at("wrote " + name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := m.write(partial); err != nil {
		return nil, err
	}
	if err := j.at("wrote the manifest"); err != nil {
		return nil, err
	}
	if err := os.Rename(partial, dir); err != nil {
		return nil, err
	}
	if err := sync(j.Dir); err != nil {
		return nil, err
	}
	return m, j.at("exported")
}

// rows writes the rows of the tables that go to a file.
func rows(ctx context.Context, tx pgx.Tx, account int64, file string, w *writer) error {
	for _, t := range exported {
		if t.file != file {
			continue
		}
		secrets, order := append([]string{}, t.secrets...), "t"
		if file == "audit" {
			order = "id" // as it came to be; and json has no order
		}
		found, err := tx.Query(ctx, `SELECT (to_jsonb(t) - $2::text[])::text FROM `+pgx.Identifier{t.table}.Sanitize()+` t WHERE account_id = $1 ORDER BY `+order, account, secrets)
		if err := w.all(t.table, found, err); err != nil {
			return err
		}
	}
	if file != "directory" {
		return nil
	}
	found, err := tx.Query(ctx, `SELECT to_jsonb(p)::text FROM people p WHERE id IN (SELECT person_id FROM assignments WHERE account_id = $1) ORDER BY id`, account)
	return w.all("people", found, err)
}

// line is one of a file of rows.
type line struct {
	Table string          `json:"table"`
	Row   json.RawMessage `json:"row"`
}

// writer writes a file of lines, and sums it up.
type writer struct {
	file *os.File
	to   *bufio.Writer
	sum  hash.Hash
	File
}

func create(path string) (*writer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w := &writer{file: f, sum: sha256.New()}
	w.to = bufio.NewWriterSize(io.MultiWriter(f, w.sum), 1<<18)
	return w, nil
}

// put writes v as a line.
func (w *writer) put(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	n, err := w.to.Write(append(text, '\n'))
	w.Lines++
	w.Bytes += int64(n)
	return err
}

func (w *writer) all(table string, rows pgx.Rows, err error) error {
	if err != nil {
		return err
	}
	var row json.RawMessage
	_, err = pgx.ForEachRow(rows, []any{&row}, func() error { return w.put(line{table, row}) })
	return err
}

// close brings the file to disk, unless writing it failed.
func (w *writer) close(err error) (File, error) {
	if err == nil {
		err = w.to.Flush()
	}
	if err == nil {
		err = w.file.Sync()
	}
	w.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	return w.File, errors.Join(err, w.file.Close())
}

func (m *Manifest) write(dir string) error {
	w, err := create(filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	if _, err := w.close(w.put(m)); err != nil {
		return err
	}
	return sync(dir)
}

// hash is the SHA-256 of the manifest as it is written.
func (m *Manifest) hash() (string, error) {
	text, err := json.Marshal(m)
	sum := sha256.Sum256(append(text, '\n'))
	return hex.EncodeToString(sum[:]), err
}

// readManifest reads that of an export; nil if there is none.
func readManifest(dir string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m := &Manifest{}
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	return m, err
}

// sync makes the names in a directory last.
func sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
