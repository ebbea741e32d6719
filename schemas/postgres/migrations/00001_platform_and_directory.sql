-- +goose Up

-- Roles. The program logs in as a role that may SET ROLE to these; neither owns a table nor bypasses row-level security.
-- Roles belong to the server, not to the database: several databases may be migrated at once.
-- +goose StatementBegin
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['cockpit_app', 'cockpit_metering'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', r);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END LOOP;
END $$;
-- +goose StatementEnd

-- One row: what is true of the whole deployment. identity_secret keys the identity hash (architecture, Identity).
-- directory_version is raised, under its row lock, by every transaction that changes what metering resolves events with.
CREATE TABLE deployment (
  only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  identity_secret   bytea NOT NULL CHECK (length(identity_secret) = 16),
  directory_version bigint NOT NULL DEFAULT 1
);
INSERT INTO deployment (identity_secret) VALUES (decode(replace(gen_random_uuid()::text, '-', ''), 'hex'));

CREATE TABLE sections (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key          text NOT NULL UNIQUE,
  unit         text NOT NULL CHECK (unit IN ('credits', 'usd')),
  models_owner text NOT NULL CHECK (models_owner IN ('platform', 'account')),
  created_at   timestamptz NOT NULL DEFAULT now()
);

-- version is the deployment's directory_version of the account's last change: what a follower has to load again.
CREATE TABLE accounts (
  account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key        text NOT NULL UNIQUE,
  name       text NOT NULL,
  time_zone  text NOT NULL,
  state      text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'closed')),
  version    bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sources (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key          text NOT NULL UNIQUE,
  mode         text NOT NULL CHECK (mode IN ('meter', 'observe')),
  all_accounts boolean NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE source_sections (
  source_id  bigint NOT NULL REFERENCES sources,
  section_id bigint NOT NULL REFERENCES sections,
  PRIMARY KEY (source_id, section_id)
);
CREATE TABLE source_accounts (
  account_id bigint NOT NULL REFERENCES accounts,
  source_id  bigint NOT NULL REFERENCES sources,
  PRIMARY KEY (account_id, source_id)
);

CREATE TABLE users (
  account_id bigint NOT NULL REFERENCES accounts,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  key        text NOT NULL,
  name       text NOT NULL,
  email      text,
  state      text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'inactive')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, id),
  UNIQUE (id),
  UNIQUE (account_id, key)
);
CREATE TABLE user_identities (
  account_id  bigint NOT NULL,
  user_id     bigint NOT NULL,
  source      text NOT NULL,
  value       text NOT NULL,
  valid_from  timestamptz NOT NULL,
  valid_to    timestamptz NOT NULL DEFAULT 'infinity',
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, source, value, valid_from),
  FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id)
);
CREATE UNIQUE INDEX user_identities_current ON user_identities (account_id, source, value) WHERE valid_to = 'infinity';

-- Scopes: the nodes of every tree (account root, organization, team, membership) and, beside the trees, one row for each
-- user and section. One id space, so that a balance is (scope, cycle).
CREATE TABLE scopes (
  account_id bigint NOT NULL REFERENCES accounts,
  id         bigint GENERATED ALWAYS AS IDENTITY,
  section_id bigint NOT NULL REFERENCES sections,
  kind       text NOT NULL CHECK (kind IN ('account', 'organization', 'team', 'membership', 'user')),
  key        text CHECK ((key IS NULL) = (kind IN ('account', 'membership', 'user'))),
  name       text,
  user_id    bigint CHECK ((user_id IS NOT NULL) = (kind IN ('membership', 'user'))),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, id),
  UNIQUE (id),
  UNIQUE (account_id, section_id, id),
  FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id)
);
CREATE UNIQUE INDEX scopes_key ON scopes (account_id, section_id, kind, key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX scopes_root ON scopes (account_id, section_id) WHERE kind = 'account';
CREATE UNIQUE INDEX scopes_user ON scopes (account_id, section_id, user_id) WHERE kind = 'user';
CREATE INDEX scopes_membership ON scopes (account_id, user_id) WHERE kind = 'membership';

-- Parent links, effective-dated. The account root and user rows have none. A membership that ended has no open row.
CREATE TABLE scope_parents (
  account_id  bigint NOT NULL,
  section_id  bigint NOT NULL,
  scope_id    bigint NOT NULL,
  parent_id   bigint NOT NULL CHECK (parent_id <> scope_id),
  valid_from  timestamptz NOT NULL,
  valid_to    timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, scope_id, valid_from),
  FOREIGN KEY (account_id, section_id, scope_id) REFERENCES scopes (account_id, section_id, id),
  FOREIGN KEY (account_id, section_id, parent_id) REFERENCES scopes (account_id, section_id, id)
);
CREATE UNIQUE INDEX scope_parents_current ON scope_parents (account_id, scope_id) WHERE valid_to = 'infinity';
CREATE INDEX scope_parents_children ON scope_parents (account_id, parent_id);

-- Which membership is the user's primary one in a section.
CREATE TABLE primary_memberships (
  account_id    bigint NOT NULL,
  section_id    bigint NOT NULL,
  user_id       bigint NOT NULL,
  membership_id bigint NOT NULL,
  valid_from    timestamptz NOT NULL,
  valid_to      timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
  recorded_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, section_id, user_id, valid_from),
  FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id),
  FOREIGN KEY (account_id, section_id, membership_id) REFERENCES scopes (account_id, section_id, id)
);
CREATE UNIQUE INDEX primary_memberships_current ON primary_memberships (account_id, section_id, user_id) WHERE valid_to = 'infinity';

CREATE TABLE account_sections (
  account_id    bigint NOT NULL REFERENCES accounts,
  section_id    bigint NOT NULL REFERENCES sections,
  root_scope_id bigint NOT NULL,
  state         text NOT NULL DEFAULT 'on' CHECK (state IN ('on', 'off')),
  PRIMARY KEY (account_id, section_id),
  FOREIGN KEY (account_id, section_id, root_scope_id) REFERENCES scopes (account_id, section_id, id)
);

-- Models: the platform's have no account. Terms and prices are effective-dated and never edited.
CREATE TABLE models (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id bigint REFERENCES accounts,
  section_id bigint NOT NULL REFERENCES sections,
  key        text NOT NULL,
  provider   text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (section_id, account_id, key)
);
CREATE TABLE model_terms (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id  bigint REFERENCES accounts,
  model_id    bigint NOT NULL REFERENCES models,
  free        boolean NOT NULL,
  policy      text NOT NULL CHECK (policy IN ('listed', 'reported')),
  valid_from  timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (model_id, valid_from)
);
-- quantities: {"input_tokens": {"usd": "1.25", "per": 1000000}, …}
CREATE TABLE model_prices (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id  bigint REFERENCES accounts,
  model_id    bigint NOT NULL REFERENCES models,
  quantities  jsonb NOT NULL,
  valid_from  timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (model_id, valid_from)
);
-- CREDITS_FACTOR: the platform's default of a section has no account.
CREATE TABLE credits_factors (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id  bigint REFERENCES accounts,
  section_id  bigint NOT NULL REFERENCES sections,
  value       numeric(24, 12) NOT NULL CHECK (value > 0),
  valid_from  timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (section_id, account_id, valid_from)
);

-- Budget plans are the platform's (no account) or an account's; a change is a new version and applies from the next cycle.
CREATE TABLE budget_plans (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id bigint REFERENCES accounts,
  key        text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (account_id, key)
);
-- time_zone: null is the account's. thresholds: percent, ascending.
CREATE TABLE budget_plan_versions (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id  bigint REFERENCES accounts,
  plan_id     bigint NOT NULL REFERENCES budget_plans,
  cycle       text NOT NULL CHECK (cycle IN ('daily', 'weekly', 'monthly', 'quarterly', 'yearly', 'days', 'never')),
  every_days  integer CHECK ((cycle = 'days') = (every_days IS NOT NULL) AND every_days > 0),
  anchor      date NOT NULL,
  time_zone   text,
  enforcement text NOT NULL CHECK (enforcement IN ('stop', 'notify')),
  thresholds  integer[] NOT NULL,
  rollover    text NOT NULL CHECK (rollover IN ('none', 'unused')),
  recorded_at timestamptz NOT NULL DEFAULT now()
);
-- Which plan a scope has: of an account's root it sets the cycle, below it only thresholds and enforcement.
CREATE TABLE scope_plans (
  account_id  bigint NOT NULL,
  scope_id    bigint NOT NULL,
  plan_id     bigint NOT NULL REFERENCES budget_plans,
  valid_from  timestamptz NOT NULL,
  valid_to    timestamptz NOT NULL DEFAULT 'infinity' CHECK (valid_to > valid_from),
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, scope_id, valid_from),
  FOREIGN KEY (account_id, scope_id) REFERENCES scopes (account_id, id)
);
CREATE TABLE cycles (
  account_id      bigint NOT NULL,
  section_id      bigint NOT NULL,
  start_at        timestamptz NOT NULL,
  end_at          timestamptz NOT NULL CHECK (end_at > start_at),
  plan_version_id bigint NOT NULL REFERENCES budget_plan_versions,
  PRIMARY KEY (account_id, section_id, start_at),
  FOREIGN KEY (account_id, section_id) REFERENCES account_sections
);

-- Amounts are micro-credits. Rows are added, never edited; the newest that is valid counts; amount null ends it.
CREATE TABLE allocations (
  account_id  bigint NOT NULL,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  scope_id    bigint NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('fixed', 'equal', 'none')),
  amount      bigint CHECK ((kind = 'fixed') = (amount IS NOT NULL) AND amount >= 0),
  valid_from  timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  author      text NOT NULL,
  PRIMARY KEY (account_id, id),
  FOREIGN KEY (account_id, scope_id) REFERENCES scopes (account_id, id)
);
CREATE INDEX allocations_scope ON allocations (account_id, scope_id, valid_from);
CREATE TABLE caps (
  account_id  bigint NOT NULL,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  scope_id    bigint NOT NULL,
  amount      bigint CHECK (amount >= 0),
  valid_from  timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  author      text NOT NULL,
  PRIMARY KEY (account_id, id),
  FOREIGN KEY (account_id, scope_id) REFERENCES scopes (account_id, id)
);
CREATE INDEX caps_scope ON caps (account_id, scope_id, valid_from);
CREATE TABLE overrides (
  account_id  bigint NOT NULL,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  scope_id    bigint NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('allocation', 'cap')),
  amount      bigint NOT NULL CHECK (amount >= 0),
  reason      text NOT NULL,
  author      text NOT NULL,
  valid_from  timestamptz NOT NULL,
  valid_until timestamptz NOT NULL DEFAULT 'infinity',
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, id),
  FOREIGN KEY (account_id, scope_id) REFERENCES scopes (account_id, id)
);
CREATE INDEX overrides_scope ON overrides (account_id, scope_id);

-- Service keys (ck_…): only the SHA-256 is kept. account_id: the account that the key is bound to, if one.
CREATE TABLE service_keys (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id   bigint REFERENCES accounts,
  name         text NOT NULL,
  hash         bytea NOT NULL UNIQUE,
  last_four    text NOT NULL,
  all_sources  boolean NOT NULL,
  expires_at   timestamptz NOT NULL DEFAULT 'infinity',
  revoked_at   timestamptz,
  last_used_at timestamptz,
  created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE service_key_sources (
  key_id    bigint NOT NULL REFERENCES service_keys,
  source_id bigint NOT NULL REFERENCES sources,
  PRIMARY KEY (key_id, source_id)
);

INSERT INTO sections (key, unit, models_owner) VALUES ('copilot', 'credits', 'platform'), ('console', 'usd', 'account');
INSERT INTO credits_factors (section_id, value, valid_from)
  SELECT id, CASE unit WHEN 'usd' THEN 1 ELSE 100 END, '2020-01-01T00:00:00Z' FROM sections;
