-- What reports need of a deployment outlives it: retention moves finished deployments from the wide tables that the program works with into
-- narrow ones that it only adds to. docs/decisions/0022-history-outlives-its-rows.md

-- ---- Facts that were lost so far: the boundary between Stage 3 and Stage 4, and what a retry overwrote of the attempt before.

ALTER TABLE deployments ADD COLUMN blue_green_started_at timestamptz;
COMMENT ON COLUMN deployments.blue_green_started_at IS 'When the execution was first seen beyond EnsureInfra in this attempt: where Stage 3 ends and Stage 4 begins (database clock); null before.';

ALTER TABLE deployment_attempts
    ADD COLUMN interrupted_step text,
    ADD COLUMN started_by text,
    ADD COLUMN queued_at timestamptz,
    ADD COLUMN turn_at timestamptz,
    ADD COLUMN blue_green_started_at timestamptz,
    ADD COLUMN ready_at timestamptz;
COMMENT ON COLUMN deployment_attempts.interrupted_step IS 'Stored name of the step that cancelling interrupted; null when it was not cancelled, and in rows from before this column.';
COMMENT ON COLUMN deployment_attempts.started_by IS 'Subject of whoever asked for the attempt; null while authentication is off, and in rows from before this column.';
COMMENT ON COLUMN deployment_attempts.queued_at IS 'When it began to wait for its turn (UTC); null when the target was free, and in rows from before this column.';
COMMENT ON COLUMN deployment_attempts.turn_at IS 'When its turn came (UTC); null when it never had to wait or was cancelled before, and in rows from before this column.';
COMMENT ON COLUMN deployment_attempts.blue_green_started_at IS 'When the execution was first seen beyond EnsureInfra (UTC); null when it did not get there.';
COMMENT ON COLUMN deployment_attempts.ready_at IS 'When it became DEPLOYMENT_READY (UTC); null when it did not, and in rows from before this column.';

-- Of what is there, the events know it.
WITH seen AS (
    SELECT deployment_id, attempt, min(created_at) AS at FROM deployment_events WHERE code = 'blue_green_started' GROUP BY 1, 2
), past AS (
    UPDATE deployment_attempts a SET blue_green_started_at = seen.at
    FROM seen WHERE (seen.deployment_id, seen.attempt) = (a.deployment_id, a.attempt)
)
UPDATE deployments d SET blue_green_started_at = seen.at FROM seen WHERE (seen.deployment_id, seen.attempt) = (d.id, d.attempt);
WITH seen AS (
    SELECT deployment_id, attempt, min(created_at) AS at FROM deployment_events WHERE code = 'ready' GROUP BY 1, 2
)
UPDATE deployment_attempts a SET ready_at = seen.at
FROM seen WHERE (seen.deployment_id, seen.attempt) = (a.deployment_id, a.attempt);

-- ---- The archive

CREATE TABLE archived_deployments (
    id                           text PRIMARY KEY,
    status                       text NOT NULL CHECK (status IN ('COMPLETED', 'FAILED')),
    owner                        text NOT NULL,
    repo                         text NOT NULL,
    branch                       text NOT NULL,
    account_id                   text NOT NULL,
    region                       text NOT NULL,
    ecr_repository               text NOT NULL,
    attempt                      integer NOT NULL CHECK (attempt >= 1),
    step                         text NOT NULL,
    interrupted_step             text,
    commit_sha                   text,
    committed_at                 timestamptz,
    image_digest                 text,
    execution_arn                text,
    code_deploy_deployment_id    text,
    blue_latency_ms              double precision,
    green_latency_ms             double precision,
    blue_error_rate              double precision,
    green_error_rate             double precision,
    final_service                text CHECK (final_service IN ('blue', 'green')),
    error_code                   text CHECK ((error_code IS NOT NULL) = (status = 'FAILED')),
    error_message                text,
    started_by                   text,
    concurrency                  text NOT NULL,
    superseded_by                text,
    events                       bigint NOT NULL,
    queued_at                    timestamptz,
    turn_at                      timestamptz,
    started_at                   timestamptz NOT NULL,
    attempt_started_at           timestamptz NOT NULL,
    blue_green_started_at        timestamptz,
    ready_at                     timestamptz,
    switch_requested_at          timestamptz,
    cancel_requested_at          timestamptz,
    completed_at                 timestamptz NOT NULL,
    archived_at                  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE archived_deployments IS 'Finished deployments whose retention is over: what reports need of them. A row is added when the one of deployments is deleted, in one transaction.';
COMMENT ON COLUMN archived_deployments.events IS 'How many events it had.';
COMMENT ON COLUMN archived_deployments.interrupted_step IS 'Stored name of the step that cancelling interrupted; null when it was not cancelled.';
COMMENT ON COLUMN archived_deployments.archived_at IS 'When it was moved here (UTC).';
-- The other columns are those of the same name of deployments, and are defined there.
DO $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT a.attname, col_description(d.attrelid, d.attnum) AS text
        FROM pg_attribute a JOIN pg_attribute d ON d.attrelid = 'deployments'::regclass AND d.attname = a.attname
        WHERE a.attrelid = 'archived_deployments'::regclass AND a.attnum > 0 AND col_description(a.attrelid, a.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN archived_deployments.%I IS %L', col.attname, col.text);
    END LOOP;
END $$;
CREATE INDEX archived_deployments_started ON archived_deployments (started_at);

CREATE TABLE archived_attempts (
    deployment_id             text NOT NULL REFERENCES archived_deployments (id),
    attempt                   integer NOT NULL CHECK (attempt >= 1),
    started_at                timestamptz NOT NULL,
    ended_at                  timestamptz NOT NULL,
    step                      text NOT NULL,
    interrupted_step          text,
    error_code                text NOT NULL,
    error_message             text NOT NULL,
    commit_sha                text,
    started_by                text,
    queued_at                 timestamptz,
    turn_at                   timestamptz,
    blue_green_started_at     timestamptz,
    ready_at                  timestamptz,
    switch_requested_at       timestamptz,
    cancel_requested_at       timestamptz,
    superseded_by             text,
    PRIMARY KEY (deployment_id, attempt)
);
COMMENT ON TABLE archived_attempts IS 'The rows of deployment_attempts of archived deployments, as far as reports need them.';
DO $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT a.attname, col_description(d.attrelid, d.attnum) AS text
        FROM pg_attribute a JOIN pg_attribute d ON d.attrelid = 'deployment_attempts'::regclass AND d.attname = a.attname
        WHERE a.attrelid = 'archived_attempts'::regclass AND a.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN archived_attempts.%I IS %L', col.attname, col.text);
    END LOOP;
END $$;

CREATE TABLE archived_stages (
    deployment_id   text NOT NULL REFERENCES archived_deployments (id),
    attempt         integer NOT NULL CHECK (attempt >= 1),
    stage           text NOT NULL,
    started_at      timestamptz NOT NULL,
    ended_at        timestamptz NOT NULL,
    working_seconds double precision NOT NULL,
    waiting_seconds double precision NOT NULL,
    tries           bigint NOT NULL,
    PRIMARY KEY (deployment_id, attempt, stage)
);
COMMENT ON TABLE archived_stages IS 'The stages of archived deployments: what is left of step_runs, as history_stages summed it up.';
COMMENT ON COLUMN archived_stages.deployment_id IS 'The deployment.';
COMMENT ON COLUMN archived_stages.attempt IS 'Which attempt, from 1.';
COMMENT ON COLUMN archived_stages.stage IS 'Step 1, Step 2, Stage 1 to Stage 4, Retry or Cancel.';
COMMENT ON COLUMN archived_stages.started_at IS 'When a replica first worked on it (UTC).';
COMMENT ON COLUMN archived_stages.ended_at IS 'When a replica last worked on it, or a person''s turn ended (UTC).';
COMMENT ON COLUMN archived_stages.working_seconds IS 'Seconds in which a replica worked on it, waits between tries included.';
COMMENT ON COLUMN archived_stages.waiting_seconds IS 'Seconds of a person''s turn: from when it was ready until the switch, or its end, was asked for.';
COMMENT ON COLUMN archived_stages.tries IS 'How often its steps were tried.';

-- ---- Live and archived together. Not for reporters: panda_report has what they may rely on.

-- One row for each attempt: the present ones, those that were followed by another, and the same of the archive.
CREATE VIEW history_attempts AS
SELECT d.id AS deployment_id, d.attempt, true AS last, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, d.status,
       d.attempt_started_at AS started_at, d.completed_at AS ended_at, d.started_at AS deployment_started_at, d.step,
       CASE WHEN d.step = 'cancel' THEN d.step_state ->> 'during' END AS interrupted_step, d.error_code, d.error_message, d.commit_sha,
       d.committed_at, d.final_service, d.started_by, d.queued_at, d.turn_at, d.blue_green_started_at, d.ready_at, d.switch_requested_at,
       d.cancel_requested_at, d.superseded_by
FROM deployments d
UNION ALL
SELECT a.deployment_id, a.attempt, false, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, 'FAILED',
       a.started_at, a.ended_at, d.started_at, a.step,
       a.interrupted_step, a.error_code, a.error_message, a.commit_sha,
       NULL, NULL, a.started_by, a.queued_at, a.turn_at, a.blue_green_started_at, a.ready_at, a.switch_requested_at,
       a.cancel_requested_at, a.superseded_by
FROM deployment_attempts a JOIN deployments d ON d.id = a.deployment_id
UNION ALL
SELECT d.id, d.attempt, true, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, d.status,
       d.attempt_started_at, d.completed_at, d.started_at, d.step,
       d.interrupted_step, d.error_code, d.error_message, d.commit_sha,
       d.committed_at, d.final_service, d.started_by, d.queued_at, d.turn_at, d.blue_green_started_at, d.ready_at, d.switch_requested_at,
       d.cancel_requested_at, d.superseded_by
FROM archived_deployments d
UNION ALL
SELECT a.deployment_id, a.attempt, false, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, 'FAILED',
       a.started_at, a.ended_at, d.started_at, a.step,
       a.interrupted_step, a.error_code, a.error_message, a.commit_sha,
       NULL, NULL, a.started_by, a.queued_at, a.turn_at, a.blue_green_started_at, a.ready_at, a.switch_requested_at,
       a.cancel_requested_at, a.superseded_by
FROM archived_attempts a JOIN archived_deployments d ON d.id = a.deployment_id;
COMMENT ON VIEW history_attempts IS 'Each attempt of each deployment, live or archived.';

-- What replicas did, by stage. A run of follow_execution is cut where the execution went from Stage 3 to Stage 4. A person's turn is part of Stage 4, and
-- nobody works then. The deployment's columns go through the grouping by its key, so that a condition on them reaches the tables.
CREATE VIEW history_stages AS
SELECT d.id AS deployment_id, r.attempt, part.stage, d.owner, d.repo, d.branch, d.started_at AS deployment_started_at,
       min(part.began) AS started_at,
       CASE WHEN bool_or(r.open) THEN NULL WHEN part.stage <> 'Stage 4' OR min(attempt.ready_at) IS NULL THEN max(part.ended)
            WHEN min(attempt.turn_ended_at) IS NULL THEN NULL ELSE greatest(max(part.ended), min(attempt.turn_ended_at)) END AS ended_at,
       sum(extract(epoch FROM part.ended - part.began))::double precision AS working_seconds,
       CASE WHEN part.stage <> 'Stage 4' OR min(attempt.ready_at) IS NULL THEN 0
            ELSE extract(epoch FROM coalesce(min(attempt.turn_ended_at), now()) - min(attempt.ready_at))::double precision
            END AS waiting_seconds,
       sum(r.tries)::bigint AS tries
FROM deployments d
JOIN (
    SELECT s.deployment_id, s.attempt, s.step, s.started_at, s.ended_at, s.tries, false AS open FROM step_runs s
    UNION ALL
    SELECT u.id, u.attempt, u.step, u.run_started_at, greatest(now(), u.run_started_at), 1, true
    FROM deployments u WHERE u.run_started_at IS NOT NULL AND u.status IN ('RUNNING', 'DEPLOYMENT_READY')
) r ON r.deployment_id = d.id
LEFT JOIN deployment_attempts a ON a.deployment_id = d.id AND a.attempt = r.attempt
CROSS JOIN LATERAL (
    SELECT CASE r.attempt WHEN d.attempt THEN d.blue_green_started_at ELSE a.blue_green_started_at END AS blue_green_started_at,
           CASE r.attempt WHEN d.attempt THEN d.ready_at ELSE a.ready_at END AS ready_at,
           CASE r.attempt WHEN d.attempt THEN least(d.switch_requested_at, d.cancel_requested_at, d.completed_at)
                          ELSE least(a.switch_requested_at, a.cancel_requested_at, a.ended_at) END AS turn_ended_at
) attempt
CROSS JOIN LATERAL (
    SELECT 'Stage 3' AS stage, r.started_at AS began, least(r.ended_at, coalesce(attempt.blue_green_started_at, r.ended_at)) AS ended
    WHERE r.step = 'follow_execution' AND (attempt.blue_green_started_at IS NULL OR r.started_at < attempt.blue_green_started_at)
    UNION ALL
    SELECT CASE r.step WHEN 'ensure_event_rule' THEN 'Step 1' WHEN 'grant_event_bus' THEN 'Step 2'
                       WHEN 'fetch_source' THEN 'Stage 1' WHEN 'build_image' THEN 'Stage 1' WHEN 'push_image' THEN 'Stage 2'
                       WHEN 'find_execution' THEN 'Stage 3' WHEN 'resume' THEN 'Retry' WHEN 'cancel' THEN 'Cancel' ELSE 'Stage 4' END,
           CASE r.step WHEN 'follow_execution' THEN greatest(r.started_at, attempt.blue_green_started_at) ELSE r.started_at END, r.ended_at
    WHERE r.step <> 'follow_execution' OR attempt.blue_green_started_at < r.ended_at
) part
GROUP BY d.id, r.attempt, part.stage;
COMMENT ON VIEW history_stages IS 'Each stage of each attempt of the deployments that are not archived.';
