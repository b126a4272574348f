-- One order for the events of all deployments: docs/decisions/0014-an-order-for-all-events.md.

CREATE TABLE event_clock (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    shift bigint NOT NULL CHECK (shift >= 0)
);
COMMENT ON TABLE event_clock IS 'One row: what this cluster adds to its transaction ids, so that events of a restored database stay before its own.';
COMMENT ON COLUMN event_clock.one IS 'Always true: there is one row.';
COMMENT ON COLUMN event_clock.shift IS '0, until a restore into a cluster whose transaction ids are lower than those that are stored.';
INSERT INTO event_clock (shift) VALUES (0);

CREATE FUNCTION event_place() RETURNS bigint LANGUAGE sql STABLE
    AS 'SELECT pg_current_xact_id()::text::bigint + shift FROM event_clock';
COMMENT ON FUNCTION event_place() IS 'The place of the events that this transaction writes.';

-- Constants first, so that the table is not written anew: what is there is one group, ordered within by deployment and sequence.
ALTER TABLE deployment_events
    ADD COLUMN place  bigint NOT NULL DEFAULT 0,
    ADD COLUMN status text CHECK (status IN ('RUNNING', 'DEPLOYMENT_READY', 'COMPLETED', 'FAILED'));
ALTER TABLE deployment_events ALTER COLUMN place SET DEFAULT event_place();
COMMENT ON COLUMN deployment_events.place IS 'Transaction that wrote it, with event_clock.shift: all events in the order (place, deployment_id, seq). 0 in rows from before this column.';
COMMENT ON COLUMN deployment_events.status IS 'Status of the deployment after the commit that wrote it; null in rows from before this column.';
-- The program compares ids byte by byte, whatever the database's language.
CREATE INDEX deployment_events_place ON deployment_events (place, deployment_id COLLATE "C", seq);
