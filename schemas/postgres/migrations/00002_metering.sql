-- +goose Up

-- Where each partition stands, and the fence (architecture, Exactly once). Positions of a topic belong to (cluster id, topic id, partition).
-- The log of corrections is a row too: topic 'corrections', partition 0, empty cluster and topic ids.
CREATE TABLE offsets (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  cluster_id    text NOT NULL,
  topic_id      text NOT NULL,
  topic         text NOT NULL,
  partition     integer NOT NULL CHECK (partition >= 0),
  partitions    integer NOT NULL CHECK (partitions > 0),
  generation    bigint NOT NULL DEFAULT 1,
  epoch         bigint NOT NULL DEFAULT 0,
  next          bigint NOT NULL CHECK (next >= 0),
  paused_reason text,
  updated_at    timestamptz NOT NULL DEFAULT now(),
  UNIQUE (cluster_id, topic_id, partition)
) WITH (fillfactor = 50);

-- Rows are never changed. body: schemas/journal. kind: batch, correction or loss.
CREATE TABLE journal (
  offsets_id  bigint NOT NULL REFERENCES offsets,
  from_pos    bigint NOT NULL,
  to_pos      bigint NOT NULL CHECK (to_pos > from_pos),
  kind        text NOT NULL CHECK (kind IN ('batch', 'correction', 'loss')),
  generation  bigint NOT NULL,
  epoch       bigint NOT NULL,
  batch_id    uuid NOT NULL,
  min_time    timestamptz,
  max_time    timestamptz,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  charged     integer NOT NULL,
  duplicate   integer NOT NULL,
  observed    integer NOT NULL,
  quarantined integer NOT NULL,
  moved       integer NOT NULL,
  author      text,
  reason      text,
  body        bytea NOT NULL,
  PRIMARY KEY (offsets_id, from_pos),
  CHECK ((kind = 'batch') = (author IS NULL) AND (author IS NULL) = (reason IS NULL))
);
ALTER TABLE journal ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX journal_batch ON journal (batch_id);
CREATE INDEX journal_time ON journal USING brin (min_time, max_time) WITH (pages_per_range = 4);

-- Checkpoint: balances are the sum of all journal rows below each position. Amounts are micro-credits.
CREATE TABLE fold_positions (
  offsets_id bigint PRIMARY KEY REFERENCES offsets,
  next       bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE balances (
  account_id  bigint NOT NULL REFERENCES accounts,
  scope_id    bigint NOT NULL,
  cycle_start timestamptz NOT NULL,
  used        bigint NOT NULL,
  reserved    bigint NOT NULL DEFAULT 0,
  events      bigint NOT NULL,
  PRIMARY KEY (scope_id, cycle_start),
  FOREIGN KEY (account_id, scope_id) REFERENCES scopes (account_id, id)
) WITH (fillfactor = 50);
CREATE INDEX balances_account ON balances (account_id, cycle_start);

-- Rollover, a ledger: what the cycle gets from the one before it. The newest row counts (a late event changes a closed cycle).
CREATE TABLE rollovers (
  account_id  bigint NOT NULL,
  id          bigint GENERATED ALWAYS AS IDENTITY,
  scope_id    bigint NOT NULL,
  from_cycle  timestamptz NOT NULL,
  to_cycle    timestamptz NOT NULL,
  amount      bigint NOT NULL CHECK (amount >= 0),
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, id),
  FOREIGN KEY (account_id, scope_id) REFERENCES scopes (account_id, id)
);

-- Alerts. dedupe_key: for a crossing scope/cycle/allocation/threshold; for aggregated ones type/account/reason/hour.
CREATE TABLE alerts (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id  bigint REFERENCES accounts,
  section_id  bigint REFERENCES sections,
  type        text NOT NULL,
  dedupe_key  text NOT NULL UNIQUE,
  scope_id    bigint,
  data        jsonb NOT NULL,
  state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'acknowledged', 'resolved')),
  created_at  timestamptz NOT NULL DEFAULT now()
);
-- Claimed by state with FOR UPDATE SKIP LOCKED, never by id > last.
CREATE TABLE alert_outbox (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id bigint REFERENCES accounts,
  alert_id   bigint NOT NULL REFERENCES alerts,
  state      text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent')),
  due_at     timestamptz NOT NULL DEFAULT now(),
  sent_at    timestamptz
);
CREATE INDEX alert_outbox_pending ON alert_outbox (due_at) WHERE state = 'pending';

-- A replay authorizes an identity that is too late by the clock; by source coordinates of the quarantined record.
CREATE TABLE replays (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id    bigint REFERENCES accounts,
  src_topic_id  text NOT NULL,
  src_partition integer NOT NULL,
  src_offset    bigint NOT NULL,
  identity      bytea NOT NULL,
  author        text NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  UNIQUE (src_topic_id, src_partition, src_offset)
);
CREATE INDEX replays_identity ON replays (identity);

-- Bounds of ClickHouse batches, persisted before the first insert of each.
CREATE TABLE rollup_batches (
  offsets_id bigint NOT NULL REFERENCES offsets,
  from_pos   bigint NOT NULL,
  to_pos     bigint NOT NULL CHECK (to_pos > from_pos),
  state      text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'done')),
  planned_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (offsets_id, from_pos)
);
