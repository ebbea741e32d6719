-- +goose Up

-- After a closed account was exported, it is erased (control/closing). The row stays as a tombstone, so that its key is never
-- used again, and what the journal says by ids still adds up; names, e-mails and identities go.
ALTER TABLE accounts DROP CONSTRAINT accounts_state_check;
ALTER TABLE accounts ADD CONSTRAINT accounts_state_check CHECK (state IN ('active', 'suspended', 'closed', 'erased'));
CREATE INDEX accounts_closes_at ON accounts (closes_at) WHERE closes_at IS NOT NULL;

-- The one role that takes audit entries away: of the account that the transaction set, and of no other.
-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  BEGIN
    CREATE ROLE cockpit_erasure NOLOGIN;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  FOR t IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id' AND NOT a.attisdropped
           WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') LOOP
    EXECUTE format($p$CREATE POLICY erasure ON %I FOR ALL TO cockpit_erasure
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint OR account_id IS NULL)$p$, t);
    EXECUTE format('GRANT SELECT, UPDATE, DELETE ON %I TO cockpit_erasure', t);
  END LOOP;
END $$;
-- +goose StatementEnd
REVOKE UPDATE, DELETE ON balance_pages FROM cockpit_erasure;
REVOKE UPDATE ON audit_entries FROM cockpit_erasure;
GRANT SELECT ON balances, sections, sources, offsets, journal, service_key_sources TO cockpit_erasure;
GRANT SELECT (only_row, directory_version) ON deployment TO cockpit_erasure;

GRANT UPDATE (directory_version) ON deployment TO cockpit_erasure;
GRANT SELECT, UPDATE ON people TO cockpit_erasure;
GRANT SELECT, DELETE ON service_key_sources, audit_seals, audit_heads, audit_exports, audit_unsealed TO cockpit_erasure;
GRANT INSERT ON audit_entries TO cockpit_erasure;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_erasure;
