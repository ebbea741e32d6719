-- +goose Up

-- What the fold compared a balance with last: a threshold is crossed when it was not reached then and is now. Null: nothing
-- limited the scope. crossings_version: the account's version that its balances were last compared at.
ALTER TABLE balances ADD COLUMN allocation bigint;
ALTER TABLE accounts ADD COLUMN crossings_version bigint NOT NULL DEFAULT 0;
CREATE INDEX accounts_uncompared ON accounts (account_id) WHERE crossings_version < version;
