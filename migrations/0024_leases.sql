-- Locks for outside work, as rows: docs/decisions/0043-connections.md. A session's advisory lock is lost, or never released, behind a connection pooler.

CREATE TABLE leases (
    name       text        NOT NULL PRIMARY KEY CHECK (name <> ''),
    holder     uuid,
    token      bigint      NOT NULL DEFAULT 1 CHECK (token >= 1),
    taken_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE leases IS 'Work outside the database that must not run twice at once: a row for each kind of it, taken by one process at a time.';
COMMENT ON COLUMN leases.name IS 'What the lease is for.';
COMMENT ON COLUMN leases.holder IS 'Made for each taking; null when it was released.';
COMMENT ON COLUMN leases.token IS 'One more with each taking: a holder with an older one has lost it.';
COMMENT ON COLUMN leases.taken_at IS 'When it was last taken (database clock).';
COMMENT ON COLUMN leases.expires_at IS 'When another process may take it, unless it is renewed before (database clock).';

SELECT schema_version(24, works_with => 14);
