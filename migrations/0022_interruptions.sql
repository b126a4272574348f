-- The death of a process and the loss of its lease are counted apart: docs/decisions/0046-shares-of-connections.md

ALTER TABLE replicas ADD COLUMN process_id uuid;
COMMENT ON COLUMN replicas.process_id IS 'The process, which joins under another id each time it has lost its lease. Null: a program from before this column.';

ALTER TABLE step_runs DROP CONSTRAINT step_runs_outcome_check;
ALTER TABLE step_runs ADD CONSTRAINT step_runs_outcome_check
    CHECK (outcome IN ('next', 'ready', 'completed', 'failed', 'retry', 'handed_over', 'lost', 'lease_lost')) NOT VALID;
COMMENT ON COLUMN step_runs.outcome IS 'next (another step), ready, completed, failed, retry (could not do its work, and waits before the next try), handed_over (released at a shutdown or for want of a build permit), lost (its process died, or has not joined again since), lease_lost (its process lives, and could not renew its lease in time).';
CREATE INDEX step_runs_lost ON step_runs (replica_id) WHERE outcome = 'lost';

COMMENT ON COLUMN deployments.claims_without_progress IS 'Claims since the last committed progress. From six on, step_runs says how the runs before were interrupted.';

SELECT schema_version(22, works_with => 14);
