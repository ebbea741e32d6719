-- +goose Up

-- Sessions of browsers. hash: the SHA-256 of the id that the browser holds. sid: the issuer's session, for back-channel
-- log-out. roles: what the issuer said last, role to organizations. tokens: sealed by the program's keys. refresh_at: when
-- the issuer is to be asked again; who asks moves it on first. A session ends at expires_at, when it was not
-- seen for as long as idle, or at ended_at.
CREATE TABLE sessions (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  hash        bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
  person_id   bigint NOT NULL REFERENCES people,
  sid         text,
  roles       jsonb NOT NULL,
  tokens      bytea NOT NULL,
  user_agent  text NOT NULL,
  address     text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  seen_at     timestamptz NOT NULL DEFAULT now(),
  refresh_at  timestamptz NOT NULL,
  idle        interval NOT NULL,
  expires_at  timestamptz NOT NULL,
  ended_at    timestamptz
);
CREATE INDEX sessions_person ON sessions (person_id);
CREATE INDEX sessions_sid ON sessions (sid) WHERE sid IS NOT NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO cockpit_platform;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_platform;
