-- One trace a deployment, whatever replicas work on it: docs/decisions/0030-one-trace-a-deployment.md

ALTER TABLE deployments
    ADD COLUMN trace_id     text CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    ADD COLUMN trace_parent text CHECK (trace_parent ~ '^[0-9a-f]{16}$');
-- For new rows, those of a version before this column too.
ALTER TABLE deployments ALTER COLUMN trace_id SET DEFAULT replace(gen_random_uuid()::text, '-', '');
COMMENT ON COLUMN deployments.trace_id IS 'Its trace in OpenTelemetry (W3C Trace Context): the caller''s, or one of its own; null in rows from before this column.';
COMMENT ON COLUMN deployments.trace_parent IS 'The caller''s span that asked for it, from the header traceparent; null when there was none.';

-- All of them: migrations 0011 and 0012 each name their own.
COMMENT ON COLUMN audit.action IS 'What: deploy, switch, cancel, retry, connect.github, connect.aws, connection.remove, schedule.create, schedule.change, schedule.delete, schedule.run, session.open, session.close, token.create, token.revoke, keys.rotate, maintenance.run.';
