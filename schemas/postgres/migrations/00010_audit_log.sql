-- +goose Up

-- The audit log beyond its entries: what is to be sealed, and what was handed out of the database (control/audit).

-- Foreign keys made all writers of an account lock its one row of accounts, each in turn, to say that they share it. Which
-- account an entry is of, row-level security holds; and the log outlives what it tells of.
ALTER TABLE audit_entries DROP CONSTRAINT audit_entries_account_id_fkey, DROP CONSTRAINT audit_entries_section_id_fkey;

-- Entries that are in no chain yet. A row comes with its entry, in the same transaction, and goes in the one that seals it:
-- looking for them costs the same with a million sealed entries as with none. Nobody but the sealer may take a row away.
CREATE TABLE audit_unsealed (
  entry_id bigint PRIMARY KEY
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
INSERT INTO audit_unsealed SELECT id FROM audit_entries e WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = e.id);

-- The table is named with its schema: setting a search path at each call is half of what the call costs.
-- +goose StatementBegin
DO $$
BEGIN
  EXECUTE format('CREATE FUNCTION audit_unsealed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $f$
    BEGIN
      INSERT INTO %I.audit_unsealed (entry_id) VALUES (NEW.id);
      RETURN NULL;
    END $f$', current_schema());
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION audit_unsealed() FROM PUBLIC;
CREATE TRIGGER audit_unsealed AFTER INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION audit_unsealed();

-- Up to where in each chain a sink (the topic audit.v1, the webhook) has acknowledged.
CREATE TABLE audit_exports (
  sink  text NOT NULL,
  chain bigint NOT NULL,
  seq   bigint NOT NULL,
  PRIMARY KEY (sink, chain)
);

-- What the log is searched by, newest first, beside time and object.
CREATE INDEX audit_entries_actor ON audit_entries (account_id, (actor->>'id'), at, id);
CREATE INDEX audit_entries_action ON audit_entries (account_id, action, at, id);
CREATE INDEX audit_entries_request ON audit_entries (request_id) WHERE request_id <> '';

GRANT SELECT, DELETE ON audit_unsealed TO cockpit_platform;
GRANT SELECT, INSERT, UPDATE ON audit_exports TO cockpit_platform;
