-- Usage by day and model alone, which is what most charts ask for: rows do not grow with teams, agents, tools or sources.
CREATE TABLE IF NOT EXISTS usage_model_days (
  account UInt64, section UInt64, day Date, model UInt64,
  events Int64, credits Decimal(38, 6), cost Decimal(38, 12), latency_ms Int64,
  input_tokens Int64, output_tokens Int64, cached_input_tokens Int64, cache_write_tokens Int64, reasoning_tokens Int64,
  audio_seconds Int64, characters Int64, images Int64, requests Int64, tool_calls Int64
) ENGINE = SummingMergeTree PARTITION BY toYYYYMM(day) ORDER BY (account, section, day, model)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, index_granularity = 1024;

-- What was there before, once: the token makes a second process's copy a repeated insert.
INSERT INTO usage_model_days SETTINGS insert_deduplication_token = 'model days of usage_days', insert_deduplicate = 1
SELECT account, section, day, model, sum(events), sum(credits), sum(cost), sum(latency_ms), sum(input_tokens), sum(output_tokens), sum(cached_input_tokens), sum(cache_write_tokens),
  sum(reasoning_tokens), sum(audio_seconds), sum(characters), sum(images), sum(requests), sum(tool_calls)
FROM usage_days WHERE (SELECT count() FROM schema_migrations WHERE name = 'migrations/00002_model_days.sql') = 0 GROUP BY account, section, day, model ORDER BY account, section, day, model;
