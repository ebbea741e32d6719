-- +goose Up

-- What an admin said of a key that usage named and nobody had: whose it is, and whether what was charged in the open cycles
-- is to be corrected (control/unattributed). The key goes when the user is erased. due_at: when the correction is tried next;
-- below: where the logs stood when all workers knew the directory, by log: what is charged from there on is right.
CREATE TABLE attributions (
  account_id  bigint NOT NULL REFERENCES accounts,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  user_id     bigint NOT NULL,
  key         text NOT NULL,
  section_id  bigint REFERENCES sections, -- null: all
  correct     boolean NOT NULL,
  author      text NOT NULL,              -- an id, since the journal is for ever
  reason      text NOT NULL,
  state       text NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
  due_at      timestamptz NOT NULL,
  below       jsonb,
  looked      bigint NOT NULL DEFAULT 0,
  corrected   bigint NOT NULL DEFAULT 0,
  unknown     bigint NOT NULL DEFAULT 0,
  error       text NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL,
  finished_at timestamptz,
  PRIMARY KEY (account_id, id),
  FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id)
);
CREATE INDEX attributions_due ON attributions (due_at) WHERE state IN ('waiting', 'running');
CREATE INDEX attributions_user ON attributions (account_id, user_id);

-- Keys that users, organizations and teams had before: they go on naming them, and never another. recorded_at: since when
-- events may have named it so; of the key of today, key_since (null: ever).
CREATE TABLE key_aliases (
  account_id  bigint NOT NULL REFERENCES accounts,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  section_id  bigint, -- null: a user's
  kind        text NOT NULL CHECK (kind IN ('user', 'organization', 'team')),
  key         text NOT NULL,
  user_id     bigint CHECK ((user_id IS NOT NULL) = (kind = 'user')),
  scope_id    bigint CHECK ((scope_id IS NOT NULL AND section_id IS NOT NULL) = (kind <> 'user')),
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (account_id, id),
  CONSTRAINT key_aliases_key UNIQUE NULLS NOT DISTINCT (account_id, kind, section_id, key),
  FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id),
  FOREIGN KEY (account_id, section_id, scope_id) REFERENCES scopes (account_id, section_id, id)
);
CREATE INDEX key_aliases_user ON key_aliases (account_id, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX key_aliases_scope ON key_aliases (account_id, scope_id) WHERE scope_id IS NOT NULL;
ALTER TABLE users ADD COLUMN key_since timestamptz;
ALTER TABLE scopes ADD COLUMN key_since timestamptz;

-- Who signs in as the user. A person is one user of an account at most.
ALTER TABLE users ADD COLUMN person_id bigint REFERENCES people;
CREATE UNIQUE INDEX users_person ON users (account_id, person_id) WHERE person_id IS NOT NULL;
CREATE INDEX users_of_person ON users (person_id) WHERE person_id IS NOT NULL;

-- Keys that erased users had, as nobody can read them: hashed with a secret that the API's roles don't see.
CREATE TABLE erased_keys (
  account_id bigint NOT NULL REFERENCES accounts,
  hash       bytea NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (account_id, hash)
);
ALTER TABLE deployment ADD COLUMN key_secret bytea NOT NULL
  DEFAULT sha256(decode(replace(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex')) CHECK (length(key_secret) = 32);
-- A column is kept from who may read the table only by not giving him the table.
REVOKE SELECT ON deployment FROM cockpit_app, cockpit_platform;
-- +goose StatementBegin
DO $$
BEGIN
  EXECUTE (SELECT format('GRANT SELECT (%s) ON deployment TO cockpit_app, cockpit_platform', string_agg(quote_ident(attname), ', ')) FROM pg_attribute
    WHERE attrelid = 'deployment'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('identity_secret', 'key_secret'));
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION erased_key_hash(account bigint, key text) RETURNS bytea LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT sha256(key_secret || sha256(key_secret || convert_to(account || ' ' || key, 'UTF8'))) FROM deployment $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION erased_key_hash FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erased_key_hash TO cockpit_app, cockpit_platform, cockpit_metering, cockpit_erasure;

-- Whoever adds a user, an organization or a team gets the same answer for a key that is an alias, or an erased user's, as for
-- one that is taken. One statement's rows are looked at together.
-- +goose StatementBegin
CREATE FUNCTION keys_are_not_used_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_TABLE_NAME = 'users' THEN
    IF EXISTS (SELECT FROM added n JOIN key_aliases a ON a.account_id = n.account_id AND a.kind = 'user' AND a.section_id IS NULL AND a.key = n.key)
      OR EXISTS (SELECT FROM added n WHERE EXISTS (SELECT FROM erased_keys e WHERE e.account_id = n.account_id)
        AND EXISTS (SELECT FROM erased_keys e WHERE e.account_id = n.account_id AND e.hash = erased_key_hash(n.account_id, n.key))) THEN
      RAISE unique_violation USING MESSAGE = 'the key of a user was another''s', CONSTRAINT = 'users_account_id_key_key';
    END IF;
  ELSIF EXISTS (SELECT FROM added n JOIN key_aliases a ON a.account_id = n.account_id AND a.kind = n.kind AND a.section_id = n.section_id AND a.key = n.key WHERE n.key IS NOT NULL) THEN
    RAISE unique_violation USING MESSAGE = 'the key of a scope was another''s', CONSTRAINT = 'scopes_key';
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION key_is_not_used_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_TABLE_NAME = 'users' THEN
    IF EXISTS (SELECT FROM key_aliases a WHERE a.account_id = NEW.account_id AND a.kind = 'user' AND a.section_id IS NULL AND a.key = NEW.key)
      OR EXISTS (SELECT FROM erased_keys e WHERE e.account_id = NEW.account_id AND e.hash = erased_key_hash(NEW.account_id, NEW.key)) THEN
      RAISE unique_violation USING MESSAGE = 'the key of a user was another''s', CONSTRAINT = 'users_account_id_key_key';
    END IF;
  ELSIF TG_TABLE_NAME = 'scopes' THEN
    IF EXISTS (SELECT FROM key_aliases a WHERE a.account_id = NEW.account_id AND a.kind = NEW.kind AND a.section_id = NEW.section_id AND a.key = NEW.key) THEN
      RAISE unique_violation USING MESSAGE = 'the key of a scope was another''s', CONSTRAINT = 'scopes_key';
    END IF;
  ELSIF NEW.kind = 'user' AND (EXISTS (SELECT FROM users u WHERE u.account_id = NEW.account_id AND u.key = NEW.key)
      OR EXISTS (SELECT FROM erased_keys e WHERE e.account_id = NEW.account_id AND e.hash = erased_key_hash(NEW.account_id, NEW.key)))
    OR EXISTS (SELECT FROM scopes s WHERE s.account_id = NEW.account_id AND s.section_id = NEW.section_id AND s.kind = NEW.kind AND s.key = NEW.key) THEN
    RAISE unique_violation USING MESSAGE = 'the alias is a key', CONSTRAINT = 'key_aliases_key';
  END IF;
  RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER keys_are_not_used_again AFTER INSERT ON users REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION keys_are_not_used_again();
CREATE TRIGGER keys_are_not_used_again AFTER INSERT ON scopes REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION keys_are_not_used_again();
CREATE TRIGGER key_is_not_used_again AFTER UPDATE OF key ON users FOR EACH ROW WHEN (NEW.key <> OLD.key AND NEW.erased_at IS NULL) EXECUTE FUNCTION key_is_not_used_again();
CREATE TRIGGER key_is_not_used_again AFTER UPDATE OF key ON scopes FOR EACH ROW WHEN (NEW.key <> OLD.key) EXECUTE FUNCTION key_is_not_used_again();
CREATE TRIGGER key_is_not_used_again AFTER INSERT ON key_aliases FOR EACH ROW EXECUTE FUNCTION key_is_not_used_again();

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['attributions', 'key_aliases', 'erased_keys'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_account ON %I FOR ALL TO cockpit_app
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)$p$, t);
    EXECUTE format($p$CREATE POLICY erasure ON %I FOR ALL TO cockpit_erasure
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)$p$, t);
    EXECUTE format('CREATE POLICY across_accounts ON %I FOR ALL TO cockpit_metering USING (true) WITH CHECK (true)', t);
    EXECUTE format('CREATE POLICY platform ON %I FOR ALL TO cockpit_platform USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO cockpit_app, cockpit_metering, cockpit_platform', t);
    EXECUTE format('GRANT SELECT, UPDATE, DELETE ON %I TO cockpit_erasure', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_app, cockpit_platform, cockpit_metering, cockpit_erasure;
REVOKE UPDATE, DELETE ON erased_keys FROM cockpit_app, cockpit_metering, cockpit_platform;
