-- +goose Up

-- Users and scopes are changed by the API: revision is the ETag. search is what a user is found by, in small letters whatever
-- the database's locale. It has no index: under row-level security LIKE, which may leak, uses none, not even one of trigrams.
-- erased_at: when name, e-mail, key and identities were taken away; sums stay with the id.
ALTER TABLE users
  ADD COLUMN revision bigint NOT NULL DEFAULT 1,
  ADD COLUMN erased_at timestamptz,
  ADD COLUMN search text COLLATE pg_c_utf8 NOT NULL GENERATED ALWAYS AS (lower((key || E'\n' || name || E'\n' || coalesce(email, '')) COLLATE pg_c_utf8)) STORED;
ALTER TABLE user_identities ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY;
CREATE UNIQUE INDEX user_identities_id ON user_identities (id);
ALTER TABLE scopes ADD COLUMN revision bigint NOT NULL DEFAULT 1;

-- The orders of the list of users, and who has which identities.
CREATE INDEX users_name ON users (account_id, name, id);
CREATE INDEX user_identities_user ON user_identities (account_id, user_id);
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_app, cockpit_platform, cockpit_metering;
