-- +goose Up

-- The control API's ground: people, roles, clients, what they did once and not again, the audit log.

-- cockpit_platform works across accounts for the API: it authenticates, lists accounts, and seals the audit log.
-- +goose StatementBegin
DO $$
BEGIN
  CREATE ROLE cockpit_platform NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
-- +goose StatementEnd
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO cockpit_platform;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_platform;
REVOKE INSERT, UPDATE, DELETE ON journal, offsets, fold_positions, balance_pages, rollup_batches, deployment FROM cockpit_platform;
GRANT UPDATE (directory_version) ON deployment TO cockpit_platform;
REVOKE SELECT (identity_secret) ON deployment FROM cockpit_platform;

-- issuer_organization: the account's organization at the issuer; whoever is admin there is admin here. revision: the ETag.
-- region never changes. limits: null is no limit. closes_at: when a closed account is exported and erased.
ALTER TABLE accounts
  ADD COLUMN issuer_organization text UNIQUE,
  ADD COLUMN region text NOT NULL DEFAULT 'default',
  ADD COLUMN revision bigint NOT NULL DEFAULT 1,
  ADD COLUMN limits jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN suspended_reason text,
  ADD COLUMN closes_at timestamptz,
  ADD COLUMN last_activity_at timestamptz;

-- Who signs in: issuer and subject. The platform's, and in any number of accounts.
CREATE TABLE people (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  issuer       text NOT NULL,
  subject      text NOT NULL,
  name         text NOT NULL DEFAULT '',
  email        text NOT NULL DEFAULT '',
  state        text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'inactive')),
  created_at   timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (issuer, subject)
);

-- Roles that the cockpit gives; section null: all. They narrow what the issuer says (control/access, Effective).
CREATE TABLE assignments (
  account_id bigint NOT NULL REFERENCES accounts,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  person_id  bigint NOT NULL REFERENCES people,
  role       text NOT NULL CHECK (role IN ('account_admin', 'account_viewer', 'section_admin')),
  section_id bigint REFERENCES sections,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, id),
  UNIQUE NULLS NOT DISTINCT (account_id, person_id, role, section_id),
  CHECK (role <> 'section_admin' OR section_id IS NOT NULL)
);
CREATE INDEX assignments_person ON assignments (person_id);

-- A super admin's leave to write in an account.
CREATE TABLE elevations (
  account_id bigint NOT NULL REFERENCES accounts,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  person_id  bigint NOT NULL REFERENCES people,
  reason     text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  until      timestamptz NOT NULL,
  PRIMARY KEY (account_id, id)
);
CREATE INDEX elevations_person ON elevations (person_id, until);

-- Programs that call with the token of a person who signed in there. client_id is the issuer's. Empty sections: all.
CREATE TABLE clients (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key         text NOT NULL UNIQUE,
  name        text NOT NULL,
  issuer      text NOT NULL,
  client_id   text NOT NULL,
  permissions text[] NOT NULL,
  sections    bigint[] NOT NULL DEFAULT '{}',
  origins     text[] NOT NULL DEFAULT '{}',
  state       text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'inactive')),
  revision    bigint NOT NULL DEFAULT 1,
  created_at  timestamptz NOT NULL DEFAULT now(),
  UNIQUE (issuer, client_id)
);

-- Answers of requests that carried an Idempotency-Key, for 24 h. caller: who sent it, so that keys of others never meet.
-- answer is encrypted: some answers have a secret that is shown once.
CREATE TABLE idempotency_keys (
  account_id   bigint REFERENCES accounts,
  caller       text NOT NULL,
  key          text NOT NULL,
  request_hash bytea NOT NULL,
  answer       bytea,
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- The audit log. An entry is inserted in the transaction of what it records, and is never changed; account null: the
-- platform's. mac is over the entry, by the program's own key. Sealing it into its chain comes after, so that writers of
-- one account do not wait for each other (control/audit).
CREATE TABLE audit_entries (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id  bigint REFERENCES accounts,
  section_id  bigint REFERENCES sections,
  at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor       json NOT NULL, -- json and not jsonb: the seal is over these very bytes
  action      text NOT NULL,
  object_kind text NOT NULL,
  object_id   text NOT NULL,
  object_name text NOT NULL DEFAULT '',
  changes     json NOT NULL,
  reason      text NOT NULL DEFAULT '',
  request_id  text NOT NULL DEFAULT '',
  address     text NOT NULL DEFAULT '',
  mac         bytea NOT NULL
);
CREATE INDEX audit_entries_account ON audit_entries (account_id, at, id);
CREATE INDEX audit_entries_object ON audit_entries (account_id, object_kind, object_id, at, id);
-- chain: the account, or 0 for the platform. hash is over the previous hash and the entry.
CREATE TABLE audit_seals (
  chain    bigint NOT NULL,
  seq      bigint NOT NULL CHECK (seq > 0),
  entry_id bigint NOT NULL UNIQUE,
  hash     bytea NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (chain, seq)
);
-- The newest seal of each chain, signed.
CREATE TABLE audit_heads (
  chain     bigint PRIMARY KEY,
  seq       bigint NOT NULL,
  hash      bytea NOT NULL,
  signature bytea NOT NULL,
  signed_at timestamptz NOT NULL
);

-- What an account owns is found by it: its lists, and its end.
CREATE INDEX alerts_account ON alerts (account_id, id);
CREATE INDEX alert_outbox_account ON alert_outbox (account_id);
CREATE INDEX budget_plan_versions_account ON budget_plan_versions (account_id);
CREATE INDEX idempotency_keys_account ON idempotency_keys (account_id);
CREATE INDEX model_prices_account ON model_prices (account_id);
CREATE INDEX model_terms_account ON model_terms (account_id);
CREATE INDEX replays_account ON replays (account_id);
CREATE INDEX service_keys_account ON service_keys (account_id, id);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOR t IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account_id' AND NOT a.attisdropped
           WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY platform ON %I FOR ALL TO cockpit_platform USING (true) WITH CHECK (true)', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['assignments', 'elevations', 'audit_entries', 'idempotency_keys'] LOOP
    EXECUTE format($p$CREATE POLICY own_account ON %I FOR ALL TO cockpit_app
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)$p$, t);
  END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT, UPDATE, DELETE ON assignments, elevations, idempotency_keys TO cockpit_app, cockpit_platform;
GRANT SELECT ON people TO cockpit_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON people, clients TO cockpit_platform;
GRANT SELECT, INSERT ON audit_entries TO cockpit_app, cockpit_platform;
GRANT SELECT, INSERT ON audit_seals TO cockpit_platform;
GRANT SELECT, INSERT, UPDATE ON audit_heads TO cockpit_platform;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_app, cockpit_platform, cockpit_metering;
