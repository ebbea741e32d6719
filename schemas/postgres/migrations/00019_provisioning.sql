-- +goose Up

-- In step with ZITADEL (control/provisioning): one row for each object there, with what is wanted, and how far that is.
-- provisioned_issuer: the issuer that is kept in step; empty: none is, and no rows are made.
ALTER TABLE deployment ADD COLUMN provisioned_issuer text NOT NULL DEFAULT '';
GRANT UPDATE (provisioned_issuer) ON deployment TO cockpit_platform;
GRANT SELECT (provisioned_issuer) ON deployment TO cockpit_erasure;

-- seen: has signed in. Somebody who was invited and has not is there as soon as the issuer has him.
ALTER TABLE people ADD COLUMN seen boolean NOT NULL DEFAULT true;

CREATE SEQUENCE provisioning_ids;

-- Columns of all three tables. asked is raised by each change of what is wanted, done is what asked was when it was last
-- brought about: pending is asked <> done, so several changes are one call. leased_until: a process is at it.
-- state: pending, synced, or failed, when it was refused several times and is tried seldom.

-- An account's organization there. organization: its id, of our own choosing, or the one that operators gave (own: false),
-- which is neither renamed nor deactivated. name, active: as they were written last.
CREATE TABLE issuer_organizations (
  account_id   bigint PRIMARY KEY REFERENCES accounts,
  id           bigint NOT NULL UNIQUE DEFAULT nextval('provisioning_ids'),
  organization text NOT NULL UNIQUE,
  own          boolean NOT NULL,
  made         boolean NOT NULL DEFAULT false,
  granted      boolean NOT NULL DEFAULT false,
  name         text NOT NULL DEFAULT '',
  active       boolean NOT NULL DEFAULT true,
  asked        bigint NOT NULL DEFAULT 1,
  done         bigint NOT NULL DEFAULT 0,
  state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'synced', 'failed')),
  reason       text NOT NULL DEFAULT '',
  attempts     integer NOT NULL DEFAULT 0,
  next_at      timestamptz NOT NULL DEFAULT now(),
  leased_until timestamptz NOT NULL DEFAULT '-infinity',
  changed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX issuer_organizations_due ON issuer_organizations (next_at) WHERE asked <> done;

-- Somebody there: the platform's, as people are. key: the e-mail folded, by which he is known. subject: his id there; of our
-- own choosing until somebody with this e-mail is found there. own: made by us. home: the account that he was first wanted
-- by, in whose organization he is made. there: his state at the issuer as it is known; empty: he is not there yet; moving and removing: we are about to change that.
-- verified: has shown there that the e-mail is his, as whoever follows an invitation does.
-- shut_here: by the platform, until it lets him in. shut_there: deactivated, locked or removed there by somebody else, until
-- they let him in. mails_*: invitations by mail that were asked for and sent. claimed: an e-mail that he has not verified yet.
-- sequence, named: of the last events that were applied, about his state and about his name and e-mail. Whether he is to be active, or to be there at all, follows from his grants.
CREATE TABLE issuer_users (
  id           bigint PRIMARY KEY DEFAULT nextval('provisioning_ids'),
  key          text NOT NULL,
  email        text NOT NULL,
  given_name   text NOT NULL,
  family_name  text NOT NULL,
  home         bigint REFERENCES accounts,
  subject      text NOT NULL UNIQUE,
  person_id    bigint UNIQUE REFERENCES people,
  own          boolean NOT NULL DEFAULT true,
  there        text NOT NULL DEFAULT '' CHECK (there IN ('', 'active', 'inactive', 'locked', 'removed', 'moving', 'removing')),
  verified     boolean NOT NULL DEFAULT false,
  shut_here    boolean NOT NULL DEFAULT false,
  shut_there   boolean NOT NULL DEFAULT false,
  mails_asked  integer NOT NULL DEFAULT 0,
  mails_sent   integer NOT NULL DEFAULT 0,
  claimed      text NOT NULL DEFAULT '',
  sequence     bigint NOT NULL DEFAULT 0,
  named        bigint NOT NULL DEFAULT 0,
  asked        bigint NOT NULL DEFAULT 1,
  done         bigint NOT NULL DEFAULT 0,
  state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'synced', 'failed')),
  reason       text NOT NULL DEFAULT '',
  attempts     integer NOT NULL DEFAULT 0,
  next_at      timestamptz NOT NULL DEFAULT now(),
  leased_until timestamptz NOT NULL DEFAULT '-infinity',
  changed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX issuer_users_key ON issuer_users (key) WHERE key <> '';
CREATE INDEX issuer_users_due ON issuer_users (next_at) WHERE asked <> done;
CREATE INDEX issuer_users_home ON issuer_users (home);

-- Somebody's roles in an account's organization there. roles, active: wanted; none: the authorization is deleted. grant_id:
-- the authorization's id; empty: it is not there, as far as is known: one that was asked for at tried_at and not answered may
-- be. roles_there, active_there: as they were written or seen last. shut_there: deactivated there by somebody else.
CREATE TABLE issuer_grants (
  account_id   bigint NOT NULL REFERENCES accounts,
  user_id      bigint NOT NULL REFERENCES issuer_users,
  id           bigint NOT NULL UNIQUE DEFAULT nextval('provisioning_ids'),
  roles        text[] NOT NULL,
  active       boolean NOT NULL DEFAULT true,
  grant_id     text NOT NULL DEFAULT '',
  roles_there  text[] NOT NULL DEFAULT '{}',
  active_there boolean NOT NULL DEFAULT true,
  tried_at     timestamptz NOT NULL DEFAULT '-infinity',
  shut_there   boolean NOT NULL DEFAULT false,
  sequence     bigint NOT NULL DEFAULT 0,
  listed_at    timestamptz NOT NULL DEFAULT '-infinity',
  asked        bigint NOT NULL DEFAULT 1,
  done         bigint NOT NULL DEFAULT 0,
  state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'synced', 'failed')),
  reason       text NOT NULL DEFAULT '',
  attempts     integer NOT NULL DEFAULT 0,
  next_at      timestamptz NOT NULL DEFAULT now(),
  leased_until timestamptz NOT NULL DEFAULT '-infinity',
  changed_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, user_id)
);
CREATE INDEX issuer_grants_user ON issuer_grants (user_id);
CREATE INDEX issuer_grants_due ON issuer_grants (next_at) WHERE asked <> done;
CREATE UNIQUE INDEX issuer_grants_grant ON issuer_grants (grant_id) WHERE grant_id <> '';

-- What the API shows. A membership waits for the organization and the user, and fails as they do.
CREATE VIEW provisioning WITH (security_invoker = true) AS
  SELECT o.id, o.account_id, 'organization' AS kind, o.organization AS subject, '' AS email, '{}'::text[] AS roles, o.state, o.reason, o.attempts,
    CASE WHEN o.asked <> o.done THEN o.next_at END AS next_at, o.changed_at
  FROM issuer_organizations o
  UNION ALL
  SELECT u.id, NULL, 'user', u.subject, u.email, '{}', u.state, u.reason, u.attempts, CASE WHEN u.asked <> u.done THEN u.next_at END, u.changed_at
  FROM issuer_users u
  UNION ALL
  SELECT g.id, g.account_id, 'membership', u.subject, u.email, g.roles,
    CASE WHEN g.state = 'synced' AND u.state = 'synced' THEN 'synced' WHEN 'failed' IN (g.state, u.state, o.state) THEN 'failed' ELSE 'pending' END,
    coalesce(nullif(g.reason, ''), nullif(u.reason, ''), o.reason, ''), greatest(g.attempts, u.attempts),
    CASE WHEN g.asked <> g.done THEN g.next_at WHEN u.asked <> u.done THEN u.next_at END, greatest(g.changed_at, u.changed_at)
  FROM issuer_grants g JOIN issuer_users u ON u.id = g.user_id LEFT JOIN issuer_organizations o ON o.account_id = g.account_id;

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['issuer_organizations', 'issuer_grants'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY platform ON %I FOR ALL TO cockpit_platform USING (true) WITH CHECK (true)', t);
    EXECUTE format($p$CREATE POLICY own_account ON %I FOR ALL TO cockpit_app
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)$p$, t);
    EXECUTE format($p$CREATE POLICY erasure ON %I FOR ALL TO cockpit_erasure
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)$p$, t);
  END LOOP;
END $$;
-- +goose StatementEnd
GRANT SELECT, INSERT, UPDATE, DELETE ON issuer_organizations, issuer_users, issuer_grants TO cockpit_platform;
GRANT SELECT, INSERT, UPDATE ON issuer_organizations, issuer_users, issuer_grants TO cockpit_app;
GRANT SELECT, UPDATE, DELETE ON issuer_organizations, issuer_grants TO cockpit_erasure;
GRANT SELECT, UPDATE ON issuer_users TO cockpit_erasure;
GRANT SELECT ON provisioning TO cockpit_app, cockpit_platform;
GRANT USAGE ON SEQUENCE provisioning_ids TO cockpit_app, cockpit_platform;
