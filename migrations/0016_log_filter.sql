-- What is logged for a while, by all replicas: docs/decisions/0033-one-log-filter-for-all.md.

CREATE TABLE log_filter (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    filter text NOT NULL CHECK (filter <> ''),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until  timestamptz NOT NULL,
    CONSTRAINT log_filter_lasts CHECK (until > set_at)
);
COMMENT ON TABLE log_filter IS 'The log filter that an admin set for all replicas, in place of each one''s own: one row, or none. A row whose time is up counts as none, and whoever sees it removes it.';
COMMENT ON COLUMN log_filter.one IS 'Always true: there is one row at most.';
COMMENT ON COLUMN log_filter.filter IS 'Which log lines there are, as in RUST_LOG, such as info,panda::reconcile=debug.';
COMMENT ON COLUMN log_filter.set_by IS 'Who set it.';
COMMENT ON COLUMN log_filter.set_at IS 'When it was set (UTC, database clock).';
COMMENT ON COLUMN log_filter.until IS 'When every replica goes back to its own filter (UTC, database clock).';

-- All of them.
COMMENT ON COLUMN audit.action IS 'What: deploy, switch, cancel, retry, connect.github, connect.aws, connection.remove, schedule.create, schedule.change, schedule.delete, schedule.run, session.open, session.close, token.create, token.revoke, keys.rotate, maintenance.run, log.set, log.reset.';

SELECT schema_version(16, works_with => 14);
