-- What is removed with time, and a record of each run of that: docs/decisions/0025-what-is-kept-and-for-how-long.md.

-- Retention goes through finished deployments from the one that ended first.
CREATE INDEX deployments_completed ON deployments (completed_at, id) WHERE completed_at IS NOT NULL;

-- A night's removals are a small share of the table: the usual fifth would leave them lying for months.
ALTER TABLE deployment_events SET (autovacuum_vacuum_scale_factor = 0.02);

CREATE TABLE maintenance_runs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL CHECK (kind <> ''),
    place        text NOT NULL DEFAULT '',
    dry_run      boolean NOT NULL DEFAULT false,
    state        text NOT NULL CHECK (state IN ('requested', 'running', 'done', 'stopped', 'failed', 'interrupted')),
    due_at       timestamptz,
    requested_at timestamptz,
    requested_by text,
    replica      text,
    started_at   timestamptz,
    older_than   timestamptz,
    renewed_at   timestamptz,
    ended_at     timestamptz,
    removed      bigint NOT NULL DEFAULT 0 CHECK (removed >= 0),
    error        text,
    CONSTRAINT maintenance_runs_due_or_requested CHECK (num_nonnulls(due_at, requested_at) = 1),
    CONSTRAINT maintenance_runs_started CHECK (state = 'requested' OR ended_at IS NOT NULL OR (started_at IS NOT NULL AND renewed_at IS NOT NULL)),
    CONSTRAINT maintenance_runs_ended CHECK ((ended_at IS NOT NULL) = (state IN ('done', 'stopped', 'failed', 'interrupted')))
);
COMMENT ON TABLE maintenance_runs IS 'Each run of maintenance: what it was to remove, and how far it came. A row that is running is the right to remove: one for each kind and place.';
COMMENT ON COLUMN maintenance_runs.id IS 'Order in which the rows were made.';
COMMENT ON COLUMN maintenance_runs.kind IS 'What it removes: build_lines, events, deployments (moved to the archive), workspaces, images, runs.';
COMMENT ON COLUMN maintenance_runs.place IS 'Where: empty for what is in the database; the replica''s name for what is on its machine.';
COMMENT ON COLUMN maintenance_runs.dry_run IS 'Whether it only counts what would be removed.';
COMMENT ON COLUMN maintenance_runs.state IS 'requested (by a person, not begun yet), running, done, stopped (its replica was shut down: the next run goes on), failed, interrupted (its replica went silent: the next run goes on).';
COMMENT ON COLUMN maintenance_runs.due_at IS 'The tick of the cron expression that it is for (UTC): one run a tick, however many replicas; null when a person asked for it.';
COMMENT ON COLUMN maintenance_runs.requested_at IS 'When a person asked for it (UTC); null when it was due.';
COMMENT ON COLUMN maintenance_runs.requested_by IS 'Who asked for it; null when it was due.';
COMMENT ON COLUMN maintenance_runs.replica IS 'Host name and process id of the process that ran it; null before it began.';
COMMENT ON COLUMN maintenance_runs.started_at IS 'When it began (UTC, database clock).';
COMMENT ON COLUMN maintenance_runs.older_than IS 'What ended before this is removed (UTC): the retention counted back from started_at; null where age does not matter.';
COMMENT ON COLUMN maintenance_runs.renewed_at IS 'Its last sign of life (database clock): written with each batch.';
COMMENT ON COLUMN maintenance_runs.ended_at IS 'When it ended; of an interrupted one its last sign of life (UTC).';
COMMENT ON COLUMN maintenance_runs.removed IS 'What it removed so far, written with each batch: rows of deployment_events, deployments, folders, images or rows of this table. Of a dry run, what it would have.';
COMMENT ON COLUMN maintenance_runs.error IS 'Why it failed, or was never begun.';
CREATE UNIQUE INDEX maintenance_runs_one_at_a_time ON maintenance_runs (kind, place) WHERE state = 'running' AND NOT dry_run;
CREATE UNIQUE INDEX maintenance_runs_one_a_tick ON maintenance_runs (kind, place, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX maintenance_runs_under_way ON maintenance_runs (id) WHERE state IN ('requested', 'running');
CREATE INDEX maintenance_runs_by_kind ON maintenance_runs (kind, id);

CREATE TABLE maintenance_progress (
    kind          text PRIMARY KEY,
    completed_at  timestamptz,
    deployment_id text,
    removed_place bigint NOT NULL DEFAULT 0,
    CONSTRAINT maintenance_progress_whole CHECK ((completed_at IS NULL) = (deployment_id IS NULL))
);
COMMENT ON TABLE maintenance_progress IS 'How far each kind of retention has come, written with each batch: the next batch, or the next run, goes on there.';
COMMENT ON COLUMN maintenance_progress.kind IS 'As in maintenance_runs.';
COMMENT ON COLUMN maintenance_progress.completed_at IS 'Deployments that ended before this, or then with an id up to deployment_id, are done; null before the first.';
COMMENT ON COLUMN maintenance_progress.deployment_id IS 'See completed_at.';
COMMENT ON COLUMN maintenance_progress.removed_place IS 'Highest place of an event that was removed: an id of the stream of all events that is not known any more may be of one of them; 0 before the first.';

COMMENT ON COLUMN audit.action IS 'What: deploy, switch, cancel, retry, connect.github, connect.aws, session.open, session.close, token.create, token.revoke, keys.rotate, maintenance.run.';
