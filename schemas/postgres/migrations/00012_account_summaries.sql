-- +goose Up

-- The platform's summary: a row an account, brought up to date every few seconds by one process (control/summaries). Amounts
-- are micro-credits, of sections that count in credits and of those that count in USD apart, in their current cycles.
-- version: the account's when users and allocated were counted; until: when they may change by themselves. events: what the
-- last activity is seen by.
CREATE TABLE account_summaries (
  account_id        bigint PRIMARY KEY REFERENCES accounts,
  users             bigint NOT NULL,
  allocated_credits bigint NOT NULL,
  allocated_usd     bigint NOT NULL,
  used_credits      bigint NOT NULL,
  used_usd          bigint NOT NULL,
  forecast_credits  bigint NOT NULL,
  forecast_usd      bigint NOT NULL,
  open_alerts       bigint NOT NULL,
  last_activity_at  timestamptz NOT NULL DEFAULT '-infinity',
  version           bigint NOT NULL,
  until             timestamptz NOT NULL,
  events            bigint NOT NULL,
  forecast_at       timestamptz NOT NULL
);
-- One row: when the rows above were last brought up to date.
CREATE TABLE account_summaries_state (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  as_of    timestamptz NOT NULL
);

-- Each order of the list is an index, so that a page costs the same however many accounts there are.
CREATE INDEX account_summaries_users ON account_summaries (users, account_id);
CREATE INDEX account_summaries_allocated_credits ON account_summaries (allocated_credits, account_id);
CREATE INDEX account_summaries_allocated_usd ON account_summaries (allocated_usd, account_id);
CREATE INDEX account_summaries_used_credits ON account_summaries (used_credits, account_id);
CREATE INDEX account_summaries_used_usd ON account_summaries (used_usd, account_id);
CREATE INDEX account_summaries_forecast_credits ON account_summaries (forecast_credits, account_id);
CREATE INDEX account_summaries_forecast_usd ON account_summaries (forecast_usd, account_id);
CREATE INDEX account_summaries_open_alerts ON account_summaries (open_alerts, account_id);
CREATE INDEX account_summaries_last_activity ON account_summaries (last_activity_at, account_id);
CREATE INDEX alerts_open ON alerts (account_id) WHERE state = 'open';
CREATE INDEX people_last_seen ON people (last_seen_at, id);
CREATE INDEX people_name ON people (name, id);

ALTER TABLE account_summaries ENABLE ROW LEVEL SECURITY;
ALTER TABLE account_summaries FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON account_summaries FOR ALL TO cockpit_app
  USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
  WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint);
CREATE POLICY platform ON account_summaries FOR ALL TO cockpit_platform USING (true) WITH CHECK (true);
GRANT SELECT ON account_summaries TO cockpit_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON account_summaries, account_summaries_state TO cockpit_platform;
