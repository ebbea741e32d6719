-- +goose Up

-- Operators' commands work as cockpit_metering, and what they change is on record as what the API changes.
GRANT SELECT, INSERT ON audit_entries TO cockpit_metering;
CREATE POLICY across_accounts ON audit_entries FOR ALL TO cockpit_metering USING (true) WITH CHECK (true);
