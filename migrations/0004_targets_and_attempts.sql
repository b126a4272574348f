-- One deployment at a time of each target, those that wait for their turn, and attempts after the first.

ALTER TABLE deployments
    ADD COLUMN concurrency   text NOT NULL DEFAULT 'reject' CHECK (concurrency IN ('reject', 'queue', 'supersede')),
    ADD COLUMN queued        boolean NOT NULL DEFAULT false,
    ADD COLUMN queued_at     timestamptz,
    ADD COLUMN turn_at       timestamptz,
    ADD COLUMN superseded_by text,
    ADD COLUMN retried_at    timestamptz;
COMMENT ON COLUMN deployments.concurrency IS 'What was asked for in case that the target is taken: reject, queue or supersede.';
COMMENT ON COLUMN deployments.queued IS 'Whether it waits for its turn at the target; it does not hold the target then.';
COMMENT ON COLUMN deployments.queued_at IS 'When it began to wait for its turn (UTC); null when the target was free.';
COMMENT ON COLUMN deployments.turn_at IS 'When its turn came (UTC); null while it waits, and when it never had to or was cancelled before.';
COMMENT ON COLUMN deployments.superseded_by IS 'The newer deployment of the same target that asked for this one''s end; null when none did.';
COMMENT ON COLUMN deployments.retried_at IS 'When a person last asked for another attempt (UTC); null when nobody did.';

-- Unfinished deployments that share a target from before this rule: the oldest holds it, the others wait.
UPDATE deployments d SET queued = true, queued_at = d.started_at, replica_id = NULL, run_started_at = NULL, version = version + 1
WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND EXISTS (
    SELECT FROM deployments o
    WHERE (o.account_id, o.region, o.ecr_repository) = (d.account_id, d.region, d.ecr_repository)
      AND o.status IN ('RUNNING', 'DEPLOYMENT_READY') AND (o.started_at, o.id) < (d.started_at, d.id));

-- The rule itself: whatever the program does, the second one is refused.
CREATE UNIQUE INDEX deployments_one_per_target ON deployments (account_id, region, ecr_repository)
    WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT queued;
-- Who is next.
CREATE INDEX deployments_queue ON deployments (account_id, region, ecr_repository, queued_at, id)
    WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND queued;

-- What a replica may claim, said once. Its parts change a few times in a deployment's life, so that the updates of a poll stay HOT.
ALTER TABLE deployments ADD COLUMN active boolean NOT NULL GENERATED ALWAYS AS (
    CASE status WHEN 'RUNNING' THEN NOT queued OR cancel_requested_at IS NOT NULL
                WHEN 'DEPLOYMENT_READY' THEN (NOT queued AND switch_requested_at IS NOT NULL) OR cancel_requested_at IS NOT NULL
                ELSE false END) STORED;
COMMENT ON COLUMN deployments.active IS 'Whether there is something to do without a person: running and not waiting for its turn, or wished to be switched or cancelled.';
DROP INDEX deployments_active;
CREATE INDEX deployments_active ON deployments (id) WHERE active;

-- What a retry would overwrite of the attempt before.
CREATE TABLE deployment_attempts (
    deployment_id             text NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    attempt                   integer NOT NULL CHECK (attempt >= 1),
    started_at                timestamptz NOT NULL,
    ended_at                  timestamptz NOT NULL,
    step                      text NOT NULL,
    error_code                text NOT NULL,
    error_message             text NOT NULL,
    commit_sha                text,
    image_digest              text,
    execution_arn             text,
    code_deploy_deployment_id text,
    switch_requested_at       timestamptz,
    cancel_requested_at       timestamptz,
    superseded_by             text,
    PRIMARY KEY (deployment_id, attempt)
);
COMMENT ON TABLE deployment_attempts IS 'Attempts that failed and were followed by another one; the present attempt is the row of deployments. Append-only.';
COMMENT ON COLUMN deployment_attempts.deployment_id IS 'The deployment.';
COMMENT ON COLUMN deployment_attempts.attempt IS 'Which attempt, from 1.';
COMMENT ON COLUMN deployment_attempts.started_at IS 'When the attempt began (UTC).';
COMMENT ON COLUMN deployment_attempts.ended_at IS 'When it failed (UTC).';
COMMENT ON COLUMN deployment_attempts.step IS 'Stored name of the step that failed.';
COMMENT ON COLUMN deployment_attempts.error_code IS 'Stable code of the failure.';
COMMENT ON COLUMN deployment_attempts.error_message IS 'What went wrong, in the catalogue''s default language.';
COMMENT ON COLUMN deployment_attempts.commit_sha IS 'Commit that was built; null when it did not get there.';
COMMENT ON COLUMN deployment_attempts.image_digest IS 'Digest of the pushed image; null when none was pushed.';
COMMENT ON COLUMN deployment_attempts.execution_arn IS 'The execution that was followed; null when there was none.';
COMMENT ON COLUMN deployment_attempts.code_deploy_deployment_id IS 'The deployment in CodeDeploy; null when there was none.';
COMMENT ON COLUMN deployment_attempts.switch_requested_at IS 'When a person asked for the switch in this attempt (UTC); null when nobody did.';
COMMENT ON COLUMN deployment_attempts.cancel_requested_at IS 'When a person, or a newer deployment, asked for its end (UTC); null when nobody did.';
COMMENT ON COLUMN deployment_attempts.superseded_by IS 'The newer deployment that asked for its end; null when none did.';
