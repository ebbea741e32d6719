-- +goose Up

-- Only the fold writes balances, from paths that metering took out of these very tables, and scopes are never deleted. The
-- two checks cost a third of the durable path (docs/performance.md), so cockpit verify makes them instead.
ALTER TABLE balances DROP CONSTRAINT balances_account_id_scope_id_fkey;
ALTER TABLE balances DROP CONSTRAINT balances_account_id_fkey;
