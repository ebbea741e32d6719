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

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['attributions'] LOOP
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
