-- Every usage event with its decision and charge. log and position are the journal's coordinates (offsets.id, Kafka's offset);
-- credits are the section's unit, cost is USD. Ids are Postgres'; scopes is the path from the account's root down.
CREATE TABLE IF NOT EXISTS usage_events (
  log             UInt64,
  position        UInt64,
  decision        LowCardinality(String),
  reason          LowCardinality(String),
  time            DateTime64(6, 'UTC'),
  arrived         DateTime64(3, 'UTC'),
  account         UInt64,
  section         UInt64,
  organization    UInt64,
  team            UInt64,
  membership      UInt64,
  user            UInt64,
  scopes          Array(UInt64),
  cycle_start     DateTime64(0, 'UTC'),
  model           UInt64,
  price           UInt64,
  factor          UInt64,
  flags           UInt32,
  credits         Decimal(38, 6),
  cost            Decimal(38, 12),
  id              String,
  source          LowCardinality(String),
  user_key        String,
  team_key        String,
  model_key       LowCardinality(String),
  agent           LowCardinality(String),
  tool            LowCardinality(String),
  operation       LowCardinality(String),
  status          LowCardinality(String),
  quantities      Array(Int64),
  latency_ms      Int64,
  cost_usd        String,
  reservation     String,
  trace_id        String,
  labels          String,
  attributes      String,
  INDEX coordinates (log, position) TYPE minmax GRANULARITY 1
) ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (account, section, time, log, position)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1;

-- Rollups hold sums of charged and observed events, corrections included. Quantities stand in the order of the events' schema.
CREATE TABLE IF NOT EXISTS usage_quarters (
  account UInt64, section UInt64, quarter DateTime('UTC'), organization UInt64, team UInt64, model UInt64,
  agent LowCardinality(String), tool LowCardinality(String), operation LowCardinality(String), status LowCardinality(String), source LowCardinality(String),
  events Int64, credits Decimal(38, 6), cost Decimal(38, 12), latency_ms Int64,
  input_tokens Int64, output_tokens Int64, cached_input_tokens Int64, cache_write_tokens Int64, reasoning_tokens Int64,
  audio_seconds Int64, characters Int64, images Int64, requests Int64, tool_calls Int64
) ENGINE = SummingMergeTree PARTITION BY toYYYYMM(quarter)
ORDER BY (account, section, quarter, organization, team, model, agent, tool, operation, status, source)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1;

-- day is the date in the account's time zone.
CREATE TABLE IF NOT EXISTS usage_days (
  account UInt64, section UInt64, day Date, organization UInt64, team UInt64, model UInt64,
  agent LowCardinality(String), tool LowCardinality(String), operation LowCardinality(String), status LowCardinality(String), source LowCardinality(String),
  events Int64, credits Decimal(38, 6), cost Decimal(38, 12), latency_ms Int64,
  input_tokens Int64, output_tokens Int64, cached_input_tokens Int64, cache_write_tokens Int64, reasoning_tokens Int64,
  audio_seconds Int64, characters Int64, images Int64, requests Int64, tool_calls Int64
) ENGINE = SummingMergeTree PARTITION BY toYYYYMM(day)
ORDER BY (account, section, day, organization, team, model, agent, tool, operation, status, source)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1;

-- Users apart, so that the rollups that charts read stay small.
CREATE TABLE IF NOT EXISTS usage_user_days (
  account UInt64, section UInt64, day Date, user UInt64, model UInt64,
  events Int64, credits Decimal(38, 6), cost Decimal(38, 12)
) ENGINE = SummingMergeTree PARTITION BY toYYYYMM(day) ORDER BY (account, section, day, user, model)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1;

CREATE TABLE IF NOT EXISTS guardrail_events (
  log UInt64, position UInt64, decision LowCardinality(String), reason LowCardinality(String),
  time DateTime64(6, 'UTC'), arrived DateTime64(3, 'UTC'), account UInt64, section UInt64, organization UInt64, team UInt64, user UInt64,
  id String, source LowCardinality(String), user_key String, team_key String, agent LowCardinality(String), model_key LowCardinality(String),
  guardrail LowCardinality(String), guardrail_version Int64, rule LowCardinality(String), category LowCardinality(String),
  stage LowCardinality(String), action LowCardinality(String), outcome LowCardinality(String), severity LowCardinality(String),
  confidence String, match_count Int64, latency_ms Int64, sample_hash String, request_id String, trace_id String, attributes String,
  INDEX coordinates (log, position) TYPE minmax GRANULARITY 1
) ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (account, section, time, log, position)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1;

CREATE TABLE IF NOT EXISTS guardrail_quarters (
  account UInt64, section UInt64, quarter DateTime('UTC'), guardrail LowCardinality(String), category LowCardinality(String),
  action LowCardinality(String), severity LowCardinality(String), events Int64, match_count Int64
) ENGINE = SummingMergeTree PARTITION BY toYYYYMM(quarter) ORDER BY (account, section, quarter, guardrail, category, action, severity)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1;
