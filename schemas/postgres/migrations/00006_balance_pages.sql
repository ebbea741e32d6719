-- +goose Up

-- A checkpoint touches nearly every scope of a busy account, and a row a scope makes that the most expensive part of the
-- durable path. So a row is a page: the balances of 64 neighbouring scopes, at scope_id % 64 + 1 of each array. allocation is
-- what the fold compared a balance with last, null where nothing limited the scope; a page without any limit has no array.
CREATE TABLE balance_pages (
  account_id  bigint NOT NULL,
  section_id  bigint NOT NULL,
  cycle_start timestamptz NOT NULL,
  page        bigint NOT NULL, -- scope_id / 64
  used        bigint[] NOT NULL CHECK (cardinality(used) = 64),
  events      bigint[] NOT NULL CHECK (cardinality(events) = 64),
  allocation  bigint[] CHECK (cardinality(allocation) = 64),
  PRIMARY KEY (account_id, section_id, cycle_start, page)
) WITH (fillfactor = 50);
ALTER TABLE balance_pages ALTER COLUMN used SET STORAGE PLAIN, ALTER COLUMN events SET STORAGE PLAIN, ALTER COLUMN allocation SET STORAGE PLAIN;

INSERT INTO balance_pages (account_id, section_id, cycle_start, page, used, events, allocation)
SELECT p.account_id, p.section_id, p.cycle_start, p.page, array_agg(coalesce(b.used, 0) ORDER BY n), array_agg(coalesce(b.events, 0) ORDER BY n),
  CASE WHEN count(b.allocation) > 0 THEN array_agg(b.allocation ORDER BY n) END
FROM (SELECT DISTINCT b.account_id, s.section_id, b.cycle_start, b.scope_id / 64 AS page FROM balances b JOIN scopes s ON s.account_id = b.account_id AND s.id = b.scope_id) p
CROSS JOIN generate_series(0, 63) n
LEFT JOIN (SELECT b.*, s.section_id FROM balances b JOIN scopes s ON s.account_id = b.account_id AND s.id = b.scope_id) b
  ON (b.account_id, b.section_id, b.cycle_start, b.scope_id) = (p.account_id, p.section_id, p.cycle_start, p.page * 64 + n)
GROUP BY p.account_id, p.section_id, p.cycle_start, p.page;

-- The same by scope, for whoever reads.
DROP TABLE balances;
CREATE VIEW balances WITH (security_invoker = true) AS
SELECT * FROM (
  SELECT p.account_id, p.section_id, p.page * 64 + n - 1 AS scope_id, p.cycle_start, p.used[n] AS used, p.events[n] AS events, p.allocation[n] AS allocation
  FROM balance_pages p CROSS JOIN generate_series(1, 64) n) b
WHERE used <> 0 OR events <> 0 OR allocation IS NOT NULL;

ALTER TABLE balance_pages ENABLE ROW LEVEL SECURITY;
ALTER TABLE balance_pages FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON balance_pages FOR ALL TO cockpit_app
  USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
  WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint);
CREATE POLICY across_accounts ON balance_pages FOR ALL TO cockpit_metering USING (true) WITH CHECK (true);
GRANT SELECT ON balance_pages, balances TO cockpit_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON balance_pages TO cockpit_metering;
GRANT SELECT ON balances TO cockpit_metering;
