-- +goose Up

-- Invites: what brings somebody who signs in to a role, or to a user. token_hash: of the text in the link, which is nowhere;
-- null where the issuer sends its own mail to whom provisioned is of. expires_at passes by itself: such an invite stays pending, and is shown as expired.
CREATE TABLE invites (
  account_id  bigint NOT NULL REFERENCES accounts,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  role        text NOT NULL CHECK (role IN ('account_admin', 'account_viewer', 'section_admin', 'end_user')),
  section_id  bigint REFERENCES sections,
  user_id     bigint,
  email       text NOT NULL,
  name        text NOT NULL DEFAULT '',
  delivery    text NOT NULL CHECK (delivery IN ('link', 'mail')),
  token_hash  bytea UNIQUE,
  state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'accepted', 'revoked')),
  sends       integer NOT NULL DEFAULT 1,
  sent_at     timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  created_at  timestamptz NOT NULL,
  created_by  bigint REFERENCES people,
  accepted_at timestamptz,
  accepted_by bigint REFERENCES people,
  provisioned bigint REFERENCES issuer_users,
  PRIMARY KEY (account_id, id),
  UNIQUE (id),
  FOREIGN KEY (account_id, user_id) REFERENCES users (account_id, id),
  CHECK ((role = 'end_user') = (user_id IS NOT NULL)),
  CHECK ((role IN ('end_user', 'section_admin')) = (section_id IS NOT NULL)),
  CHECK ((state = 'accepted') = (accepted_at IS NOT NULL)),
  CHECK ((delivery = 'link') = (token_hash IS NOT NULL)),
  CHECK (delivery = 'link' OR provisioned IS NOT NULL)
);
-- Nobody waits for two invites to the same.
CREATE UNIQUE INDEX invites_pending_user ON invites (account_id, user_id, section_id) WHERE state = 'pending' AND user_id IS NOT NULL;
CREATE UNIQUE INDEX invites_pending_role ON invites (account_id, lower(email COLLATE pg_c_utf8), role, coalesce(section_id, 0)) WHERE state = 'pending' AND user_id IS NULL;
CREATE INDEX invites_mailed ON invites (id) WHERE state = 'pending' AND delivery = 'mail';
CREATE INDEX invites_user ON invites (account_id, user_id) WHERE user_id IS NOT NULL;

-- Whom an account may invite: e-mails of these domains, in small letters and ASCII; none: of all.
ALTER TABLE accounts ADD COLUMN invite_domains text[] NOT NULL DEFAULT '{}';

ALTER TABLE invites ENABLE ROW LEVEL SECURITY;
ALTER TABLE invites FORCE ROW LEVEL SECURITY;
-- +goose StatementBegin
DO $$
DECLARE own text := $p$ account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint $p$;
BEGIN
  EXECUTE format('CREATE POLICY own_account ON invites FOR ALL TO cockpit_app USING (%s) WITH CHECK (%s)', own, own);
  EXECUTE format('CREATE POLICY erasure ON invites FOR ALL TO cockpit_erasure USING (%s) WITH CHECK (%s)', own, own);
END $$;
-- +goose StatementEnd
CREATE POLICY platform ON invites FOR ALL TO cockpit_platform USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON invites TO cockpit_app, cockpit_platform;
GRANT SELECT, DELETE ON invites TO cockpit_erasure;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_app, cockpit_platform;
