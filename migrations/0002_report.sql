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
       d.archived_at
FROM (
    SELECT id, owner, repo, branch, kind, reason, build, account_id, region, ecr_repository, status, attempt, step,
           CASE WHEN step = 'cancel' THEN step_state ->> 'during' END AS interrupted_step, blue_green_started_at, facts, committed_at, final_service, error_code, error_message, started_by, concurrency, superseded_by, next_event_seq - 1 AS events, started_at,
           attempt_started_at, queued_at, turn_at, ready_at, switch_requested_at, cancel_requested_at, completed_at,
           NULL::timestamptz AS archived_at
    FROM deployments
    UNION ALL
    SELECT id, owner, repo, branch, kind, reason, build, account_id, region, ecr_repository, status, attempt, step,
           interrupted_step, blue_green_started_at, facts, committed_at, final_service, error_code, error_message, started_by, concurrency, superseded_by, events, started_at,
           attempt_started_at, queued_at, turn_at, ready_at, switch_requested_at, cancel_requested_at, completed_at,
           archived_at
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
