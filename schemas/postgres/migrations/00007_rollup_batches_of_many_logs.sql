-- +goose Up

-- What a batch costs ClickHouse is mostly by insert and not by row, so a batch is of many logs: its rows here have one number,
-- which was never used before. What was planned before stays a batch of one log, with a number below zero; so does what an
-- older process plans meanwhile.
CREATE SEQUENCE rollup_batch_numbers;
GRANT USAGE ON SEQUENCE rollup_batch_numbers TO cockpit_metering;
ALTER TABLE rollup_batches ADD COLUMN batch bigint NOT NULL DEFAULT -nextval('rollup_batch_numbers');
