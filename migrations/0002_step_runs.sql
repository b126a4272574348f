-- Who worked on which step of a deployment, from when to when, and how it ended: append-only, one row per transition.

ALTER TABLE deployments ADD COLUMN run_started_at timestamptz;
COMMENT ON COLUMN deployments.run_started_at IS 'When the present owner began its present run of the step (database clock); null while nobody owns the row.';
-- Rows that are owned while the schema moves on have been begun at some time: the step's beginning is the nearest that is known.
UPDATE deployments SET run_started_at = step_started_at WHERE replica_id IS NOT NULL;

CREATE TABLE step_runs (
    deployment_id text NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    version       bigint NOT NULL,
    attempt       integer NOT NULL,
    step          text NOT NULL,
    replica_id    uuid NOT NULL,
    replica_name  text,
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz NOT NULL,
    outcome       text NOT NULL CHECK (outcome IN ('next', 'ready', 'completed', 'failed', 'retry', 'handed_over', 'lost')),
    error_code    text,
    reason        text,
    tries         integer NOT NULL DEFAULT 1 CHECK (tries >= 1),
    PRIMARY KEY (deployment_id, version)
);
COMMENT ON TABLE step_runs IS 'A stretch of work of one replica on one step of a deployment, written by the statement that ended it. Gaps between rows are times in which nobody worked on it.';
COMMENT ON COLUMN step_runs.deployment_id IS 'The deployment.';
COMMENT ON COLUMN step_runs.version IS 'Version of the deployment that the ending statement made: there is one such statement, so there is one such row.';
COMMENT ON COLUMN step_runs.attempt IS 'Attempt of the deployment.';
COMMENT ON COLUMN step_runs.step IS 'Stored name of the step.';
COMMENT ON COLUMN step_runs.replica_id IS 'The replica that worked on it.';
COMMENT ON COLUMN step_runs.replica_name IS 'Its host name and process id, for people; null when its row was gone already.';
COMMENT ON COLUMN step_runs.started_at IS 'When it claimed the row, or ended the run before (database clock).';
COMMENT ON COLUMN step_runs.ended_at IS 'When the run ended; of a lost one, when another replica took over (database clock).';
COMMENT ON COLUMN step_runs.outcome IS 'next (another step), ready, completed, failed, retry (could not do its work, and waits before the next try), handed_over (given back at a shutdown or for want of a build permit), lost (its replica went silent: killed, paused or cut off).';
COMMENT ON COLUMN step_runs.error_code IS 'Error code of the last try that could not do its work; null when none failed.';
COMMENT ON COLUMN step_runs.reason IS 'What was seen then; null when none failed.';
COMMENT ON COLUMN step_runs.tries IS 'How often the step was tried in this run: 1, and one more for each failure that was tried again.';
CREATE INDEX step_runs_troubled ON step_runs (error_code, ended_at) WHERE error_code IS NOT NULL;
