-- Reporting: the views of schema panda_report, and a role that can read them and nothing else (docs/reporting.md, docs/decisions/0022-history-outlives-its-rows.md,
-- 0023-views-for-reporters.md). A view of a released version is never changed, only followed by one with the next number: tests/it/report/view_definitions.rs.
-- Functions and views named history_… are Panda's own, over live and archived deployments alike; reports rely on panda_report alone.

CREATE FUNCTION history_outcome(status text, error_code text, superseded_by text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT CASE WHEN status = 'COMPLETED' THEN 'completed' WHEN status <> 'FAILED' THEN NULL WHEN error_code <> 'CANCELLED' THEN 'failed'
                   WHEN superseded_by IS NULL THEN 'cancelled' ELSE 'superseded' END $$;
COMMENT ON FUNCTION history_outcome IS 'End of an attempt: completed, failed, cancelled, superseded; null while it has not ended.';

CREATE FUNCTION history_seconds(since timestamptz, until timestamptz) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT extract(epoch FROM until - since)::double precision $$;
COMMENT ON FUNCTION history_seconds IS 'Seconds between two times.';

-- One row for each attempt: the present ones, those that were followed by another, and the same of the archive.
CREATE VIEW history_attempts AS
SELECT d.id AS deployment_id, d.attempt, true AS last, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, d.status,
       d.attempt_started_at AS started_at, d.completed_at AS ended_at, d.started_at AS deployment_started_at, d.step,
       CASE WHEN d.step = 'cancel' THEN d.step_state ->> 'during' END AS interrupted_step, d.error_code, d.error_message,
       d.facts ->> 'commit_sha' AS commit_sha, d.committed_at, d.final_service, d.started_by, d.queued_at, d.turn_at, d.blue_green_started_at,
       d.ready_at, d.switch_requested_at, d.cancel_requested_at, d.superseded_by, d.start_audit_id, d.switch_audit_id, d.cancel_audit_id
FROM deployments d
UNION ALL
SELECT a.deployment_id, a.attempt, false, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, 'FAILED',
       a.started_at, a.ended_at, d.started_at, a.step,
       a.interrupted_step, a.error_code, a.error_message,
       a.facts ->> 'commit_sha', NULL, NULL, a.started_by, a.queued_at, a.turn_at, a.blue_green_started_at,
       a.ready_at, a.switch_requested_at, a.cancel_requested_at, a.superseded_by, a.start_audit_id, a.switch_audit_id, a.cancel_audit_id
FROM deployment_attempts a JOIN deployments d ON d.id = a.deployment_id
UNION ALL
SELECT d.id, d.attempt, true, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, d.status,
       d.attempt_started_at, d.completed_at, d.started_at, d.step,
       d.interrupted_step, d.error_code, d.error_message,
       d.facts ->> 'commit_sha', d.committed_at, d.final_service, d.started_by, d.queued_at, d.turn_at, d.blue_green_started_at,
       d.ready_at, d.switch_requested_at, d.cancel_requested_at, d.superseded_by, d.start_audit_id, d.switch_audit_id, d.cancel_audit_id
FROM archived_deployments d
UNION ALL
SELECT a.deployment_id, a.attempt, false, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, 'FAILED',
       a.started_at, a.ended_at, d.started_at, a.step,
       a.interrupted_step, a.error_code, a.error_message,
       a.facts ->> 'commit_sha', NULL, NULL, a.started_by, a.queued_at, a.turn_at, a.blue_green_started_at,
       a.ready_at, a.switch_requested_at, a.cancel_requested_at, a.superseded_by, a.start_audit_id, a.switch_audit_id, a.cancel_audit_id
FROM archived_attempts a JOIN archived_deployments d ON d.id = a.deployment_id;
COMMENT ON VIEW history_attempts IS 'Each attempt of each deployment, live or archived.';

-- A run of a step with a later stage is cut where that began. Waiting for an approver is part of Stage 4, and no replica works then. The
-- deployment's columns go through the grouping by its key, so that a condition on them reaches the tables.
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
LEFT JOIN step_stages s ON s.step = r.step
CROSS JOIN LATERAL (
    SELECT coalesce(s.stage, r.step) AS stage, r.started_at AS began,
           CASE WHEN s.later_stage IS NULL THEN r.ended_at ELSE least(r.ended_at, coalesce(attempt.blue_green_started_at, r.ended_at)) END AS ended
    WHERE s.later_stage IS NULL OR attempt.blue_green_started_at IS NULL OR r.started_at < attempt.blue_green_started_at
    UNION ALL
    SELECT s.later_stage, greatest(r.started_at, attempt.blue_green_started_at), r.ended_at
    WHERE s.later_stage IS NOT NULL AND attempt.blue_green_started_at < r.ended_at
) part
GROUP BY d.id, r.attempt, part.stage;
COMMENT ON VIEW history_stages IS 'Each stage of each attempt of the deployments that are not archived.';

-- Failures of the operator's systems (registry, builder) are no failed change of a team. All three figures come from one pass over the ends.
CREATE VIEW history_dora AS
WITH ends AS MATERIALIZED (
    -- Compared byte by byte: sorting is most of the work, and no order of a language matters here.
    SELECT deployment_id COLLATE "C" AS deployment_id, attempt, owner, repo, branch, ended_at, committed_at, status = 'COMPLETED' AS done,
           (ecr_repository || ' ' || account_id || ' ' || region) COLLATE "C" AS target
    FROM history_attempts
    WHERE (status = 'COMPLETED' AND final_service = 'green')
       OR (status = 'FAILED' AND error_code NOT IN ('CANCELLED', 'REGISTRY_UNAVAILABLE', 'BUILDER_DISK_FULL', 'BUILD_OUT_OF_MEMORY', 'DOCKER_UNAVAILABLE'))
), verdicts AS (
    SELECT DISTINCT ON (deployment_id) ended_at, owner, repo, branch, NOT done AS failed FROM ends ORDER BY deployment_id, attempt
), episodes AS (
    SELECT *, count(*) FILTER (WHERE done) OVER (
               PARTITION BY target ORDER BY ended_at, deployment_id, attempt ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS episode
    FROM ends
), restores AS (
    SELECT *, min(ended_at) FILTER (WHERE NOT done) OVER (PARTITION BY target, episode) AS failed_at FROM episodes
)
SELECT ended_at AS at, owner, repo, branch, true AS deployed, greatest(history_seconds(committed_at, ended_at), 0) AS lead_time_seconds,
       NULL::boolean AS failed, NULL::double precision AS restore_seconds
FROM ends WHERE done
UNION ALL
SELECT ended_at, owner, repo, branch, false, NULL, failed, NULL FROM verdicts
UNION ALL
SELECT ended_at, owner, repo, branch, false, NULL, NULL, history_seconds(failed_at, ended_at)
FROM restores WHERE done AND failed_at IS NOT NULL;
COMMENT ON VIEW history_dora IS 'The occurrences that the DORA views count, one row each: deployed, or failed (a verdict), or restore_seconds is set.';

-- ---- Ended attempts as reports read them (docs/decisions/0071-dora-and-rollups.md)

CREATE FUNCTION history_key(text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
    $$ SELECT ('x' || left(md5($1), 16))::bit(64)::bigint $$;
COMMENT ON FUNCTION history_key IS 'Key of a place or target, made from its names: the same in every database, so that no writer waits for another to number it.';

CREATE FUNCTION history_phase(committed timestamptz, began timestamptz, ended timestamptz) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT CASE WHEN committed IS NOT NULL THEN history_seconds(greatest(began, committed), greatest(ended, committed)) END $$;
COMMENT ON FUNCTION history_phase IS 'Seconds of a part of the lead time: none of it lies before the commit.';

CREATE TABLE report_places (
    id             bigint PRIMARY KEY,
    target_id      bigint NOT NULL,
    owner          text   NOT NULL,
    repo           text   NOT NULL,
    account_id     text   NOT NULL,
    region         text   NOT NULL,
    ecr_repository text   NOT NULL
);

CREATE TABLE report_labels (
    id     bigint PRIMARY KEY,
    labels jsonb  NOT NULL
);

-- One narrow row: a report over 400 days reads a tenth of what it would read from deployments. Wide columns first, so that no padding is stored.
CREATE TABLE report_attempts (
    deployment_started_at timestamptz      NOT NULL,
    started_at            timestamptz      NOT NULL,
    ended_at              timestamptz      NOT NULL,
    place_id              bigint           NOT NULL REFERENCES report_places (id),
    target_id             bigint           NOT NULL,
    moved_at              timestamptz,
    recovered_at          timestamptz,
    queued_at             timestamptz,
    turn_at               timestamptz,
    switch_requested_at   timestamptz,
    cancel_requested_at   timestamptz,
    start_audit_id        bigint,
    switch_audit_id       bigint,
    cancel_audit_id       bigint,
    labels_key            bigint           REFERENCES report_labels (id),
    recorded_at           timestamptz      NOT NULL DEFAULT now(),
    lead_seconds          double precision,
    attempt               integer          NOT NULL CHECK (attempt >= 1),
    request_seconds       real,
    earlier_seconds       real,
    queue_seconds         real,
    deploy_seconds        real,
    approval_seconds      real,
    switch_seconds        real,
    step_1_seconds        real,
    step_2_seconds        real,
    stage_1_seconds       real,
    stage_2_seconds       real,
    stage_3_seconds       real,
    stage_4_seconds       real,
    retry_seconds         real,
    cancel_seconds        real,
    stage_4_waiting       real,
    awaited_seconds       real,
    sample                smallint         NOT NULL,
    blue_latency_ms       real,
    green_latency_ms      real,
    last                  boolean          NOT NULL,
    on_green              boolean          NOT NULL,
    rolled_back           boolean          NOT NULL,
    redeployed            boolean          NOT NULL DEFAULT false,
    failed                boolean          NOT NULL DEFAULT false,
    rework                boolean          NOT NULL,
    outcome               text             NOT NULL CHECK (outcome IN ('completed', 'failed', 'cancelled', 'superseded')),
    kind                  text             NOT NULL,
    verdict               text,
    error_code            text,
    stage                 text,
    branch                text             NOT NULL,
    started_by            text,
    version               text,
    deployment_id         text             NOT NULL,
    PRIMARY KEY (deployment_id, attempt)
);
CREATE INDEX report_attempts_ended ON report_attempts (ended_at);
CREATE INDEX report_attempts_started ON report_attempts (deployment_started_at);
CREATE INDEX report_attempts_moved ON report_attempts (target_id, moved_at) WHERE moved_at IS NOT NULL;
CREATE INDEX report_attempts_versions ON report_attempts (target_id, history_key(version), moved_at) WHERE moved_at IS NOT NULL;
CREATE INDEX report_attempts_recorded ON report_attempts (recorded_at);
CREATE INDEX report_attempts_retried ON report_attempts (started_at) WHERE attempt > 1;
CREATE INDEX report_attempts_failed ON report_attempts (target_id) WHERE failed AND recovered_at IS NULL;
CREATE INDEX report_attempts_recovered ON report_attempts (target_id, recovered_at) WHERE recovered_at IS NOT NULL;
COMMENT ON TABLE report_places IS 'Repositories and the targets that they deploy to, for reports.';
COMMENT ON COLUMN report_places.id IS 'Key of all these names.';
COMMENT ON COLUMN report_places.target_id IS 'Key of account, region and ECR repository.';
COMMENT ON COLUMN report_places.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN report_places.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN report_places.account_id IS 'AWS account of the target.';
COMMENT ON COLUMN report_places.region IS 'AWS region of the target.';
COMMENT ON COLUMN report_places.ecr_repository IS 'ECR repository of the target.';
COMMENT ON TABLE report_labels IS 'Sets of labels that deployments have: few, so that a report reads each once.';
COMMENT ON COLUMN report_labels.id IS 'Key of the labels.';
COMMENT ON COLUMN report_labels.labels IS 'Values by name.';
COMMENT ON TABLE report_attempts IS 'Each ended attempt as reports read it: derived from deployments, deployment_attempts, step_runs and the archive when the attempt ends, and rebuilt by panda reports rebuild.';
COMMENT ON COLUMN report_attempts.deployment_started_at IS 'When the deployment was requested.';
COMMENT ON COLUMN report_attempts.started_at IS 'When the attempt began, or was dequeued.';
COMMENT ON COLUMN report_attempts.ended_at IS 'When the attempt ended.';
COMMENT ON COLUMN report_attempts.place_id IS 'Repository and target.';
COMMENT ON COLUMN report_attempts.target_id IS 'Target, as in report_places.';
COMMENT ON COLUMN report_attempts.moved_at IS 'When the traffic was first seen at 100 % on green; null when it never was.';
COMMENT ON COLUMN report_attempts.recovered_at IS 'Of a failed deployment: when the users of its target were served by a good version again; null before.';
COMMENT ON COLUMN report_attempts.queued_at IS 'When the attempt was queued; null when it was not.';
COMMENT ON COLUMN report_attempts.turn_at IS 'When it was dequeued; null when it was not.';
COMMENT ON COLUMN report_attempts.switch_requested_at IS 'When the switch was first requested; null without a request.';
COMMENT ON COLUMN report_attempts.cancel_requested_at IS 'When the cancellation was first requested; null without a request.';
COMMENT ON COLUMN report_attempts.start_audit_id IS 'Row of audit of the request for the attempt.';
COMMENT ON COLUMN report_attempts.switch_audit_id IS 'Row of audit of the request to switch.';
COMMENT ON COLUMN report_attempts.cancel_audit_id IS 'Row of audit of the request to cancel.';
COMMENT ON COLUMN report_attempts.labels_key IS 'Labels, as in report_labels; null without any.';
COMMENT ON COLUMN report_attempts.recorded_at IS 'When the row was last written.';
COMMENT ON COLUMN report_attempts.lead_seconds IS 'Seconds from the commit until the traffic was on green; null without either.';
COMMENT ON COLUMN report_attempts.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN report_attempts.request_seconds IS 'Part of lead_seconds: from the commit to the request.';
COMMENT ON COLUMN report_attempts.earlier_seconds IS 'Part of lead_seconds: earlier attempts.';
COMMENT ON COLUMN report_attempts.queue_seconds IS 'Part of lead_seconds: in the queue.';
COMMENT ON COLUMN report_attempts.deploy_seconds IS 'Part of lead_seconds: until green was ready.';
COMMENT ON COLUMN report_attempts.approval_seconds IS 'Part of lead_seconds: until the command to switch.';
COMMENT ON COLUMN report_attempts.switch_seconds IS 'Part of lead_seconds: until the traffic was on green.';
COMMENT ON COLUMN report_attempts.step_1_seconds IS 'Working time of Step 1, as in stages_v1; null when it was not begun.';
COMMENT ON COLUMN report_attempts.step_2_seconds IS 'Working time of Step 2.';
COMMENT ON COLUMN report_attempts.stage_1_seconds IS 'Working time of Stage 1.';
COMMENT ON COLUMN report_attempts.stage_2_seconds IS 'Working time of Stage 2.';
COMMENT ON COLUMN report_attempts.stage_3_seconds IS 'Working time of Stage 3.';
COMMENT ON COLUMN report_attempts.stage_4_seconds IS 'Working time of Stage 4.';
COMMENT ON COLUMN report_attempts.retry_seconds IS 'Working time of deciding where a retry resumes.';
COMMENT ON COLUMN report_attempts.cancel_seconds IS 'Working time of the cancellation.';
COMMENT ON COLUMN report_attempts.stage_4_waiting IS 'Seconds of Stage 4 in which an approver was awaited.';
COMMENT ON COLUMN report_attempts.awaited_seconds IS 'Seconds from ready for the switch until the command to switch; null without either.';
COMMENT ON COLUMN report_attempts.sample IS '0 to 1023, by the id: a part of it is a random sample of deployments.';
COMMENT ON COLUMN report_attempts.blue_latency_ms IS 'Median latency of blue in the health check; null when not checked.';
COMMENT ON COLUMN report_attempts.green_latency_ms IS 'Median latency of green in the health check; null when not checked.';
COMMENT ON COLUMN report_attempts.last IS 'No other attempt followed.';
COMMENT ON COLUMN report_attempts.on_green IS 'COMPLETED with the traffic on green.';
COMMENT ON COLUMN report_attempts.rolled_back IS 'AWS moved the traffic back after the switch.';
COMMENT ON COLUMN report_attempts.redeployed IS 'The same commit or image had been live on the target before.';
COMMENT ON COLUMN report_attempts.failed IS 'The deployment reached users and needed immediate intervention.';
COMMENT ON COLUMN report_attempts.rework IS 'An unplanned deployment because of an incident.';
COMMENT ON COLUMN report_attempts.outcome IS 'End of the attempt: completed, failed, cancelled or superseded.';
COMMENT ON COLUMN report_attempts.kind IS 'Purpose of the deployment.';
COMMENT ON COLUMN report_attempts.verdict IS 'Outcome in production, as a caller marked it; null without.';
COMMENT ON COLUMN report_attempts.error_code IS 'Code of the failure; null unless it failed.';
COMMENT ON COLUMN report_attempts.stage IS 'Stage in which it failed; null unless it failed.';
COMMENT ON COLUMN report_attempts.branch IS 'Branch, as in deployments.';
COMMENT ON COLUMN report_attempts.started_by IS 'Caller that requested the attempt.';
COMMENT ON COLUMN report_attempts.version IS 'Commit that was built; of an image, its digest.';
COMMENT ON COLUMN report_attempts.deployment_id IS 'The deployment, live or archived.';

-- It is read by the deployment's id. As a plain condition, completed_at IS NOT NULL lets Postgres prefer the index of ends while its statistics know of few.
CREATE VIEW history_ends AS
SELECT d.id AS deployment_id, d.attempt, true AS last, d.owner, d.repo, d.branch, d.kind, d.outcome AS verdict, d.account_id, d.region, d.ecr_repository, d.labels,
       d.status, d.error_code, d.superseded_by, coalesce(CASE WHEN d.step = 'cancel' THEN d.step_state ->> 'during' END, d.step) AS step,
       d.started_at AS deployment_started_at, d.attempt_started_at AS started_at, d.completed_at AS ended_at, d.queued_at, d.turn_at,
       d.blue_green_started_at, d.ready_at, d.traffic_moved_at, d.switch_requested_at, d.cancel_requested_at, d.started_by, d.facts,
       d.start_audit_id, d.switch_audit_id, d.cancel_audit_id
FROM deployments d WHERE CASE WHEN d.completed_at IS NULL THEN false ELSE true END
UNION ALL
SELECT a.deployment_id, a.attempt, false, d.owner, d.repo, d.branch, d.kind, NULL, d.account_id, d.region, d.ecr_repository, d.labels,
       'FAILED', a.error_code, a.superseded_by, coalesce(a.interrupted_step, a.step), d.started_at, a.started_at, a.ended_at, a.queued_at, a.turn_at,
       a.blue_green_started_at, a.ready_at, a.traffic_moved_at, a.switch_requested_at, a.cancel_requested_at, a.started_by, a.facts,
       a.start_audit_id, a.switch_audit_id, a.cancel_audit_id
FROM deployment_attempts a JOIN deployments d ON d.id = a.deployment_id
UNION ALL
SELECT d.id, d.attempt, true, d.owner, d.repo, d.branch, d.kind, d.outcome, d.account_id, d.region, d.ecr_repository, d.labels,
       d.status, d.error_code, d.superseded_by, coalesce(d.interrupted_step, d.step), d.started_at, d.attempt_started_at, d.completed_at, d.queued_at, d.turn_at,
       d.blue_green_started_at, d.ready_at, d.traffic_moved_at, d.switch_requested_at, d.cancel_requested_at, d.started_by, d.facts,
       d.start_audit_id, d.switch_audit_id, d.cancel_audit_id
FROM archived_deployments d
UNION ALL
SELECT a.deployment_id, a.attempt, false, d.owner, d.repo, d.branch, d.kind, NULL, d.account_id, d.region, d.ecr_repository, d.labels,
       'FAILED', a.error_code, a.superseded_by, coalesce(a.interrupted_step, a.step), d.started_at, a.started_at, a.ended_at, a.queued_at, a.turn_at,
       a.blue_green_started_at, a.ready_at, a.traffic_moved_at, a.switch_requested_at, a.cancel_requested_at, a.started_by, a.facts,
       a.start_audit_id, a.switch_audit_id, a.cancel_audit_id
FROM archived_attempts a JOIN archived_deployments d ON d.id = a.deployment_id;
COMMENT ON VIEW history_ends IS 'Each ended attempt of each deployment, live or archived: the rows from which report_attempts is made.';

-- Plans outlive the statistics that they were made with, and those of a new installation know of few rows: both functions read by indexes alone.
CREATE FUNCTION report_record(ids text[]) RETURNS void LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO report_places (id, target_id, owner, repo, account_id, region, ecr_repository)
    SELECT DISTINCT history_key(concat_ws(' ', owner, repo, account_id, region, ecr_repository)), history_key(concat_ws(' ', account_id, region, ecr_repository)),
           owner, repo, account_id, region, ecr_repository
    FROM history_ends e WHERE deployment_id = ANY (ids)
      AND NOT EXISTS (SELECT FROM report_places p WHERE p.id = history_key(concat_ws(' ', e.owner, e.repo, e.account_id, e.region, e.ecr_repository)))
    ORDER BY 1 ON CONFLICT DO NOTHING;

    INSERT INTO report_labels (id, labels)
    SELECT DISTINCT history_key(labels::text), labels FROM history_ends e WHERE deployment_id = ANY (ids) AND labels <> '{}'
      AND NOT EXISTS (SELECT FROM report_labels l WHERE l.id = history_key(e.labels::text))
    ORDER BY 1 ON CONFLICT DO NOTHING;

    -- A retry makes the attempt before it an earlier one; its row is written again.
    DELETE FROM report_attempts WHERE deployment_id = ANY (ids);
    INSERT INTO report_attempts (
        deployment_id, attempt, last, sample, place_id, target_id, branch, kind, verdict, outcome, on_green, rolled_back, rework, error_code, stage, started_by, version,
        deployment_started_at, started_at, ended_at, moved_at, queued_at, turn_at, switch_requested_at, cancel_requested_at, start_audit_id, switch_audit_id,
        cancel_audit_id, lead_seconds, request_seconds, earlier_seconds, queue_seconds, deploy_seconds, approval_seconds, switch_seconds,
        step_1_seconds, step_2_seconds, stage_1_seconds, stage_2_seconds, stage_3_seconds, stage_4_seconds, retry_seconds, cancel_seconds, stage_4_waiting,
        awaited_seconds, blue_latency_ms, green_latency_ms, labels_key)
    SELECT e.deployment_id, e.attempt, e.last, (history_key(e.deployment_id) & 1023)::smallint, history_key(concat_ws(' ', e.owner, e.repo, e.account_id, e.region, e.ecr_repository)),
           history_key(concat_ws(' ', e.account_id, e.region, e.ecr_repository)), e.branch, e.kind, e.verdict,
           history_outcome(e.status, e.error_code, e.superseded_by), e.status = 'COMPLETED' AND m.moved_at IS NOT NULL,
           e.status = 'FAILED' AND m.moved_at IS NOT NULL, e.kind <> 'planned' OR coalesce(e.verdict = 'rework', false), e.error_code,
           CASE WHEN e.status = 'FAILED' THEN coalesce(CASE WHEN e.blue_green_started_at IS NOT NULL THEN s.later_stage END, s.stage, e.step) END,
           e.started_by, coalesce(e.facts ->> 'commit_sha', e.facts ->> 'image_digest'),
           e.deployment_started_at, e.started_at, e.ended_at, m.moved_at, e.queued_at, e.turn_at, e.switch_requested_at, e.cancel_requested_at,
           e.start_audit_id, e.switch_audit_id, e.cancel_audit_id,
           history_phase(c.committed_at, c.committed_at, m.moved_at), history_phase(c.committed_at, c.committed_at, e.deployment_started_at),
           history_phase(c.committed_at, e.deployment_started_at, p.taken_at), history_phase(c.committed_at, p.taken_at, e.started_at),
           history_phase(c.committed_at, e.started_at, p.ready_at), history_phase(c.committed_at, p.ready_at, p.approved_at),
           history_phase(c.committed_at, p.approved_at, m.moved_at),
           g.step_1, g.step_2, g.stage_1, g.stage_2, g.stage_3, g.stage_4, g.retry, g.cancel, g.waiting,
           history_seconds(e.ready_at, e.switch_requested_at), (e.facts ->> 'blue_latency_ms')::real, (e.facts ->> 'green_latency_ms')::real,
           CASE WHEN e.labels <> '{}' THEN history_key(e.labels::text) END
    FROM history_ends e
    LEFT JOIN step_stages s ON s.step = e.step
    CROSS JOIN LATERAL (
        SELECT CASE WHEN e.status = 'COMPLETED' AND e.facts ->> 'final_service' = 'green' OR e.error_code = 'ROLLED_BACK_AFTER_SWITCH'
                    THEN coalesce(e.traffic_moved_at, e.ended_at) END AS moved_at
    ) m
    CROSS JOIN LATERAL (
        SELECT CASE WHEN m.moved_at IS NOT NULL THEN to_timestamp((e.facts ->> 'committed_at')::double precision) END AS committed_at
    ) c
    CROSS JOIN LATERAL (
        SELECT coalesce(e.queued_at, e.started_at) AS taken_at, coalesce(e.ready_at, m.moved_at) AS ready_at,
               coalesce(e.switch_requested_at, e.ready_at, m.moved_at) AS approved_at
    ) p
    LEFT JOIN LATERAL (
        SELECT max(working_seconds) FILTER (WHERE g.stage = 'Step 1') AS step_1, max(working_seconds) FILTER (WHERE g.stage = 'Step 2') AS step_2,
               max(working_seconds) FILTER (WHERE g.stage = 'Stage 1') AS stage_1, max(working_seconds) FILTER (WHERE g.stage = 'Stage 2') AS stage_2,
               max(working_seconds) FILTER (WHERE g.stage = 'Stage 3') AS stage_3, max(working_seconds) FILTER (WHERE g.stage = 'Stage 4') AS stage_4,
               max(working_seconds) FILTER (WHERE g.stage = 'Retry') AS retry, max(working_seconds) FILTER (WHERE g.stage = 'Cancel') AS cancel,
               max(waiting_seconds) FILTER (WHERE g.stage = 'Stage 4') AS waiting
        FROM (
            -- As history_stages, whose present runs an ended attempt has none of: looking for them would read all unfinished deployments.
            SELECT part.stage, sum(history_seconds(part.began, part.ended)) AS working_seconds,
                   CASE WHEN part.stage = 'Stage 4' AND e.ready_at IS NOT NULL
                        THEN history_seconds(e.ready_at, least(e.switch_requested_at, e.cancel_requested_at, e.ended_at)) ELSE 0 END AS waiting_seconds
            FROM step_runs r LEFT JOIN step_stages s ON s.step = r.step
            CROSS JOIN LATERAL (
                SELECT coalesce(s.stage, r.step) AS stage, r.started_at AS began,
                       CASE WHEN s.later_stage IS NULL THEN r.ended_at ELSE least(r.ended_at, coalesce(e.blue_green_started_at, r.ended_at)) END AS ended
                WHERE s.later_stage IS NULL OR e.blue_green_started_at IS NULL OR r.started_at < e.blue_green_started_at
                UNION ALL
                SELECT s.later_stage, greatest(r.started_at, e.blue_green_started_at), r.ended_at
                WHERE s.later_stage IS NOT NULL AND e.blue_green_started_at < r.ended_at
            ) part
            WHERE r.deployment_id = e.deployment_id AND r.attempt = e.attempt
            GROUP BY part.stage
            UNION ALL
            SELECT stage, working_seconds, waiting_seconds FROM archived_stages a WHERE a.deployment_id = e.deployment_id AND a.attempt = e.attempt
        ) g
    ) g ON true
    WHERE e.deployment_id = ANY (ids);
END $$;
COMMENT ON FUNCTION report_record IS 'Writes the rows of report_attempts of these deployments again, from the rows that they are derived from.';

-- Flags that depend on the neighbours at the same target: its deployments are judged in the order in which the traffic moved.
CREATE FUNCTION report_judge(ids text[]) RETURNS void LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    touched text[] := ids || ARRAY(
        SELECT before.deployment_id FROM report_attempts o CROSS JOIN LATERAL (
            SELECT p.deployment_id FROM report_attempts p WHERE p.target_id = o.target_id AND p.moved_at < o.moved_at ORDER BY p.moved_at DESC LIMIT 1) before
        WHERE o.deployment_id = ANY (ids));
    target bigint;
    since timestamptz;
BEGIN
    UPDATE report_attempts x SET
        redeployed = x.kind = 'planned' AND EXISTS (
            SELECT FROM report_attempts p WHERE p.target_id = x.target_id AND history_key(p.version) = history_key(x.version)
            AND p.moved_at < x.moved_at AND p.moved_at IS NOT NULL),
        failed = CASE x.verdict WHEN 'failed' THEN true WHEN 'ok' THEN false ELSE x.rolled_back OR coalesce(
            (SELECT n.kind <> 'planned' FROM report_attempts n WHERE n.target_id = x.target_id AND n.moved_at > x.moved_at ORDER BY n.moved_at LIMIT 1), false) END,
        recorded_at = now()
    WHERE x.deployment_id = ANY (touched) AND x.moved_at IS NOT NULL;

    -- A failed deployment has recovered with the next good one, or when AWS moved its traffic back. Each whose recovery may have changed is judged again.
    FOR target, since IN SELECT o.target_id, min(o.moved_at) FROM report_attempts o
                         WHERE o.deployment_id = ANY (touched) AND o.moved_at IS NOT NULL GROUP BY o.target_id ORDER BY 1 LOOP
        UPDATE report_attempts x SET recorded_at = now(), recovered_at = CASE WHEN NOT x.failed THEN NULL WHEN x.rolled_back THEN x.ended_at ELSE (
            SELECT n.moved_at FROM report_attempts n WHERE n.target_id = x.target_id AND n.moved_at > x.moved_at AND NOT n.failed ORDER BY n.moved_at LIMIT 1) END
        WHERE x.target_id = target AND (x.failed AND x.recovered_at IS NULL OR x.recovered_at >= since);
    END LOOP;
END $$;
COMMENT ON FUNCTION report_judge IS 'Judges the deployments of report_attempts that these ids may have changed: redeployed, failed, recovered_at.';

CREATE FUNCTION report_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM report_record(ARRAY[NEW.id]);
    PERFORM report_judge(ARRAY[NEW.id]);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION report_ended IS 'Keeps report_attempts true when an attempt ends, is followed by another one, is rolled back or marked.';

-- The condition is all that other commits pay. A trigger sees the record of the last run of a step, which a part of the commit's own statement would not.
CREATE TRIGGER deployments_ended AFTER UPDATE ON deployments FOR EACH ROW
    WHEN (OLD.completed_at IS DISTINCT FROM NEW.completed_at OR OLD.outcome IS DISTINCT FROM NEW.outcome) EXECUTE FUNCTION report_ended();

CREATE TRIGGER archived_deployments_marked AFTER UPDATE OF outcome ON archived_deployments FOR EACH ROW
    WHEN (OLD.outcome IS DISTINCT FROM NEW.outcome) EXECUTE FUNCTION report_ended();

CREATE SCHEMA panda_report;
COMMENT ON SCHEMA panda_report IS 'The history of Panda for reports. A view is never changed, only followed by one with the next number. Times are timestamptz; days and months are those of UTC.';

-- ---- Deployments

CREATE VIEW panda_report.deployments_v1 AS
SELECT d.id AS deployment_id, d.owner, d.repo, d.branch,
       CASE WHEN d.branch LIKE '% %' THEN split_part(d.branch, ' ', 1) ELSE 'branch' END AS requested,
       CASE WHEN d.branch LIKE '% %' THEN substr(d.branch, strpos(d.branch, ' ') + 1) ELSE d.branch END AS requested_name,
       d.kind, d.reason, d.build, d.account_id, d.region, d.ecr_repository, d.status,
       history_outcome(d.status, d.error_code, d.superseded_by) AS outcome, d.attempt AS attempts,
       coalesce(d.interrupted_step, d.step) AS step,
       coalesce(CASE WHEN d.blue_green_started_at IS NOT NULL THEN s.later_stage END, s.stage, d.interrupted_step, d.step) AS stage,
       d.facts ->> 'commit_sha' AS commit_sha, d.committed_at, d.facts ->> 'image_digest' AS image_digest,
       d.facts ->> 'execution_arn' AS execution_arn, d.facts ->> 'code_deploy_deployment_id' AS code_deploy_deployment_id,
       (d.facts ->> 'blue_latency_ms')::double precision AS blue_latency_ms, (d.facts ->> 'green_latency_ms')::double precision AS green_latency_ms,
       (d.facts ->> 'blue_error_rate')::double precision AS blue_error_rate, (d.facts ->> 'green_error_rate')::double precision AS green_error_rate,
       d.final_service, d.error_code, d.error_message, d.started_by, d.concurrency, d.superseded_by,
       d.events, d.started_at, d.attempt_started_at, d.queued_at, d.turn_at, d.ready_at, d.switch_requested_at, d.cancel_requested_at,
       (d.facts ->> 'ready_until')::timestamptz AS ready_until, (d.facts ->> 'blue_terminated_at')::timestamptz AS blue_terminated_at,
       d.completed_at, history_seconds(d.started_at, d.completed_at) AS duration_seconds,
       CASE WHEN d.status = 'COMPLETED' AND d.final_service = 'green'
            THEN greatest(history_seconds(d.committed_at, d.completed_at), 0) END AS lead_time_seconds,
       d.archived_at, d.facts ->> 'commit_author' AS commit_author, d.facts ->> 'commit_subject' AS commit_subject, d.updated_at,
       nullif(d.labels, '{}') AS labels
FROM (
    -- Unfinished and finished rows apart: a condition on updated_at reaches an index of each.
    SELECT id, owner, repo, branch, kind, reason, build, account_id, region, ecr_repository, status, attempt, step,
           CASE WHEN step = 'cancel' THEN step_state ->> 'during' END AS interrupted_step, blue_green_started_at, facts, committed_at, final_service, error_code, error_message, started_by, concurrency, superseded_by, next_event_seq - 1 AS events, started_at,
           attempt_started_at, queued_at, turn_at, ready_at, switch_requested_at, cancel_requested_at, completed_at,
           NULL::timestamptz AS archived_at, updated_at, labels
    FROM deployments WHERE status IN ('RUNNING', 'DEPLOYMENT_READY')
    UNION ALL
    SELECT id, owner, repo, branch, kind, reason, build, account_id, region, ecr_repository, status, attempt, step,
           CASE WHEN step = 'cancel' THEN step_state ->> 'during' END AS interrupted_step, blue_green_started_at, facts, committed_at, final_service, error_code, error_message, started_by, concurrency, superseded_by, next_event_seq - 1 AS events, started_at,
           attempt_started_at, queued_at, turn_at, ready_at, switch_requested_at, cancel_requested_at, completed_at,
           NULL::timestamptz, settled_at, labels
    FROM deployments WHERE status IN ('COMPLETED', 'FAILED')
    UNION ALL
    SELECT id, owner, repo, branch, kind, reason, build, account_id, region, ecr_repository, status, attempt, step,
           interrupted_step, blue_green_started_at, facts, committed_at, final_service, error_code, error_message, started_by, concurrency, superseded_by, events, started_at,
           attempt_started_at, queued_at, turn_at, ready_at, switch_requested_at, cancel_requested_at, completed_at,
           archived_at, updated_at, labels
    FROM archived_deployments
) d
LEFT JOIN step_stages s ON s.step = coalesce(d.interrupted_step, d.step);
COMMENT ON VIEW panda_report.deployments_v1 IS 'Each deployment once, in its present state; of a retried one, its last attempt. Kept for ever.';
COMMENT ON COLUMN panda_report.deployments_v1.deployment_id IS 'Id, dep_…';
COMMENT ON COLUMN panda_report.deployments_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.deployments_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.deployments_v1.branch IS 'Branch that is deployed; of another request, requested and requested_name with a space between them, as in the other views.';
COMMENT ON COLUMN panda_report.deployments_v1.requested IS 'Kind of the requested source: branch, tag, commit or image.';
COMMENT ON COLUMN panda_report.deployments_v1.requested_name IS 'Name of the branch or tag, id of the commit, digest of the image.';
COMMENT ON COLUMN panda_report.deployments_v1.kind IS 'Purpose: planned, hotfix or rollback.';
COMMENT ON COLUMN panda_report.deployments_v1.reason IS 'Reason in the caller''s words. Null when they gave none.';
COMMENT ON COLUMN panda_report.deployments_v1.build IS 'Build options of the request: dockerfile, context, target, args, platform, names of secrets. Null when it had none; panda.toml of the repository is not included.';
COMMENT ON COLUMN panda_report.deployments_v1.account_id IS 'AWS account that is deployed to, twelve digits.';
COMMENT ON COLUMN panda_report.deployments_v1.region IS 'AWS region that is deployed to.';
COMMENT ON COLUMN panda_report.deployments_v1.ecr_repository IS 'ECR repository of the image. With account_id and region it is the target, which has one unfinished deployment at a time.';
COMMENT ON COLUMN panda_report.deployments_v1.status IS 'RUNNING, DEPLOYMENT_READY (awaiting an approver''s switch), COMPLETED or FAILED.';
COMMENT ON COLUMN panda_report.deployments_v1.outcome IS 'End: completed; failed (by a fault); cancelled (by a caller); superseded (cancelled for a newer one). Null while it has not ended.';
COMMENT ON COLUMN panda_report.deployments_v1.attempts IS 'Number of attempts: 1, and one more for each retry.';
COMMENT ON COLUMN panda_report.deployments_v1.step IS 'Stored name of its present or last step; of a cancelled deployment, the step that was interrupted.';
COMMENT ON COLUMN panda_report.deployments_v1.stage IS 'Stage of that step as users see it: Step 1, Step 2, Stage 1 to Stage 4; Retry while a retry decides where to resume; Cancel when the interrupted step is not known.';
COMMENT ON COLUMN panda_report.deployments_v1.commit_sha IS 'Commit that was built. Null before the source was fetched, and for an image.';
COMMENT ON COLUMN panda_report.deployments_v1.committed_at IS 'Commit time of commit_sha, from git. Null before the source was fetched, and for an image.';
COMMENT ON COLUMN panda_report.deployments_v1.image_digest IS 'Digest of the pushed image (sha256:…). Null before the push.';
COMMENT ON COLUMN panda_report.deployments_v1.execution_arn IS 'Step Functions execution of the last attempt. Null before it was found.';
COMMENT ON COLUMN panda_report.deployments_v1.code_deploy_deployment_id IS 'CodeDeploy deployment (d-…) of the last attempt. Null before there was one.';
COMMENT ON COLUMN panda_report.deployments_v1.blue_latency_ms IS 'Median latency of blue in the health check, milliseconds. Null when not checked.';
COMMENT ON COLUMN panda_report.deployments_v1.green_latency_ms IS 'Median latency of green in the health check, milliseconds. Null when not checked.';
COMMENT ON COLUMN panda_report.deployments_v1.blue_error_rate IS 'Failed share of blue''s health checks, 0 to 1. Null when not checked.';
COMMENT ON COLUMN panda_report.deployments_v1.green_error_rate IS 'Failed share of green''s health checks, 0 to 1. Null when not checked.';
COMMENT ON COLUMN panda_report.deployments_v1.final_service IS 'Side with the traffic at the end: blue or green. Null before.';
COMMENT ON COLUMN panda_report.deployments_v1.error_code IS 'Stable code of the failure. Null unless FAILED.';
COMMENT ON COLUMN panda_report.deployments_v1.error_message IS 'Description of the failure, in the catalogue''s default language. Null unless FAILED.';
COMMENT ON COLUMN panda_report.deployments_v1.started_by IS 'Caller that requested the last attempt: a token''s name, for instance. Null while authentication was off.';
COMMENT ON COLUMN panda_report.deployments_v1.concurrency IS 'Policy of the request for a target that is taken: reject, queue or supersede.';
COMMENT ON COLUMN panda_report.deployments_v1.superseded_by IS 'Id of the newer deployment for which it was cancelled. Null when there is none.';
COMMENT ON COLUMN panda_report.deployments_v1.events IS 'Number of its events, including deleted ones.';
COMMENT ON COLUMN panda_report.deployments_v1.started_at IS 'When it was requested.';
COMMENT ON COLUMN panda_report.deployments_v1.attempt_started_at IS 'When the last attempt began; of a queued one, when it was dequeued.';
COMMENT ON COLUMN panda_report.deployments_v1.queued_at IS 'When the last attempt was queued. Null when it was not.';
COMMENT ON COLUMN panda_report.deployments_v1.turn_at IS 'When it was dequeued. Null before, and when it was not queued.';
COMMENT ON COLUMN panda_report.deployments_v1.ready_at IS 'When the last attempt became ready for the switch. Null before.';
COMMENT ON COLUMN panda_report.deployments_v1.switch_requested_at IS 'When the switch was first requested in the last attempt. Null without a request.';
COMMENT ON COLUMN panda_report.deployments_v1.cancel_requested_at IS 'When the cancellation was first requested in the last attempt. Null without a request.';
COMMENT ON COLUMN panda_report.deployments_v1.ready_until IS 'When AWS ends, or ended, the last attempt''s wait for the switch by itself. Null when not known, or without such a limit.';
COMMENT ON COLUMN panda_report.deployments_v1.blue_terminated_at IS 'When AWS terminated blue after the switch: from then on it cannot take the traffic back. Null before.';
COMMENT ON COLUMN panda_report.deployments_v1.completed_at IS 'When it became COMPLETED (traffic seen on green) or FAILED. Of a deployment that was rolled back after its switch, when that was seen. Null before.';
COMMENT ON COLUMN panda_report.deployments_v1.duration_seconds IS 'Seconds from started_at to completed_at, earlier attempts and all waiting included. Null while it has not ended.';
COMMENT ON COLUMN panda_report.deployments_v1.lead_time_seconds IS 'Lead time for changes: seconds from committed_at until the traffic was seen on green; 0 for a commit dated later. Null unless COMPLETED with the traffic on green.';
COMMENT ON COLUMN panda_report.deployments_v1.archived_at IS 'When its retention ended: events and single runs are deleted since. Null before.';
COMMENT ON COLUMN panda_report.deployments_v1.commit_author IS 'Name of the commit''s author, at most 100 characters, without an e-mail address. Null before the source was fetched, and for an image.';
COMMENT ON COLUMN panda_report.deployments_v1.commit_subject IS 'First line of the commit''s message, at most 200 characters. Null before the source was fetched, and for an image.';
COMMENT ON COLUMN panda_report.deployments_v1.updated_at IS 'When the row was last written: a cursor for incremental loading. It only increases, and a change is visible once its transaction ends: read the last minutes again.';
COMMENT ON COLUMN panda_report.deployments_v1.labels IS 'Labels: those of the policy with which the last attempt started, and of the request. Null without any.';

-- ---- Events

CREATE VIEW panda_report.events_v1 AS
SELECT e.deployment_id, e.seq, e.id AS event_id, e.attempt, d.owner, d.repo, d.branch, e.code, e.type, e.stage, e.message, e.details,
       e.status, e.created_at AS occurred_at
FROM deployment_events e JOIN deployments d ON d.id = e.deployment_id;
COMMENT ON VIEW panda_report.events_v1 IS 'The events of deployments, as in the event streams, for as long as events are kept. Select by deployment_id or by occurred_at.';
COMMENT ON COLUMN panda_report.events_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.events_v1.seq IS '1, 2, 3 … within the deployment: their order.';
COMMENT ON COLUMN panda_report.events_v1.event_id IS 'The id of the event in streams.';
COMMENT ON COLUMN panda_report.events_v1.attempt IS 'Attempt of the deployment, from 1.';
COMMENT ON COLUMN panda_report.events_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.events_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.events_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.events_v1.code IS 'Stable code of the event: build_started, ready, switch_started …';
COMMENT ON COLUMN panda_report.events_v1.type IS 'Its name on the stream: stage, success or fail.';
COMMENT ON COLUMN panda_report.events_v1.stage IS 'The number that the event carries: 1 and 2 for Step 1 and Step 2 too. Null for success and fail.';
COMMENT ON COLUMN panda_report.events_v1.message IS 'The message, in the catalogue''s default language (Korean).';
COMMENT ON COLUMN panda_report.events_v1.details IS 'Its details, JSON. Null for success and fail.';
COMMENT ON COLUMN panda_report.events_v1.status IS 'Status of the deployment after the event.';
COMMENT ON COLUMN panda_report.events_v1.occurred_at IS 'When it was recorded, by the database''s clock.';

-- ---- Stages

CREATE VIEW panda_report.stages_v1 AS
SELECT deployment_id, attempt, owner, repo, branch, stage, started_at, ended_at, history_seconds(started_at, ended_at) AS duration_seconds,
       working_seconds, waiting_seconds, tries, deployment_started_at
FROM history_stages
UNION ALL
SELECT s.deployment_id, s.attempt, d.owner, d.repo, d.branch, s.stage, s.started_at, s.ended_at, history_seconds(s.started_at, s.ended_at),
       s.working_seconds, s.waiting_seconds, s.tries, d.started_at
FROM archived_stages s JOIN archived_deployments d ON d.id = s.deployment_id;
COMMENT ON VIEW panda_report.stages_v1 IS 'Each stage of each attempt that was begun. Select by deployment_id or by deployment_started_at: that is fast. Kept for ever.';
COMMENT ON COLUMN panda_report.stages_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.stages_v1.attempt IS 'Attempt of the deployment, from 1.';
COMMENT ON COLUMN panda_report.stages_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.stages_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.stages_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.stages_v1.stage IS 'As users see it: Step 1 (event rule), Step 2 (event bus permission), Stage 1 (clone and build), Stage 2 (push), Stage 3 (the pipeline starts, ECS), Stage 4 (blue/green, health checks, switch); beside these Retry (deciding where to resume) and Cancel (stopping what runs).';
COMMENT ON COLUMN panda_report.stages_v1.started_at IS 'When a replica first worked on it.';
COMMENT ON COLUMN panda_report.stages_v1.ended_at IS 'When a replica last worked on it; of a Stage 4 that ended while awaiting an approver, when that ended. Null while it is under way.';
COMMENT ON COLUMN panda_report.stages_v1.duration_seconds IS 'Seconds from started_at to ended_at, waiting for an approver included. Null while it is under way.';
COMMENT ON COLUMN panda_report.stages_v1.working_seconds IS 'Seconds in which a replica worked on it: waits for AWS and between tries included, waiting for an approver and times without a free replica not. Up to now, while it is under way.';
COMMENT ON COLUMN panda_report.stages_v1.waiting_seconds IS 'Seconds of waiting for an approver, in Stage 4: from ready for the switch until the switch, or the end, was requested. 0 in other stages. Up to now, while it waits.';
COMMENT ON COLUMN panda_report.stages_v1.tries IS 'Number of tries of its steps: one for each step, and one more for each failure that was tried again and each replica that took over.';
COMMENT ON COLUMN panda_report.stages_v1.deployment_started_at IS 'When the deployment was requested.';

-- ---- Failures

CREATE VIEW panda_report.failures_v1 AS
SELECT h.deployment_id, h.attempt, h.owner, h.repo, h.branch, h.account_id, h.region, h.ended_at AS failed_at,
       history_outcome(h.status, h.error_code, h.superseded_by) AS outcome, h.error_code,
       coalesce(CASE WHEN h.blue_green_started_at IS NOT NULL THEN s.later_stage END, s.stage, h.interrupted_step, h.step) AS stage,
       coalesce(h.interrupted_step, h.step) AS step, h.error_message, h.commit_sha, h.started_by, NOT h.last AS retried,
       history_seconds(h.started_at, h.ended_at) AS duration_seconds
FROM history_attempts h LEFT JOIN step_stages s ON s.step = coalesce(h.interrupted_step, h.step)
WHERE h.status = 'FAILED';
COMMENT ON VIEW panda_report.failures_v1 IS 'Each attempt that ended without the traffic on green: by a fault, or because it was cancelled. Kept for ever.';
COMMENT ON COLUMN panda_report.failures_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.failures_v1.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN panda_report.failures_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.failures_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.failures_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.failures_v1.account_id IS 'AWS account that is deployed to, twelve digits.';
COMMENT ON COLUMN panda_report.failures_v1.region IS 'AWS region that is deployed to.';
COMMENT ON COLUMN panda_report.failures_v1.failed_at IS 'When the attempt became FAILED.';
COMMENT ON COLUMN panda_report.failures_v1.outcome IS 'failed (by a fault), cancelled (by a caller), superseded (cancelled for a newer one).';
COMMENT ON COLUMN panda_report.failures_v1.error_code IS 'Stable code: BUILD_FAILED, GREEN_UNHEALTHY … CANCELLED for those that were cancelled or superseded.';
COMMENT ON COLUMN panda_report.failures_v1.stage IS 'Stage in which it ended, as in stages_v1.';
COMMENT ON COLUMN panda_report.failures_v1.step IS 'Stored name of the step that failed; of a cancelled attempt, the one that was interrupted.';
COMMENT ON COLUMN panda_report.failures_v1.error_message IS 'Description of the failure and its remedy, in the catalogue''s default language (Korean).';
COMMENT ON COLUMN panda_report.failures_v1.commit_sha IS 'Commit that was built. Null when the source was not fetched.';
COMMENT ON COLUMN panda_report.failures_v1.started_by IS 'Caller that requested the attempt. Null while authentication was off.';
COMMENT ON COLUMN panda_report.failures_v1.retried IS 'Another attempt followed.';
COMMENT ON COLUMN panda_report.failures_v1.duration_seconds IS 'Seconds from the beginning of the attempt to its failure.';

-- ---- Approvals

CREATE VIEW panda_report.approvals_v1 AS
SELECT w.at, w.action, w.deployment_id, w.attempt, w.owner, w.repo, w.branch, u.subject, u.kind, u.role
FROM (
    SELECT h.deployment_id, h.attempt, h.owner, h.repo, h.branch, 'switch' AS action, h.switch_requested_at AS at, h.switch_audit_id AS audit_id
    FROM history_attempts h WHERE h.switch_requested_at IS NOT NULL
    UNION ALL
    SELECT h.deployment_id, h.attempt, h.owner, h.repo, h.branch, CASE WHEN h.superseded_by IS NULL THEN 'cancel' ELSE 'supersede' END,
           h.cancel_requested_at, h.cancel_audit_id
    FROM history_attempts h WHERE h.cancel_requested_at IS NOT NULL
    UNION ALL
    SELECT h.deployment_id, h.attempt, h.owner, h.repo, h.branch, 'retry', h.started_at, h.start_audit_id
    FROM history_attempts h WHERE h.attempt > 1
) w
LEFT JOIN audit u ON u.id = w.audit_id;
COMMENT ON VIEW panda_report.approvals_v1 IS 'Decisions of callers about deployments, with caller and time. A repeated request is one row. Kept for ever.';
COMMENT ON COLUMN panda_report.approvals_v1.at IS 'When it was requested.';
COMMENT ON COLUMN panda_report.approvals_v1.action IS 'switch, cancel, retry, or supersede (cancelled by the request for a newer deployment). More may be added: rollback.';
COMMENT ON COLUMN panda_report.approvals_v1.deployment_id IS 'The deployment of the decision, dep_…';
COMMENT ON COLUMN panda_report.approvals_v1.attempt IS 'Its attempt; of a retry, the new one.';
COMMENT ON COLUMN panda_report.approvals_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.approvals_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.approvals_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.approvals_v1.subject IS 'The caller: a token''s name, or the issuer''s name for a subject.';
COMMENT ON COLUMN panda_report.approvals_v1.kind IS 'Kind of sign-in: token, oidc, admin, nobody (authentication was off).';
COMMENT ON COLUMN panda_report.approvals_v1.role IS 'The caller''s role: viewer, deployer, approver, admin.';

-- ---- Queue

CREATE VIEW panda_report.queue_v1 AS
SELECT deployment_id, attempt, owner, repo, branch, account_id, region, ecr_repository,
       CASE WHEN turn_at IS NOT NULL THEN 'started' WHEN ended_at IS NOT NULL THEN 'left' ELSE 'waiting' END AS state,
       queued_at, coalesce(turn_at, ended_at) AS left_at, history_seconds(queued_at, coalesce(turn_at, ended_at, now())) AS waited_seconds
FROM history_attempts WHERE queued_at IS NOT NULL;
COMMENT ON VIEW panda_report.queue_v1 IS 'Each wait of a deployment in the queue of its target. Kept for ever.';
COMMENT ON COLUMN panda_report.queue_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.queue_v1.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN panda_report.queue_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.queue_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.queue_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.queue_v1.account_id IS 'AWS account of the target, twelve digits.';
COMMENT ON COLUMN panda_report.queue_v1.region IS 'AWS region of the target.';
COMMENT ON COLUMN panda_report.queue_v1.ecr_repository IS 'ECR repository of the target.';
COMMENT ON COLUMN panda_report.queue_v1.state IS 'waiting; started (it was dequeued); left (it ended before).';
COMMENT ON COLUMN panda_report.queue_v1.queued_at IS 'When it was queued.';
COMMENT ON COLUMN panda_report.queue_v1.left_at IS 'When it was dequeued, or it ended. Null while it waits.';
COMMENT ON COLUMN panda_report.queue_v1.waited_seconds IS 'Seconds of waiting; up to now, while it waits.';

-- ---- Throughput

CREATE VIEW panda_report.throughput_v1 AS
SELECT date_trunc('hour', p.at, 'UTC') AS hour, h.owner, h.repo, h.branch,
       count(*) FILTER (WHERE p.what = 'started') AS started, count(*) FILTER (WHERE p.what = 'retried') AS retried,
       count(*) FILTER (WHERE p.what = 'completed') AS completed, count(*) FILTER (WHERE p.what = 'failed') AS failed,
       count(*) FILTER (WHERE p.what = 'cancelled') AS cancelled, count(*) FILTER (WHERE p.what = 'superseded') AS superseded
FROM history_attempts h
CROSS JOIN LATERAL (VALUES
    (CASE h.attempt WHEN 1 THEN h.deployment_started_at ELSE h.started_at END, CASE h.attempt WHEN 1 THEN 'started' ELSE 'retried' END),
    (h.ended_at, history_outcome(h.status, h.error_code, h.superseded_by))
) p (at, what)
WHERE p.at IS NOT NULL
GROUP BY 1, h.owner, h.repo, h.branch;
COMMENT ON VIEW panda_report.throughput_v1 IS 'Counts of each hour, by branch: add hours up for days. Hours and branches without any have no row. Kept for ever.';
COMMENT ON COLUMN panda_report.throughput_v1.hour IS 'Beginning of the hour.';
COMMENT ON COLUMN panda_report.throughput_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.throughput_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.throughput_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.throughput_v1.started IS 'Requested deployments.';
COMMENT ON COLUMN panda_report.throughput_v1.retried IS 'Requested attempts after the first.';
COMMENT ON COLUMN panda_report.throughput_v1.completed IS 'Attempts that ended with the traffic on green.';
COMMENT ON COLUMN panda_report.throughput_v1.failed IS 'Attempts that a fault ended.';
COMMENT ON COLUMN panda_report.throughput_v1.cancelled IS 'Attempts that a caller cancelled.';
COMMENT ON COLUMN panda_report.throughput_v1.superseded IS 'Attempts that were cancelled for a newer deployment.';

-- ---- DORA

CREATE VIEW panda_report.dora_occurrences_v1 AS
SELECT at, owner, repo, branch, CASE WHEN deployed THEN 'deployment' WHEN failed IS NOT NULL THEN 'change' ELSE 'restore' END AS kind,
       lead_time_seconds, failed, restore_seconds
FROM history_dora;
COMMENT ON VIEW panda_report.dora_occurrences_v1 IS 'The occurrences that the DORA figures count, one row each, for figures of other periods, days of other time zones, and other groups. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_occurrences_v1.at IS 'When it occurred: the end of the attempt that it belongs to.';
COMMENT ON COLUMN panda_report.dora_occurrences_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.dora_occurrences_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.dora_occurrences_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.dora_occurrences_v1.kind IS 'deployment (COMPLETED with the traffic on green), change (the verdict of a deployment), or restore (of a target). A completed deployment may have a row of each.';
COMMENT ON COLUMN panda_report.dora_occurrences_v1.lead_time_seconds IS 'Of a deployment: seconds from the commit until its traffic was seen on green. Null when the commit time is not known.';
COMMENT ON COLUMN panda_report.dora_occurrences_v1.failed IS 'Of a change: a fault ended it. Null for other kinds.';
COMMENT ON COLUMN panda_report.dora_occurrences_v1.restore_seconds IS 'Of a restore: seconds from the first failure to the completion. Null for other kinds.';

CREATE VIEW panda_report.dora_daily_v1 AS
SELECT g.day, CASE grouping(g.owner, g.repo, g.branch) WHEN 0 THEN 'branch' WHEN 1 THEN 'repository' WHEN 3 THEN 'owner' ELSE 'all' END AS level,
       g.owner, g.repo, g.branch, count(*) FILTER (WHERE g.deployed) AS deployments,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.lead_time_seconds) AS lead_time_median_seconds,
       avg(g.lead_time_seconds) AS lead_time_mean_seconds,
       count(g.failed) AS changes, count(*) FILTER (WHERE g.failed) AS failed_changes,
       count(*) FILTER (WHERE g.failed)::double precision / nullif(count(g.failed), 0) AS change_failure_rate,
       count(g.restore_seconds) AS restores,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.restore_seconds) AS time_to_restore_median_seconds,
       avg(g.restore_seconds) AS time_to_restore_mean_seconds
FROM (SELECT (at AT TIME ZONE 'UTC')::date AS day, * FROM history_dora) g
GROUP BY GROUPING SETS ((g.day, g.owner, g.repo, g.branch), (g.day, g.owner, g.repo), (g.day, g.owner), (g.day));

CREATE VIEW panda_report.dora_monthly_v1 AS
SELECT g.month, CASE grouping(g.owner, g.repo, g.branch) WHEN 0 THEN 'branch' WHEN 1 THEN 'repository' WHEN 3 THEN 'owner' ELSE 'all' END AS level,
       g.owner, g.repo, g.branch, count(*) FILTER (WHERE g.deployed) AS deployments,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.lead_time_seconds) AS lead_time_median_seconds,
       avg(g.lead_time_seconds) AS lead_time_mean_seconds,
       count(g.failed) AS changes, count(*) FILTER (WHERE g.failed) AS failed_changes,
       count(*) FILTER (WHERE g.failed)::double precision / nullif(count(g.failed), 0) AS change_failure_rate,
       count(g.restore_seconds) AS restores,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.restore_seconds) AS time_to_restore_median_seconds,
       avg(g.restore_seconds) AS time_to_restore_mean_seconds
FROM (SELECT date_trunc('month', at AT TIME ZONE 'UTC')::date AS month, * FROM history_dora) g
GROUP BY GROUPING SETS ((g.month, g.owner, g.repo, g.branch), (g.month, g.owner, g.repo), (g.month, g.owner), (g.month));

COMMENT ON VIEW panda_report.dora_daily_v1 IS 'The four DORA figures of each day, by branch, repository, owner and overall, without failures of the operator''s systems: REGISTRY_UNAVAILABLE, BUILDER_DISK_FULL, BUILD_OUT_OF_MEMORY and DOCKER_UNAVAILABLE. Days without any have no row. Past days never change. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_daily_v1.day IS 'The day, in UTC.';
COMMENT ON VIEW panda_report.dora_monthly_v1 IS 'The four DORA figures of each month, by branch, repository, owner and overall, without failures of the operator''s systems: REGISTRY_UNAVAILABLE, BUILDER_DISK_FULL, BUILD_OUT_OF_MEMORY and DOCKER_UNAVAILABLE. Months without any have no row. Past months never change. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_monthly_v1.month IS 'First day of the month, in UTC.';
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['dora_daily_v1', 'dora_monthly_v1'] LOOP
        EXECUTE format($c$
COMMENT ON COLUMN panda_report.%1$I.level IS 'Level of the row: branch; repository (all its branches); owner (all repositories); all. Choose one, or figures count twice.';
COMMENT ON COLUMN panda_report.%1$I.owner IS 'GitHub account or organisation. Null: all.';
COMMENT ON COLUMN panda_report.%1$I.repo IS 'GitHub repository. Null: all.';
COMMENT ON COLUMN panda_report.%1$I.branch IS 'Branch. Null: all.';
COMMENT ON COLUMN panda_report.%1$I.deployments IS 'Deployment frequency: deployments that became COMPLETED with the traffic on green.';
COMMENT ON COLUMN panda_report.%1$I.lead_time_median_seconds IS 'Lead time for changes, the median over deployments: seconds from the commit until its traffic was seen on green. Null without any.';
COMMENT ON COLUMN panda_report.%1$I.lead_time_mean_seconds IS 'Lead time for changes, the mean. Null without any.';
COMMENT ON COLUMN panda_report.%1$I.changes IS 'Deployments with a verdict: the first of their attempts that was completed, or that a fault ended, decides and dates it. Each counts once, however often it was retried; those that were only cancelled or superseded have none.';
COMMENT ON COLUMN panda_report.%1$I.failed_changes IS 'Deployments whose verdict is that a fault ended them.';
COMMENT ON COLUMN panda_report.%1$I.change_failure_rate IS 'failed_changes / changes, 0 to 1. Null without any.';
COMMENT ON COLUMN panda_report.%1$I.restores IS 'Restores of a target (account, region, ECR repository): a deployment was completed after one or more had failed by faults. The completed one gives date and branch.';
COMMENT ON COLUMN panda_report.%1$I.time_to_restore_median_seconds IS 'Time to restore, the median over restores: seconds from the first of these failures to that completion. Null without any.';
COMMENT ON COLUMN panda_report.%1$I.time_to_restore_mean_seconds IS 'Time to restore, the mean. Null without any.';
$c$, name);
    END LOOP;
END $$;

-- ---- Attempts, for fast reports

-- Each attempt has its place. Postgres leaves an outer join out where a query names no column of it.
CREATE VIEW panda_report.attempts_v1 AS
SELECT a.deployment_id, a.attempt, a.last, p.owner, p.repo, a.branch, p.account_id, p.region, p.ecr_repository, a.kind, a.outcome, a.on_green,
       a.error_code, a.stage, a.started_by, a.deployment_started_at, a.started_at, a.ended_at, a.queued_at, coalesce(a.turn_at, a.ended_at) AS left_queue_at,
       a.switch_requested_at, a.moved_at, a.moved_at IS NOT NULL AND NOT a.redeployed AND a.kind <> 'rollback' AS change, a.lead_seconds,
       a.request_seconds, a.earlier_seconds, a.queue_seconds, a.deploy_seconds, a.approval_seconds, a.switch_seconds, a.step_1_seconds, a.step_2_seconds,
       a.stage_1_seconds, a.stage_2_seconds, a.stage_3_seconds, a.stage_4_seconds, a.retry_seconds, a.cancel_seconds, a.stage_4_waiting,
       a.awaited_seconds, a.blue_latency_ms, a.green_latency_ms, a.version, a.sample, a.recorded_at AS updated_at, l.labels
FROM report_attempts a LEFT JOIN report_places p ON p.id = a.place_id LEFT JOIN report_labels l ON l.id = a.labels_key
UNION ALL
SELECT d.id, d.attempt, true, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, d.kind, NULL, false,
       NULL, NULL, d.started_by, d.started_at, d.attempt_started_at, NULL, d.queued_at, d.turn_at,
       d.switch_requested_at, NULL, false, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       history_seconds(d.ready_at, d.switch_requested_at)::real, (d.facts ->> 'blue_latency_ms')::real, (d.facts ->> 'green_latency_ms')::real,
       coalesce(d.facts ->> 'commit_sha', d.facts ->> 'image_digest'), 0::smallint, NULL, nullif(d.labels, '{}')
FROM deployments d WHERE d.status IN ('RUNNING', 'DEPLOYMENT_READY');

COMMENT ON VIEW panda_report.attempts_v1 IS 'Each attempt once, in narrow rows: reports over 400 days and a million deployments take a second or less. Ended attempts are recorded in the transaction that ends them. Kept for ever.';
COMMENT ON COLUMN panda_report.attempts_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.attempts_v1.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN panda_report.attempts_v1.last IS 'No other attempt followed: one row of each deployment has it.';
COMMENT ON COLUMN panda_report.attempts_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.attempts_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.attempts_v1.branch IS 'Branch that is deployed, as in deployments_v1.';
COMMENT ON COLUMN panda_report.attempts_v1.account_id IS 'AWS account of the target, twelve digits.';
COMMENT ON COLUMN panda_report.attempts_v1.region IS 'AWS region of the target.';
COMMENT ON COLUMN panda_report.attempts_v1.ecr_repository IS 'ECR repository of the target.';
COMMENT ON COLUMN panda_report.attempts_v1.kind IS 'Purpose of the deployment: planned, hotfix or rollback.';
COMMENT ON COLUMN panda_report.attempts_v1.outcome IS 'End: completed, failed (by a fault), cancelled, superseded. Null while it has not ended.';
COMMENT ON COLUMN panda_report.attempts_v1.on_green IS 'COMPLETED with the traffic on green.';
COMMENT ON COLUMN panda_report.attempts_v1.error_code IS 'Stable code of the failure. Null unless it failed.';
COMMENT ON COLUMN panda_report.attempts_v1.stage IS 'Stage in which it failed, as in stages_v1. Null unless it failed.';
COMMENT ON COLUMN panda_report.attempts_v1.started_by IS 'Caller that requested the attempt. Null while authentication was off.';
COMMENT ON COLUMN panda_report.attempts_v1.deployment_started_at IS 'When the deployment was requested.';
COMMENT ON COLUMN panda_report.attempts_v1.started_at IS 'When the attempt began; of a queued one, when it was dequeued.';
COMMENT ON COLUMN panda_report.attempts_v1.ended_at IS 'When it ended. Null before.';
COMMENT ON COLUMN panda_report.attempts_v1.queued_at IS 'When it was queued. Null when it was not.';
COMMENT ON COLUMN panda_report.attempts_v1.left_queue_at IS 'When it was dequeued, or ended in the queue. Null while it waits; without queued_at it has no meaning.';
COMMENT ON COLUMN panda_report.attempts_v1.switch_requested_at IS 'When the switch was first requested. Null without a request.';
COMMENT ON COLUMN panda_report.attempts_v1.moved_at IS 'When the traffic was first seen at 100 % on green. Null when it never was.';
COMMENT ON COLUMN panda_report.attempts_v1.change IS 'The traffic moved to a version that had not been live on the target, and it is no rollback.';
COMMENT ON COLUMN panda_report.attempts_v1.lead_seconds IS 'Seconds from the commit until moved_at; 0 for a commit dated later. Null without either.';
COMMENT ON COLUMN panda_report.attempts_v1.request_seconds IS 'Part of lead_seconds: from the commit to the request.';
COMMENT ON COLUMN panda_report.attempts_v1.earlier_seconds IS 'Part of lead_seconds: earlier attempts.';
COMMENT ON COLUMN panda_report.attempts_v1.queue_seconds IS 'Part of lead_seconds: in the queue.';
COMMENT ON COLUMN panda_report.attempts_v1.deploy_seconds IS 'Part of lead_seconds: until green was ready.';
COMMENT ON COLUMN panda_report.attempts_v1.approval_seconds IS 'Part of lead_seconds: until the command to switch.';
COMMENT ON COLUMN panda_report.attempts_v1.switch_seconds IS 'Part of lead_seconds: until the traffic was on green.';
COMMENT ON COLUMN panda_report.attempts_v1.step_1_seconds IS 'Working time of Step 1, as in stages_v1. Null when it was not begun.';
COMMENT ON COLUMN panda_report.attempts_v1.step_2_seconds IS 'Working time of Step 2, as in stages_v1. Null when it was not begun.';
COMMENT ON COLUMN panda_report.attempts_v1.stage_1_seconds IS 'Working time of Stage 1, as in stages_v1. Null when it was not begun.';
COMMENT ON COLUMN panda_report.attempts_v1.stage_2_seconds IS 'Working time of Stage 2, as in stages_v1. Null when it was not begun.';
COMMENT ON COLUMN panda_report.attempts_v1.stage_3_seconds IS 'Working time of Stage 3, as in stages_v1. Null when it was not begun.';
COMMENT ON COLUMN panda_report.attempts_v1.stage_4_seconds IS 'Working time of Stage 4, as in stages_v1. Null when it was not begun.';
COMMENT ON COLUMN panda_report.attempts_v1.retry_seconds IS 'Working time of deciding where a retry resumes. Null when it is no retry.';
COMMENT ON COLUMN panda_report.attempts_v1.cancel_seconds IS 'Working time of the cancellation. Null without one.';
COMMENT ON COLUMN panda_report.attempts_v1.stage_4_waiting IS 'Seconds of Stage 4 in which an approver was awaited.';
COMMENT ON COLUMN panda_report.attempts_v1.awaited_seconds IS 'Seconds from ready for the switch until the command to switch. Null without either.';
COMMENT ON COLUMN panda_report.attempts_v1.blue_latency_ms IS 'Median latency of blue in the health check, milliseconds. Null when not checked.';
COMMENT ON COLUMN panda_report.attempts_v1.green_latency_ms IS 'Median latency of green in the health check, milliseconds. Null when not checked.';
COMMENT ON COLUMN panda_report.attempts_v1.version IS 'Commit that was built; of an image, its digest. Null before either was known.';
COMMENT ON COLUMN panda_report.attempts_v1.sample IS '0 to 1023, by the deployments id: sample < 102 selects a random tenth.';
COMMENT ON COLUMN panda_report.attempts_v1.updated_at IS 'When the row last changed: a cursor for incremental extraction. Rows become visible when their transaction ends, so read the last minutes again. Null while the attempt has not ended.';
COMMENT ON COLUMN panda_report.attempts_v1.labels IS 'Labels of the deployment, as in deployments_v1. Null without any.';

-- ---- Runs of steps

CREATE VIEW panda_report.step_runs_v1 AS
SELECT r.deployment_id, r.attempt, d.owner, d.repo, d.branch, r.step, coalesce(s.stage, r.step) AS stage, r.started_at, r.ended_at,
       history_seconds(r.started_at, r.ended_at) AS duration_seconds, r.outcome, r.error_code, r.reason, r.tries, r.replica_name
FROM step_runs r JOIN deployments d ON d.id = r.deployment_id LEFT JOIN step_stages s ON s.step = r.step;
COMMENT ON VIEW panda_report.step_runs_v1 IS 'Each run of a step by a replica, until the deployment is archived. Select by deployment_id.';
COMMENT ON COLUMN panda_report.step_runs_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.step_runs_v1.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN panda_report.step_runs_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.step_runs_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.step_runs_v1.branch IS 'Branch that is deployed, as in deployments_v1.';
COMMENT ON COLUMN panda_report.step_runs_v1.step IS 'Stored name of the step.';
COMMENT ON COLUMN panda_report.step_runs_v1.stage IS 'Stage of the step when it begins, as in stages_v1.';
COMMENT ON COLUMN panda_report.step_runs_v1.started_at IS 'When the run began.';
COMMENT ON COLUMN panda_report.step_runs_v1.ended_at IS 'When the run ended.';
COMMENT ON COLUMN panda_report.step_runs_v1.duration_seconds IS 'Seconds from started_at to ended_at.';
COMMENT ON COLUMN panda_report.step_runs_v1.outcome IS 'next (another step), ready, completed, failed, retry (tried again later), handed_over, lost, lease_lost.';
COMMENT ON COLUMN panda_report.step_runs_v1.error_code IS 'Error code of the last failed try. Null when none failed.';
COMMENT ON COLUMN panda_report.step_runs_v1.reason IS 'Description of that failure. Null when no try failed.';
COMMENT ON COLUMN panda_report.step_runs_v1.tries IS 'Number of tries: 1, and one more for each failure that was tried again.';
COMMENT ON COLUMN panda_report.step_runs_v1.replica_name IS 'Host name and process id of the replica. Null when not known.';

-- ---- Measurements of gates

CREATE VIEW panda_report.measurements_v1 AS
SELECT e.deployment_id, e.attempt, d.owner, d.repo, d.account_id, d.region, e.params ->> 'gate' AS gate, e.params ->> 'at' AS point,
       (e.params ->> 'number')::integer AS number, e.params ->> 'result' AS result, (e.params ->> 'value')::double precision AS value,
       e.params ->> 'reason' AS found, e.created_at AS measured_at
FROM deployment_events e JOIN deployments d ON d.id = e.deployment_id
WHERE e.code = 'gate_measured';
COMMENT ON VIEW panda_report.measurements_v1 IS 'Each measurement of a gate, for as long as events are kept. Select by deployment_id.';
COMMENT ON COLUMN panda_report.measurements_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.measurements_v1.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN panda_report.measurements_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.measurements_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.measurements_v1.account_id IS 'AWS account that is deployed to.';
COMMENT ON COLUMN panda_report.measurements_v1.region IS 'AWS region that is deployed to.';
COMMENT ON COLUMN panda_report.measurements_v1.gate IS 'Name of the gate in the policy.';
COMMENT ON COLUMN panda_report.measurements_v1.point IS 'When it ran: before_switch, each_step or bake.';
COMMENT ON COLUMN panda_report.measurements_v1.number IS '1, 2, 3 … within one run of the gate. Begins again with each request for a switch.';
COMMENT ON COLUMN panda_report.measurements_v1.result IS 'passed, failed, no_data, or unreadable (no answer, or none that can be read), which counts neither way.';
COMMENT ON COLUMN panda_report.measurements_v1.value IS 'The number: that of the query, or the seconds of the HTTP request. Null without one.';
COMMENT ON COLUMN panda_report.measurements_v1.found IS 'What was found, in English.';
COMMENT ON COLUMN panda_report.measurements_v1.measured_at IS 'When it was recorded, by the database''s clock.';

-- ---- Decisions, with rejected ones

-- The columns of audit are outermost: a query that takes the newest rows looks only these up.
CREATE VIEW panda_report.approvals_v2 AS
SELECT w.at, w.action, w.result, w.error_code, w.times, w.deployment_id, w.attempt, w.owner, w.repo, w.branch,
       (SELECT u.subject FROM audit u WHERE u.id = w.audit_id) AS subject, (SELECT u.kind FROM audit u WHERE u.id = w.audit_id) AS kind,
       (SELECT u.role FROM audit u WHERE u.id = w.audit_id) AS role
FROM (
    SELECT a.switch_requested_at AS at, 'switch' AS action, 'done' AS result, NULL::text AS error_code, 1 AS times, a.deployment_id, a.attempt,
           p.owner, p.repo, a.branch, a.switch_audit_id AS audit_id
    FROM report_attempts a JOIN report_places p ON p.id = a.place_id WHERE a.switch_requested_at IS NOT NULL
    UNION ALL
    SELECT a.cancel_requested_at, CASE a.outcome WHEN 'superseded' THEN 'supersede' ELSE 'cancel' END, 'done', NULL, 1, a.deployment_id, a.attempt,
           p.owner, p.repo, a.branch, a.cancel_audit_id
    FROM report_attempts a JOIN report_places p ON p.id = a.place_id WHERE a.cancel_requested_at IS NOT NULL
    UNION ALL
    SELECT a.started_at, 'retry', 'done', NULL, 1, a.deployment_id, a.attempt, p.owner, p.repo, a.branch, a.start_audit_id
    FROM report_attempts a JOIN report_places p ON p.id = a.place_id WHERE a.attempt > 1
    UNION ALL
    SELECT d.switch_requested_at, 'switch', 'done', NULL, 1, d.id, d.attempt, d.owner, d.repo, d.branch, d.switch_audit_id
    FROM deployments d WHERE d.status IN ('RUNNING', 'DEPLOYMENT_READY') AND d.switch_requested_at IS NOT NULL
    UNION ALL
    SELECT d.cancel_requested_at, CASE WHEN d.superseded_by IS NULL THEN 'cancel' ELSE 'supersede' END, 'done', NULL, 1, d.id, d.attempt,
           d.owner, d.repo, d.branch, d.cancel_audit_id
    FROM deployments d WHERE d.status IN ('RUNNING', 'DEPLOYMENT_READY') AND d.cancel_requested_at IS NOT NULL
    UNION ALL
    SELECT d.attempt_started_at, 'retry', 'done', NULL, 1, d.id, d.attempt, d.owner, d.repo, d.branch, d.start_audit_id
    FROM deployments d WHERE d.status IN ('RUNNING', 'DEPLOYMENT_READY') AND d.attempt > 1
    UNION ALL
    -- A rollback by a new deployment leaves no mark on the one that it is about.
    SELECT u.at, u.action, 'done', NULL, u.times, u.target, NULL, u.owner, u.repo, NULL, u.id
    FROM audit u WHERE u.result = 'done' AND u.action = 'rollback'
    UNION ALL
    SELECT u.at, u.action, 'refused', u.error_code, u.times, u.target, NULL, u.owner, u.repo, NULL, u.id
    FROM audit u WHERE u.result = 'refused' AND u.action IN ('switch', 'cancel', 'retry', 'rollback')
) w;

COMMENT ON VIEW panda_report.approvals_v2 IS 'Decisions of callers about deployments, with caller and time: done ones as in approvals_v1, and refused requests. Kept for ever.';
COMMENT ON COLUMN panda_report.approvals_v2.at IS 'When it was requested; of repeated refusals, the last time.';
COMMENT ON COLUMN panda_report.approvals_v2.action IS 'switch, cancel, retry, rollback, or supersede (cancelled by the request for a newer deployment). More may be added.';
COMMENT ON COLUMN panda_report.approvals_v2.result IS 'done or refused.';
COMMENT ON COLUMN panda_report.approvals_v2.error_code IS 'Code of the refusal. Null for done.';
COMMENT ON COLUMN panda_report.approvals_v2.times IS 'Number of equal refusals that the row counts; 1 for done.';
COMMENT ON COLUMN panda_report.approvals_v2.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.approvals_v2.attempt IS 'Its attempt; of a retry, the new one. Null for refused requests and rollbacks.';
COMMENT ON COLUMN panda_report.approvals_v2.owner IS 'GitHub account or organisation of the source. Null when the refused request named no known deployment.';
COMMENT ON COLUMN panda_report.approvals_v2.repo IS 'GitHub repository of the source. Null as owner is.';
COMMENT ON COLUMN panda_report.approvals_v2.branch IS 'Branch that is deployed. Null for refused requests and rollbacks.';
COMMENT ON COLUMN panda_report.approvals_v2.subject IS 'The caller: a tokens name, or the issuers name for a subject.';
COMMENT ON COLUMN panda_report.approvals_v2.kind IS 'Kind of sign-in: token, oidc, admin, nobody (authentication was off).';
COMMENT ON COLUMN panda_report.approvals_v2.role IS 'The callers role: viewer, deployer, approver, admin.';

-- ---- DORA as defined since 2024

CREATE VIEW panda_report.dora_occurrences_v2 AS
SELECT a.moved_at AS at, a.deployment_id, a.attempt, p.owner, p.repo, a.branch, p.account_id, p.region, p.ecr_repository, a.kind, a.verdict AS marked,
       a.redeployed AS redeployment, NOT a.redeployed AND a.kind <> 'rollback' AS change,
       CASE WHEN NOT a.redeployed AND a.kind <> 'rollback' THEN a.lead_seconds END AS lead_time_seconds, a.failed AND NOT a.redeployed AS failed,
       CASE WHEN a.failed AND NOT a.redeployed THEN a.recovered_at END AS recovered_at,
       CASE WHEN a.failed AND NOT a.redeployed THEN history_seconds(a.moved_at, a.recovered_at) END AS recovery_seconds, a.rework AND NOT a.redeployed AS rework, l.labels, a.labels_key
FROM report_attempts a LEFT JOIN report_places p ON p.id = a.place_id LEFT JOIN report_labels l ON l.id = a.labels_key
WHERE a.moved_at IS NOT NULL;
COMMENT ON VIEW panda_report.dora_occurrences_v2 IS 'Each deployment that reached users, from which the DORA figures (as defined since 2024) are counted. failed and recovered_at may still change: a hotfix or rollback may follow, and callers may mark the outcome. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.at IS 'When the traffic was first seen at 100 % on green.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.branch IS 'Branch that is deployed, as in deployments_v1.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.account_id IS 'AWS account of the target, twelve digits.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.region IS 'AWS region of the target.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.ecr_repository IS 'ECR repository of the target.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.kind IS 'Purpose of the deployment: planned, hotfix or rollback.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.marked IS 'Outcome in production that a caller marked: ok, failed or rework. Null without.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.redeployment IS 'A planned deployment of a commit (or image) that had been live on the target before: no deployment and no change, counted apart.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.change IS 'A new version on the target: no redeployment and no rollback.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.lead_time_seconds IS 'Change lead time: seconds from the commit until at. Null unless it is a change whose commit time is known.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.failed IS 'It needed immediate intervention: AWS moved its traffic back, the next deployment of the target was a hotfix or rollback, or a caller marked it. False for a redeployment.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.recovered_at IS 'Of a failed one: when AWS had moved the traffic back, or the next good deployment of the target was live. Null before.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.recovery_seconds IS 'Failed deployment recovery time: seconds from at to recovered_at. Null unless it failed and has recovered.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.rework IS 'Unplanned, because of an incident: a hotfix, a rollback, or marked as rework.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.labels IS 'Labels of the deployment, as in deployments_v1: labels ->> ''team''. Null without any.';
COMMENT ON COLUMN panda_report.dora_occurrences_v2.labels_key IS 'Number of these labels: equal where all labels are equal. Null without any.';


-- Levels are rows and no grouping sets, so that only the requested level is read.
CREATE VIEW history_dora_levels AS
SELECT 'all' AS level, NULL::text AS group_owner, NULL::text AS group_repo, NULL::text AS group_branch, NULL::text AS group_account, NULL::text AS group_region, NULL::text AS group_label, NULL::text AS group_value, o.*
FROM panda_report.dora_occurrences_v2 o
UNION ALL
SELECT 'owner', o.owner, NULL, NULL, NULL, NULL, NULL, NULL, o.* FROM panda_report.dora_occurrences_v2 o
UNION ALL
SELECT 'repository', o.owner, o.repo, NULL, NULL, NULL, NULL, NULL, o.* FROM panda_report.dora_occurrences_v2 o
UNION ALL
SELECT 'branch', o.owner, o.repo, o.branch, NULL, NULL, NULL, NULL, o.* FROM panda_report.dora_occurrences_v2 o
UNION ALL
SELECT 'account', NULL, NULL, NULL, o.account_id, NULL, NULL, NULL, o.* FROM panda_report.dora_occurrences_v2 o
UNION ALL
SELECT 'region', NULL, NULL, NULL, o.account_id, o.region, NULL, NULL, o.* FROM panda_report.dora_occurrences_v2 o
UNION ALL
SELECT 'label', NULL, NULL, NULL, NULL, NULL, k.key, k.value, o.* FROM panda_report.dora_occurrences_v2 o
JOIN (SELECT s.id, e.key, e.value FROM report_labels s CROSS JOIN LATERAL jsonb_each_text(s.labels) e) k ON k.id = o.labels_key;
COMMENT ON VIEW history_dora_levels IS 'The occurrences of dora_occurrences_v2, once for each level of the DORA views.';

CREATE VIEW panda_report.dora_daily_v2 AS
SELECT (l.at AT TIME ZONE 'UTC')::date AS day, l.level, l.group_owner AS owner, l.group_repo AS repo, l.group_branch AS branch, l.group_account AS account_id, l.group_region AS region, l.group_label AS label, l.group_value AS label_value,
       count(*) FILTER (WHERE NOT l.redeployment) AS deployments, count(*) FILTER (WHERE l.redeployment) AS redeployments,
       count(*) FILTER (WHERE l.change) AS changes,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY l.lead_time_seconds) AS lead_time_median_seconds, avg(l.lead_time_seconds) AS lead_time_mean_seconds,
       count(*) FILTER (WHERE l.failed) AS failed_deployments,
       count(*) FILTER (WHERE l.failed)::double precision / nullif(count(*) FILTER (WHERE NOT l.redeployment), 0) AS change_fail_rate,
       count(l.recovery_seconds) AS recoveries, percentile_cont(0.5) WITHIN GROUP (ORDER BY l.recovery_seconds) AS recovery_time_median_seconds,
       avg(l.recovery_seconds) AS recovery_time_mean_seconds, count(*) FILTER (WHERE l.rework) AS rework_deployments,
       count(*) FILTER (WHERE l.rework)::double precision / nullif(count(*) FILTER (WHERE NOT l.redeployment), 0) AS rework_rate
FROM history_dora_levels l
GROUP BY 1, l.level, l.group_owner, l.group_repo, l.group_branch, l.group_account, l.group_region, l.group_label, l.group_value;

CREATE VIEW panda_report.dora_monthly_v2 AS
SELECT date_trunc('month', l.at AT TIME ZONE 'UTC')::date AS month, l.level, l.group_owner AS owner, l.group_repo AS repo, l.group_branch AS branch, l.group_account AS account_id, l.group_region AS region, l.group_label AS label, l.group_value AS label_value,
       count(*) FILTER (WHERE NOT l.redeployment) AS deployments, count(*) FILTER (WHERE l.redeployment) AS redeployments,
       count(*) FILTER (WHERE l.change) AS changes,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY l.lead_time_seconds) AS lead_time_median_seconds, avg(l.lead_time_seconds) AS lead_time_mean_seconds,
       count(*) FILTER (WHERE l.failed) AS failed_deployments,
       count(*) FILTER (WHERE l.failed)::double precision / nullif(count(*) FILTER (WHERE NOT l.redeployment), 0) AS change_fail_rate,
       count(l.recovery_seconds) AS recoveries, percentile_cont(0.5) WITHIN GROUP (ORDER BY l.recovery_seconds) AS recovery_time_median_seconds,
       avg(l.recovery_seconds) AS recovery_time_mean_seconds, count(*) FILTER (WHERE l.rework) AS rework_deployments,
       count(*) FILTER (WHERE l.rework)::double precision / nullif(count(*) FILTER (WHERE NOT l.redeployment), 0) AS rework_rate
FROM history_dora_levels l
GROUP BY 1, l.level, l.group_owner, l.group_repo, l.group_branch, l.group_account, l.group_region, l.group_label, l.group_value;

COMMENT ON VIEW panda_report.dora_daily_v2 IS 'The DORA figures as defined since 2024, of each day, by level. Days without any deployment have no row. For other time zones use dora_occurrences_v2. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_daily_v2.day IS 'The day of dora_occurrences_v2.at, in UTC.';
COMMENT ON COLUMN panda_report.dora_daily_v2.level IS 'Level of the row: branch, repository, owner, account, region (of an account), label (with one name) or all. Choose one, or figures count several times.';
COMMENT ON COLUMN panda_report.dora_daily_v2.owner IS 'GitHub account or organisation. Null: all.';
COMMENT ON COLUMN panda_report.dora_daily_v2.repo IS 'GitHub repository. Null: all.';
COMMENT ON COLUMN panda_report.dora_daily_v2.branch IS 'Branch. Null: all.';
COMMENT ON COLUMN panda_report.dora_daily_v2.account_id IS 'AWS account. Null: all.';
COMMENT ON COLUMN panda_report.dora_daily_v2.region IS 'AWS region. Null: all.';
COMMENT ON COLUMN panda_report.dora_daily_v2.label IS 'Name of a label, such as team. Null: all.';
COMMENT ON COLUMN panda_report.dora_daily_v2.label_value IS 'Its value. Null: all.';
COMMENT ON COLUMN panda_report.dora_daily_v2.deployments IS 'Deployment frequency: deployments that reached users, without redeployments.';
COMMENT ON COLUMN panda_report.dora_daily_v2.redeployments IS 'Planned deployments of a version that had been live on the target before.';
COMMENT ON COLUMN panda_report.dora_daily_v2.changes IS 'Deployments of a new version.';
COMMENT ON COLUMN panda_report.dora_daily_v2.lead_time_median_seconds IS 'Change lead time, the median over changes. Null without any.';
COMMENT ON COLUMN panda_report.dora_daily_v2.lead_time_mean_seconds IS 'Change lead time, the mean. Null without any.';
COMMENT ON COLUMN panda_report.dora_daily_v2.failed_deployments IS 'Deployments that needed immediate intervention.';
COMMENT ON COLUMN panda_report.dora_daily_v2.change_fail_rate IS 'failed_deployments / deployments, 0 to 1. Null without any.';
COMMENT ON COLUMN panda_report.dora_daily_v2.recoveries IS 'Failed deployments that have recovered.';
COMMENT ON COLUMN panda_report.dora_daily_v2.recovery_time_median_seconds IS 'Failed deployment recovery time, the median over recoveries. Null without any.';
COMMENT ON COLUMN panda_report.dora_daily_v2.recovery_time_mean_seconds IS 'Failed deployment recovery time, the mean. Null without any.';
COMMENT ON COLUMN panda_report.dora_daily_v2.rework_deployments IS 'Unplanned deployments because of an incident.';
COMMENT ON COLUMN panda_report.dora_daily_v2.rework_rate IS 'Deployment rework rate: rework_deployments / deployments, 0 to 1. Null without any.';
COMMENT ON VIEW panda_report.dora_monthly_v2 IS 'The DORA figures as defined since 2024, of each month, by level. Months without any deployment have no row. For other time zones use dora_occurrences_v2. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.month IS 'First day of the month of dora_occurrences_v2.at, in UTC.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.level IS 'Level of the row: branch, repository, owner, account, region (of an account), label (with one name) or all. Choose one, or figures count several times.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.owner IS 'GitHub account or organisation. Null: all.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.repo IS 'GitHub repository. Null: all.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.branch IS 'Branch. Null: all.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.account_id IS 'AWS account. Null: all.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.region IS 'AWS region. Null: all.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.label IS 'Name of a label, such as team. Null: all.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.label_value IS 'Its value. Null: all.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.deployments IS 'Deployment frequency: deployments that reached users, without redeployments.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.redeployments IS 'Planned deployments of a version that had been live on the target before.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.changes IS 'Deployments of a new version.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.lead_time_median_seconds IS 'Change lead time, the median over changes. Null without any.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.lead_time_mean_seconds IS 'Change lead time, the mean. Null without any.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.failed_deployments IS 'Deployments that needed immediate intervention.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.change_fail_rate IS 'failed_deployments / deployments, 0 to 1. Null without any.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.recoveries IS 'Failed deployments that have recovered.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.recovery_time_median_seconds IS 'Failed deployment recovery time, the median over recoveries. Null without any.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.recovery_time_mean_seconds IS 'Failed deployment recovery time, the mean. Null without any.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.rework_deployments IS 'Unplanned deployments because of an incident.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.rework_rate IS 'Deployment rework rate: rework_deployments / deployments, 0 to 1. Null without any.';

-- ---- The role that may read it: a copy of src/db/reports/role.sql

-- The role panda_report: reads the views of schema panda_report and nothing else. Safe to run again, in each database of a server.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'panda_report') THEN
        BEGIN
            CREATE ROLE panda_report NOLOGIN;
            ALTER ROLE panda_report SET default_transaction_read_only = on;
            ALTER ROLE panda_report SET statement_timeout = '30s';
            ALTER ROLE panda_report SET lock_timeout = '5s';
            ALTER ROLE panda_report SET idle_in_transaction_session_timeout = '60s';
            ALTER ROLE panda_report SET timezone = 'UTC';
            ALTER ROLE panda_report SET search_path = panda_report;
            -- Compiling the plan of a report takes longer than it saves.
            ALTER ROLE panda_report SET jit = off;
        EXCEPTION
            -- Another database of this server is migrated at the same time.
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING 'the role panda_report is missing, and % may not create it: panda migrate --print-report-role', current_user;
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'panda_report') THEN
        -- An administrator who is no superuser, as on RDS, may create roles, and not grant access to the views of another owner.
        IF pg_has_role(current_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'panda_report'), 'USAGE') THEN
            GRANT USAGE ON SCHEMA panda_report TO panda_report;
            GRANT SELECT ON ALL TABLES IN SCHEMA panda_report TO panda_report;
        ELSE
            RAISE WARNING 'the role panda_report exists, and % may not grant it access: run panda migrate once more, as the owner of the views', current_user;
        END IF;
    END IF;
END $$;

SELECT schema_version(2, works_with => 2);
