package closing

import (
	"context"
	"fmt"

	"github.com/alchemi/cockpit/control/api"
	"github.com/alchemi/cockpit/control/audit"
	"github.com/alchemi/cockpit/metering/directory"
	"github.com/jackc/pgx/v5"
)

// erasing is what becomes of each table's rows of an account, $1, in order: what names it before what it names. An empty
// statement: the rows stay, they are ids, times and amounts.
var erasing = []struct{ table, sql string }{
	{"assignments", `DELETE FROM assignments WHERE account_id = $1`},
	{"issuer_grants", `DELETE FROM issuer_grants WHERE account_id = $1`},
	{"issuer_organizations", `DELETE FROM issuer_organizations WHERE account_id = $1`},
	{"invites", `DELETE FROM invites WHERE account_id = $1`},
	{"elevations", `DELETE FROM elevations WHERE account_id = $1`},
	{"idempotency_keys", `DELETE FROM idempotency_keys WHERE account_id = $1`},
	{"service_key_sources", `DELETE FROM service_key_sources WHERE key_id IN (SELECT id FROM service_keys WHERE account_id = $1)`},
	{"service_keys", `DELETE FROM service_keys WHERE account_id = $1`},
	{"service_key_accounts", `DELETE FROM service_key_accounts WHERE account_id = $1`},
	{"job_items", `DELETE FROM job_items WHERE job_id IN (SELECT id FROM jobs WHERE account_id = $1)`},
	{"jobs", `DELETE FROM jobs WHERE account_id = $1`},
	{"user_identities", `DELETE FROM user_identities WHERE account_id = $1`},
	{"key_aliases", `DELETE FROM key_aliases WHERE account_id = $1`},
	{"erased_keys", `DELETE FROM erased_keys WHERE account_id = $1`},
	{"attributions", `DELETE FROM attributions WHERE account_id = $1`},
	{"users", `UPDATE users SET key = 'erased-' || id, name = '', email = NULL, person_id = NULL, state = 'inactive' WHERE account_id = $1`},
	{"scopes", `UPDATE scopes SET key = CASE WHEN key IS NOT NULL THEN 'erased-' || id END, name = NULL WHERE account_id = $1`},
	{"models", `UPDATE models SET key = 'erased-' || id, provider = '' WHERE account_id = $1`},
	{"budget_plans", `UPDATE budget_plans SET key = 'erased-' || id WHERE account_id = $1`},
	{"allocations", `UPDATE allocations SET author = '' WHERE account_id = $1`},
	{"caps", `UPDATE caps SET author = '' WHERE account_id = $1`},
	{"overrides", `UPDATE overrides SET author = '', reason = '' WHERE account_id = $1`},
	{"replays", `UPDATE replays SET author = '' WHERE account_id = $1`},
	{"alerts", `UPDATE alerts SET state = 'resolved', data = data #- '{scope,key}' #- '{scope,name}' WHERE account_id = $1`},
	{"account_sections", `UPDATE account_sections SET state = 'off' WHERE account_id = $1`},
	{"source_accounts", `DELETE FROM source_accounts WHERE account_id = $1`},
	{"account_summaries", `DELETE FROM account_summaries WHERE account_id = $1`},
	{"audit_unsealed", `DELETE FROM audit_unsealed WHERE entry_id IN (SELECT id FROM audit_entries WHERE account_id = $1)`},
	{"audit_seals", `DELETE FROM audit_seals WHERE chain = $1`},
	{"audit_heads", `DELETE FROM audit_heads WHERE chain = $1`},
	{"audit_exports", `DELETE FROM audit_exports WHERE chain = $1`},
	{"audit_entries", `DELETE FROM audit_entries WHERE account_id = $1`},
	{"scope_parents", ""}, {"primary_memberships", ""}, {"scope_plans", ""}, {"budget_plan_versions", ""}, {"cycles", ""}, {"rollovers", ""}, {"balance_pages", ""},
	{"credits_factors", ""}, {"model_terms", ""}, {"model_prices", ""}, {"alert_outbox", ""},
	{"accounts", `UPDATE accounts SET state = 'erased', name = '', issuer_organization = NULL, suspended_reason = NULL, limits = '{}', invite_domains = '{}', revision = revision + 1 WHERE account_id = $1`},
}

// people takes name and e-mail of those who have a role in the account and in no other, and of those who were invited into it
// and into no other. Other accounts' roles are not for the role that erases to see.
func (j *Job) people(ctx context.Context, tx pgx.Tx, account int64) error {
	for _, of := range []struct{ only, erase string }{
		{`SELECT user_id FROM issuer_grants WHERE account_id = $1 EXCEPT SELECT user_id FROM issuer_grants WHERE account_id <> $1`,
			`UPDATE issuer_users SET key = '', email = '', given_name = '', family_name = '', claimed = '', done = asked, state = 'synced', reason = '' WHERE id = ANY($1)`},
		{`(SELECT person_id FROM assignments WHERE account_id = $1 UNION SELECT person_id FROM issuer_grants JOIN issuer_users u ON u.id = user_id WHERE account_id = $1 AND person_id IS NOT NULL)
			EXCEPT (SELECT person_id FROM assignments WHERE account_id <> $1 UNION SELECT person_id FROM issuer_grants JOIN issuer_users u ON u.id = user_id WHERE account_id <> $1)`,
			`UPDATE people SET name = '', email = '' WHERE id = ANY($1)`},
	} {
		rows, err := j.Platform.Query(ctx, of.only, account)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, of.erase, ids); err != nil {
			return err
		}
	}
	return nil
}

// erase takes what is of anybody out of the account, in one transaction. again: it changed since that export, and was not
// erased; nor is it when it is not closed any more.
func (j *Job) erase(ctx context.Context, account int64, m *Manifest) (again bool, err error) {
	err = j.inAccount(ctx, account, pgx.TxOptions{}, func(tx pgx.Tx) error {
		// No sealer may be about to seal what goes.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('cockpit audit seal'))`); err != nil {
			return err
		}
		version, err := directory.Raise(ctx, tx) // before the account's lock, as everybody does
		if err != nil {
			return err
		}
		var due bool
		err = tx.QueryRow(ctx, `SELECT state = 'closed' AND closes_at <= $2 FROM accounts WHERE account_id = $1 FOR UPDATE`, account, j.Now()).Scan(&due)
		if err != nil || !due {
			return err
		}
		state, err := readState(ctx, tx, account)
		if err != nil {
			return err
		}
		if again = state != m.State; again {
			return nil
		}
		if err := j.people(ctx, tx, account); err != nil {
			return fmt.Errorf("erase people: %w", err)
		}
		for _, e := range erasing {
			if e.sql == "" {
				continue
			}
			if _, err := tx.Exec(ctx, e.sql, account); err != nil {
				return fmt.Errorf("erase %s: %w", e.table, err)
			}
		}
		if err := j.onRecord(ctx, tx, account, version, m); err != nil {
			return err
		}
		return j.at("erased")
	})
	return again, err
}

// onRecord makes metering look, and tells the platform's audit log.
func (j *Job) onRecord(ctx context.Context, tx pgx.Tx, account, version int64, m *Manifest) error {
	if _, err := tx.Exec(ctx, `UPDATE accounts SET version = $2 WHERE account_id = $1`, account, version); err != nil {
		return err
	}
	hash, err := m.hash()
	if err != nil {
		return err
	}
	changes, err := audit.Diff(map[string]string{"state": "closed"}, map[string]string{"state": "erased", "manifest_sha256": hash})
	if err != nil {
		return err
	}
	return j.Audit.Append(ctx, tx, &audit.Entry{At: j.Now(), Actor: audit.Actor{Kind: "system", Name: "cockpit"}, Action: audit.AccountErased,
		Object: audit.Object{Kind: api.AccountKind.Name, ID: api.AccountKind.ID(account), Name: m.Key}, Changes: changes})
}
