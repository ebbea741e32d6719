-- +goose Up

-- Jobs: what is done in bulk (control/jobs). account null: the platform's. position: the seq of the last item that was done;
-- it moves in the transaction that does items, so that none is done twice. epoch: raised by whoever takes the job; what an
-- older one commits is refused. touched_at: when its worker was last known to live, by the database's clock. author: who made
-- it, as what it does is on record. undoes: the job whose items this one takes back.
CREATE TABLE jobs (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id      bigint REFERENCES accounts,
  section_id      bigint REFERENCES sections,
  operation       text NOT NULL,
  params          jsonb NOT NULL,
  reason          text NOT NULL DEFAULT '',
  dry_run         boolean NOT NULL DEFAULT false,
  author          jsonb NOT NULL,
  undoes          bigint REFERENCES jobs ON DELETE SET NULL,
  state           text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'cancelled', 'failed')),
  failure_code    text NOT NULL DEFAULT '',
  failure_reason  text NOT NULL DEFAULT '',
  total           bigint NOT NULL DEFAULT 0,
  items_done      bigint NOT NULL DEFAULT 0,
  items_unchanged bigint NOT NULL DEFAULT 0,
  items_failed    bigint NOT NULL DEFAULT 0,
  position        bigint NOT NULL DEFAULT 0,
  epoch           bigint NOT NULL DEFAULT 0,
  tries           integer NOT NULL DEFAULT 0,
  created_at      timestamptz NOT NULL,
  started_at      timestamptz,
  ended_at        timestamptz,
  touched_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (account_id, id),
  CHECK ((ended_at IS NULL) = (state IN ('queued', 'running')))
) WITH (fillfactor = 50);
CREATE INDEX jobs_platform ON jobs (id) WHERE account_id IS NULL;
CREATE INDEX jobs_unended ON jobs (touched_at) WHERE ended_at IS NULL;
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX jobs_undoes ON jobs (undoes) WHERE undoes IS NOT NULL;

-- Whose an item is, its job says: a foreign key of each item's own would lock the account's row once an item.
-- Items in the order in which they are done. ref: what people see of one, an id or a line. data: what doing it needs; it goes
-- when it is done. undo: what taking it back needs.
CREATE TABLE job_items (
  account_id bigint,
  job_id     bigint NOT NULL,
  seq        bigint NOT NULL CHECK (seq > 0),
  ref        text NOT NULL,
  data       jsonb,
  state      text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'unchanged', 'failed')),
  code       text NOT NULL DEFAULT '',
  reason     text NOT NULL DEFAULT '',
  detail     jsonb,
  undo       jsonb,
  PRIMARY KEY (job_id, seq) INCLUDE (account_id),
  FOREIGN KEY (account_id, job_id) REFERENCES jobs (account_id, id)
) WITH (fillfactor = 60);

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['jobs', 'job_items'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_account ON %I FOR ALL TO cockpit_app
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)$p$, t);
    EXECUTE format($p$CREATE POLICY erasure ON %I FOR ALL TO cockpit_erasure
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)$p$, t);
    EXECUTE format('CREATE POLICY platform ON %I FOR ALL TO cockpit_platform USING (true) WITH CHECK (true)', t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT SELECT, INSERT, UPDATE ON jobs, job_items TO cockpit_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON jobs, job_items TO cockpit_platform;
GRANT SELECT, UPDATE, DELETE ON jobs, job_items TO cockpit_erasure;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_app, cockpit_platform, cockpit_metering;

-- Jobs that fill tables have their statistics made. Before version 17 only owners may, and autovacuum does so later.
-- +goose StatementBegin
DO $$
BEGIN
  IF current_setting('server_version_num')::integer >= 170000 THEN
    GRANT MAINTAIN ON users, user_identities, scopes, scope_parents, primary_memberships TO cockpit_platform;
  END IF;
END $$;
-- +goose StatementEnd

-- River's own tables, which its own migrations make (schemas/postgres, Migrate). They have numbers of accounts and jobs and
-- nothing else of anybody.
CREATE SCHEMA river;
GRANT USAGE ON SCHEMA river TO cockpit_app, cockpit_platform;
