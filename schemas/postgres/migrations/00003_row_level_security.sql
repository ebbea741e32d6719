-- +goose Up

-- Tenancy (security, Tenancy): every table with an account_id is forced under row-level security. cockpit_app sees the
-- account that the transaction set; rows without an account are the platform's and readable. cockpit_metering works across accounts.
-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
  FOR t IN SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables i USING (table_schema, table_name)
           WHERE c.table_schema = current_schema() AND c.column_name = 'account_id' AND i.table_type = 'BASE TABLE' LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format($p$CREATE POLICY own_account ON %I FOR ALL TO cockpit_app
      USING (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)
      WITH CHECK (account_id = nullif(current_setting('cockpit.account_id', true), '')::bigint)$p$, t);
    EXECUTE format('CREATE POLICY across_accounts ON %I FOR ALL TO cockpit_metering USING (true) WITH CHECK (true)', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY['models', 'model_terms', 'model_prices', 'credits_factors', 'budget_plans', 'budget_plan_versions'] LOOP
    EXECUTE format('CREATE POLICY platform_rows ON %I FOR SELECT TO cockpit_app USING (account_id IS NULL)', t);
  END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO cockpit_app, cockpit_metering;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cockpit_app, cockpit_metering;
REVOKE UPDATE, DELETE ON journal FROM cockpit_app, cockpit_metering;
REVOKE INSERT, UPDATE, DELETE ON journal, offsets, fold_positions, balances, rollup_batches, deployment FROM cockpit_app;
GRANT UPDATE (directory_version) ON deployment TO cockpit_app;
REVOKE SELECT (identity_secret) ON deployment FROM cockpit_app;
