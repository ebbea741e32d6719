-- +goose Up

-- What a service key may send for: the account that owns it (account_id), or, of a key of the platform's, all accounts or
-- those of service_key_accounts. All is said and not the absence of rows, so that a key whose accounts are gone may nothing.
-- A key that is rotated has two texts for a while: the one before is good until previous_until.
ALTER TABLE service_keys
  ADD COLUMN all_accounts boolean NOT NULL DEFAULT false,
  ADD COLUMN previous_hash bytea UNIQUE,
  ADD COLUMN previous_until timestamptz,
  ADD COLUMN rotated_at timestamptz,
  ADD CHECK ((previous_hash IS NULL) = (previous_until IS NULL));
UPDATE service_keys SET all_accounts = true WHERE account_id IS NULL;
ALTER TABLE service_keys ADD CONSTRAINT service_keys_reach CHECK (account_id IS NULL OR NOT all_accounts);

CREATE TABLE service_key_accounts (
  account_id bigint NOT NULL REFERENCES accounts,
  key_id     bigint NOT NULL REFERENCES service_keys,
  PRIMARY KEY (account_id, key_id)
);
CREATE INDEX service_key_accounts_key ON service_key_accounts (key_id);
ALTER TABLE service_key_accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE service_key_accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON service_key_accounts FOR ALL TO cockpit_app
  USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
  WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint);
CREATE POLICY across_accounts ON service_key_accounts FOR ALL TO cockpit_metering USING (true) WITH CHECK (true);
CREATE POLICY platform ON service_key_accounts FOR ALL TO cockpit_platform USING (true) WITH CHECK (true);
GRANT SELECT ON service_key_accounts TO cockpit_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON service_key_accounts TO cockpit_metering, cockpit_platform;
