-- What people who report may rely on: schema panda_report, and a role that can read it and nothing else. A view is never changed, only followed by
-- one with the next number: docs/reporting.md, docs/decisions/0023-views-for-reporters.md, tests/it/report/frozen.rs.

CREATE FUNCTION history_outcome(status text, error_code text, superseded_by text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT CASE WHEN status = 'COMPLETED' THEN 'completed' WHEN status <> 'FAILED' THEN NULL WHEN error_code <> 'CANCELLED' THEN 'failed'
                   WHEN superseded_by IS NULL THEN 'cancelled' ELSE 'superseded' END $$;
COMMENT ON FUNCTION history_outcome IS 'How an attempt ended: completed, failed, cancelled, superseded; null while it has not.';

CREATE FUNCTION history_stage(step text, boundary timestamptz) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT CASE step WHEN 'ensure_event_rule' THEN 'Step 1' WHEN 'grant_event_bus' THEN 'Step 2' WHEN 'fetch_source' THEN 'Stage 1'
                        WHEN 'build_image' THEN 'Stage 1' WHEN 'push_image' THEN 'Stage 2' WHEN 'find_execution' THEN 'Stage 3'
                        WHEN 'follow_execution' THEN CASE WHEN boundary IS NULL THEN 'Stage 3' ELSE 'Stage 4' END
                        WHEN 'resume' THEN 'Retry' WHEN 'cancel' THEN 'Cancel' ELSE 'Stage 4' END $$;
COMMENT ON FUNCTION history_stage IS 'The stage of a step, as users see it; boundary is when Stage 4 began.';

CREATE FUNCTION history_seconds(since timestamptz, until timestamptz) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT extract(epoch FROM until - since)::double precision $$;
COMMENT ON FUNCTION history_seconds IS 'Seconds between two times.';

CREATE SCHEMA panda_report;
COMMENT ON SCHEMA panda_report IS 'The history of Panda for reports. A view is never changed, only followed by one with the next number. Times are timestamptz; days and months are those of UTC.';

-- ---- Deployments

CREATE VIEW panda_report.deployments_v1 AS
SELECT d.id AS deployment_id, d.owner, d.repo, d.branch, d.account_id, d.region, d.ecr_repository, d.status,
       history_outcome(d.status, d.error_code, d.superseded_by) AS outcome, d.attempt AS attempts,
       coalesce(d.interrupted_step, d.step) AS step, history_stage(coalesce(d.interrupted_step, d.step), d.blue_green_started_at) AS stage,
       d.commit_sha, d.committed_at, d.image_digest, d.execution_arn, d.code_deploy_deployment_id, d.blue_latency_ms, d.green_latency_ms,
       d.blue_error_rate, d.green_error_rate, d.final_service, d.error_code, d.error_message, d.started_by, d.concurrency, d.superseded_by,
       d.events, d.started_at, d.attempt_started_at, d.queued_at, d.turn_at, d.ready_at, d.switch_requested_at, d.cancel_requested_at,
       d.completed_at, history_seconds(d.started_at, d.completed_at) AS duration_seconds,
       CASE WHEN d.status = 'COMPLETED' AND d.final_service = 'green'
            THEN greatest(history_seconds(d.committed_at, d.completed_at), 0) END AS lead_time_seconds,
       d.archived_at
FROM (
    SELECT id, owner, repo, branch, account_id, region, ecr_repository, status, attempt, step,
           CASE WHEN step = 'cancel' THEN step_state ->> 'during' END AS interrupted_step, blue_green_started_at, commit_sha, committed_at,
           image_digest, execution_arn, code_deploy_deployment_id, blue_latency_ms, green_latency_ms, blue_error_rate, green_error_rate,
           final_service, error_code, error_message, started_by, concurrency, superseded_by, next_event_seq - 1 AS events, started_at,
           attempt_started_at, queued_at, turn_at, ready_at, switch_requested_at, cancel_requested_at, completed_at,
           NULL::timestamptz AS archived_at
    FROM deployments
    UNION ALL
    SELECT id, owner, repo, branch, account_id, region, ecr_repository, status, attempt, step,
           interrupted_step, blue_green_started_at, commit_sha, committed_at,
           image_digest, execution_arn, code_deploy_deployment_id, blue_latency_ms, green_latency_ms, blue_error_rate, green_error_rate,
           final_service, error_code, error_message, started_by, concurrency, superseded_by, events, started_at,
           attempt_started_at, queued_at, turn_at, ready_at, switch_requested_at, cancel_requested_at, completed_at,
           archived_at
    FROM archived_deployments
) d;
COMMENT ON VIEW panda_report.deployments_v1 IS 'Each deployment once, as it is now; of one that was tried again, its last attempt. Kept for ever.';
COMMENT ON COLUMN panda_report.deployments_v1.deployment_id IS 'Its id, dep_…';
COMMENT ON COLUMN panda_report.deployments_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.deployments_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.deployments_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.deployments_v1.account_id IS 'AWS account that is deployed to, twelve digits.';
COMMENT ON COLUMN panda_report.deployments_v1.region IS 'AWS region that is deployed to.';
COMMENT ON COLUMN panda_report.deployments_v1.ecr_repository IS 'ECR repository of the image. With account_id and region it is the target: one unfinished deployment at a time.';
COMMENT ON COLUMN panda_report.deployments_v1.status IS 'RUNNING, DEPLOYMENT_READY (waits for a person''s switch), COMPLETED or FAILED.';
COMMENT ON COLUMN panda_report.deployments_v1.outcome IS 'How it ended: completed; failed (by a fault); cancelled (a person stopped it); superseded (stopped for a newer one). Null while it has not ended.';
COMMENT ON COLUMN panda_report.deployments_v1.attempts IS 'How many attempts there were: 1, and one more for each retry.';
COMMENT ON COLUMN panda_report.deployments_v1.step IS 'Stored name of the step that it is at, or ended at; of a cancelled one, the step that was interrupted.';
COMMENT ON COLUMN panda_report.deployments_v1.stage IS 'Stage of that step as users see it: Step 1, Step 2, Stage 1 to Stage 4; Retry while a retry finds out where to go on; Cancel when the step that was interrupted is not known.';
COMMENT ON COLUMN panda_report.deployments_v1.commit_sha IS 'Commit that was built. Null before the source was fetched.';
COMMENT ON COLUMN panda_report.deployments_v1.committed_at IS 'Commit time of commit_sha, as git has it. Null before the source was fetched.';
COMMENT ON COLUMN panda_report.deployments_v1.image_digest IS 'Digest of the pushed image (sha256:…). Null before the push.';
COMMENT ON COLUMN panda_report.deployments_v1.execution_arn IS 'Step Functions execution of the last attempt. Null before it was found.';
COMMENT ON COLUMN panda_report.deployments_v1.code_deploy_deployment_id IS 'CodeDeploy deployment (d-…) of the last attempt. Null before there was one.';
COMMENT ON COLUMN panda_report.deployments_v1.blue_latency_ms IS 'Median latency of blue in the health check, milliseconds. Null when not checked.';
COMMENT ON COLUMN panda_report.deployments_v1.green_latency_ms IS 'Median latency of green in the health check, milliseconds. Null when not checked.';
COMMENT ON COLUMN panda_report.deployments_v1.blue_error_rate IS 'Failed share of blue''s health checks, 0 to 1. Null when not checked.';
COMMENT ON COLUMN panda_report.deployments_v1.green_error_rate IS 'Failed share of green''s health checks, 0 to 1. Null when not checked.';
COMMENT ON COLUMN panda_report.deployments_v1.final_service IS 'Which side had the traffic at the end: blue or green. Null before.';
COMMENT ON COLUMN panda_report.deployments_v1.error_code IS 'Stable code of the failure. Null unless FAILED.';
COMMENT ON COLUMN panda_report.deployments_v1.error_message IS 'What went wrong, in the catalogue''s default language. Null unless FAILED.';
COMMENT ON COLUMN panda_report.deployments_v1.started_by IS 'Who asked for the last attempt: a token''s name, for instance. Null from before that was kept, and while authentication was off.';
COMMENT ON COLUMN panda_report.deployments_v1.concurrency IS 'What was asked for in case that the target was taken: reject, queue or supersede.';
COMMENT ON COLUMN panda_report.deployments_v1.superseded_by IS 'Id of the newer deployment for which it was stopped. Null when there is none.';
COMMENT ON COLUMN panda_report.deployments_v1.events IS 'How many events it had, whether or not they are still kept.';
COMMENT ON COLUMN panda_report.deployments_v1.started_at IS 'When it was asked for.';
COMMENT ON COLUMN panda_report.deployments_v1.attempt_started_at IS 'When the last attempt began; of one that had to wait for its turn, when that came.';
COMMENT ON COLUMN panda_report.deployments_v1.queued_at IS 'When the last attempt began to wait for its turn. Null when it did not have to.';
COMMENT ON COLUMN panda_report.deployments_v1.turn_at IS 'When its turn came. Null when it has not come, and when it did not have to wait.';
COMMENT ON COLUMN panda_report.deployments_v1.ready_at IS 'When the last attempt became ready for the switch. Null before.';
COMMENT ON COLUMN panda_report.deployments_v1.switch_requested_at IS 'When a person first asked for the switch in the last attempt. Null when nobody did.';
COMMENT ON COLUMN panda_report.deployments_v1.cancel_requested_at IS 'When its end was first asked for in the last attempt. Null when it was not.';
COMMENT ON COLUMN panda_report.deployments_v1.completed_at IS 'When it became COMPLETED (traffic seen on green) or FAILED. Null before.';
COMMENT ON COLUMN panda_report.deployments_v1.duration_seconds IS 'Seconds from started_at to completed_at, earlier attempts and all waiting included. Null while it has not ended.';
COMMENT ON COLUMN panda_report.deployments_v1.lead_time_seconds IS 'Lead time for changes: seconds from committed_at until the traffic was seen on green; 0 when the commit says that it is younger. Null unless COMPLETED with the traffic on green.';
COMMENT ON COLUMN panda_report.deployments_v1.archived_at IS 'When its retention was over: events and single runs are gone since. Null before.';

-- ---- Events

CREATE VIEW panda_report.events_v1 AS
SELECT e.deployment_id, e.seq, e.id AS event_id, e.attempt, d.owner, d.repo, d.branch, e.code, e.type, e.stage, e.message, e.details,
       e.status, e.created_at AS occurred_at
FROM deployment_events e JOIN deployments d ON d.id = e.deployment_id;
COMMENT ON VIEW panda_report.events_v1 IS 'What was told of deployments, as the event streams have it, for as long as events are kept. Ask by deployment_id or by occurred_at.';
COMMENT ON COLUMN panda_report.events_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.events_v1.seq IS '1, 2, 3 … within the deployment: their order.';
COMMENT ON COLUMN panda_report.events_v1.event_id IS 'The id of the event in streams.';
COMMENT ON COLUMN panda_report.events_v1.attempt IS 'Attempt in which it happened, from 1.';
COMMENT ON COLUMN panda_report.events_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.events_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.events_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.events_v1.code IS 'Stable code of the event: build_started, ready, switch_started …';
COMMENT ON COLUMN panda_report.events_v1.type IS 'Its name on the stream: stage, success or fail.';
COMMENT ON COLUMN panda_report.events_v1.stage IS 'The number that the event carries: 1 and 2 for Step 1 and Step 2 too. Null for success and fail.';
COMMENT ON COLUMN panda_report.events_v1.message IS 'What was told, in the catalogue''s default language (Korean).';
COMMENT ON COLUMN panda_report.events_v1.details IS 'Its details, JSON. Null for success and fail.';
COMMENT ON COLUMN panda_report.events_v1.status IS 'Status of the deployment after it. Null in rows from before that was kept.';
COMMENT ON COLUMN panda_report.events_v1.occurred_at IS 'When it was recorded, by the database''s clock.';
-- Rows come in the order of time: a tiny index finds a stretch of it.
CREATE INDEX deployment_events_time ON deployment_events USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);

-- ---- Stages

CREATE VIEW panda_report.stages_v1 AS
SELECT deployment_id, attempt, owner, repo, branch, stage, started_at, ended_at, history_seconds(started_at, ended_at) AS duration_seconds,
       working_seconds, waiting_seconds, tries, deployment_started_at
FROM history_stages
UNION ALL
SELECT s.deployment_id, s.attempt, d.owner, d.repo, d.branch, s.stage, s.started_at, s.ended_at, history_seconds(s.started_at, s.ended_at),
       s.working_seconds, s.waiting_seconds, s.tries, d.started_at
FROM archived_stages s JOIN archived_deployments d ON d.id = s.deployment_id;
COMMENT ON VIEW panda_report.stages_v1 IS 'Each stage of each attempt that was begun. Ask by deployment_id or by deployment_started_at: that is fast. Kept for ever.';
COMMENT ON COLUMN panda_report.stages_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.stages_v1.attempt IS 'Attempt of the deployment, from 1.';
COMMENT ON COLUMN panda_report.stages_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.stages_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.stages_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.stages_v1.stage IS 'As users see it: Step 1 (event rule), Step 2 (event bus permission), Stage 1 (clone and build), Stage 2 (push), Stage 3 (the pipeline starts, ECS), Stage 4 (blue/green, health checks, switch); beside these Retry (finding out where to go on) and Cancel (stopping what runs).';
COMMENT ON COLUMN panda_report.stages_v1.started_at IS 'When a replica first worked on it.';
COMMENT ON COLUMN panda_report.stages_v1.ended_at IS 'When a replica last worked on it; of a Stage 4 that ended while it waited for a person, when that ended. Null while it is under way.';
COMMENT ON COLUMN panda_report.stages_v1.duration_seconds IS 'Seconds from started_at to ended_at, a person''s turn included. Null while it is under way.';
COMMENT ON COLUMN panda_report.stages_v1.working_seconds IS 'Seconds in which a replica worked on it: waits for AWS and between tries included, a person''s turn and times without a free replica not. So far, while it is under way.';
COMMENT ON COLUMN panda_report.stages_v1.waiting_seconds IS 'Seconds of a person''s turn, in Stage 4: from ready for the switch until the switch, or the end, was asked for. 0 in other stages. So far, while it waits.';
COMMENT ON COLUMN panda_report.stages_v1.tries IS 'How often its steps were tried: one for each step, and one more for each failure that was tried again and each replica that took over.';
COMMENT ON COLUMN panda_report.stages_v1.deployment_started_at IS 'When the deployment was asked for.';

-- ---- Failures

CREATE VIEW panda_report.failures_v1 AS
SELECT deployment_id, attempt, owner, repo, branch, account_id, region, ended_at AS failed_at,
       history_outcome(status, error_code, superseded_by) AS outcome, error_code,
       history_stage(coalesce(interrupted_step, step), blue_green_started_at) AS stage, coalesce(interrupted_step, step) AS step,
       error_message, commit_sha, started_by, NOT last AS retried, history_seconds(started_at, ended_at) AS duration_seconds
FROM history_attempts WHERE status = 'FAILED';
COMMENT ON VIEW panda_report.failures_v1 IS 'Each attempt that ended without the traffic on green: by a fault, or because somebody wished so. Kept for ever.';
COMMENT ON COLUMN panda_report.failures_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.failures_v1.attempt IS 'Which attempt, from 1.';
COMMENT ON COLUMN panda_report.failures_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.failures_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.failures_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.failures_v1.account_id IS 'AWS account that is deployed to, twelve digits.';
COMMENT ON COLUMN panda_report.failures_v1.region IS 'AWS region that is deployed to.';
COMMENT ON COLUMN panda_report.failures_v1.failed_at IS 'When the attempt became FAILED.';
COMMENT ON COLUMN panda_report.failures_v1.outcome IS 'failed (by a fault), cancelled (a person stopped it), superseded (stopped for a newer one).';
COMMENT ON COLUMN panda_report.failures_v1.error_code IS 'Stable code: BUILD_FAILED, GREEN_UNHEALTHY … Of those that were cancelled or superseded, CANCELLED.';
COMMENT ON COLUMN panda_report.failures_v1.stage IS 'Stage in which it ended, as in stages_v1.';
COMMENT ON COLUMN panda_report.failures_v1.step IS 'Stored name of the step that failed; of a cancelled attempt, the one that was interrupted.';
COMMENT ON COLUMN panda_report.failures_v1.error_message IS 'What went wrong and what to do, in the catalogue''s default language (Korean).';
COMMENT ON COLUMN panda_report.failures_v1.commit_sha IS 'Commit that was built. Null when the source was not fetched.';
COMMENT ON COLUMN panda_report.failures_v1.started_by IS 'Who asked for the attempt. Null from before that was kept, and while authentication was off.';
COMMENT ON COLUMN panda_report.failures_v1.retried IS 'Whether another attempt followed.';
COMMENT ON COLUMN panda_report.failures_v1.duration_seconds IS 'Seconds from the beginning of the attempt to its failure.';

-- ---- Approvals

CREATE VIEW panda_report.approvals_v1 AS
SELECT w.at, w.action, w.deployment_id, w.attempt, w.owner, w.repo, w.branch, a.subject, a.kind, a.role
FROM (
    SELECT h.deployment_id, h.attempt, h.owner, h.repo, h.branch, 'switch' AS action, h.switch_requested_at AS at, h.deployment_id AS target
    FROM history_attempts h WHERE h.switch_requested_at IS NOT NULL
    UNION ALL
    SELECT h.deployment_id, h.attempt, h.owner, h.repo, h.branch, CASE WHEN h.superseded_by IS NULL THEN 'cancel' ELSE 'supersede' END,
           h.cancel_requested_at, coalesce(h.superseded_by, h.deployment_id)
    FROM history_attempts h WHERE h.cancel_requested_at IS NOT NULL
    UNION ALL
    SELECT h.deployment_id, h.attempt, h.owner, h.repo, h.branch, 'retry', h.started_at, h.deployment_id
    FROM history_attempts h WHERE h.attempt > 1
) w
LEFT JOIN LATERAL (
    SELECT u.subject, u.kind, u.role FROM audit u
    WHERE u.target = w.target AND u.action = CASE w.action WHEN 'supersede' THEN 'deploy' ELSE w.action END AND u.result = 'done'
      AND u.at >= w.at AND u.at < w.at + interval '1 minute'
    ORDER BY u.id LIMIT 1
) a ON true;
COMMENT ON VIEW panda_report.approvals_v1 IS 'What people decided about deployments: who, what, when. A wish that was repeated is one row. Kept for ever.';
COMMENT ON COLUMN panda_report.approvals_v1.at IS 'When it was asked for.';
COMMENT ON COLUMN panda_report.approvals_v1.action IS 'switch, cancel, retry, or supersede (stopped by whoever asked for a newer deployment). More may come: rollback.';
COMMENT ON COLUMN panda_report.approvals_v1.deployment_id IS 'The deployment that was decided about, dep_…';
COMMENT ON COLUMN panda_report.approvals_v1.attempt IS 'Its attempt; of a retry, the new one.';
COMMENT ON COLUMN panda_report.approvals_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.approvals_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.approvals_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.approvals_v1.subject IS 'Who: a token''s name, or the issuer''s name for somebody. Null from before there was an audit.';
COMMENT ON COLUMN panda_report.approvals_v1.kind IS 'How they signed in: token, oidc, admin, nobody (authentication was off). Null as subject.';
COMMENT ON COLUMN panda_report.approvals_v1.role IS 'The role that they had: viewer, deployer, approver, admin. Null as subject.';

-- ---- Queue

CREATE VIEW panda_report.queue_v1 AS
SELECT deployment_id, attempt, owner, repo, branch, account_id, region, ecr_repository,
       CASE WHEN turn_at IS NOT NULL THEN 'started' WHEN ended_at IS NOT NULL THEN 'left' ELSE 'waiting' END AS state,
       queued_at, coalesce(turn_at, ended_at) AS left_at, history_seconds(queued_at, coalesce(turn_at, ended_at, now())) AS waited_seconds
FROM history_attempts WHERE queued_at IS NOT NULL;
COMMENT ON VIEW panda_report.queue_v1 IS 'Each time that a deployment had to wait for its turn at its target. Kept for ever.';
COMMENT ON COLUMN panda_report.queue_v1.deployment_id IS 'The deployment, dep_…';
COMMENT ON COLUMN panda_report.queue_v1.attempt IS 'Which attempt, from 1.';
COMMENT ON COLUMN panda_report.queue_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.queue_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.queue_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.queue_v1.account_id IS 'AWS account of the target, twelve digits.';
COMMENT ON COLUMN panda_report.queue_v1.region IS 'AWS region of the target.';
COMMENT ON COLUMN panda_report.queue_v1.ecr_repository IS 'ECR repository of the target.';
COMMENT ON COLUMN panda_report.queue_v1.state IS 'waiting; started (its turn came); left (it ended before).';
COMMENT ON COLUMN panda_report.queue_v1.queued_at IS 'When it began to wait.';
COMMENT ON COLUMN panda_report.queue_v1.left_at IS 'When its turn came, or it ended. Null while it waits.';
COMMENT ON COLUMN panda_report.queue_v1.waited_seconds IS 'Seconds that it waited; so far, while it does.';

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
COMMENT ON VIEW panda_report.throughput_v1 IS 'What happened in each hour, by branch: add hours up for days. Hours and branches without any are not there. Kept for ever.';
COMMENT ON COLUMN panda_report.throughput_v1.hour IS 'Beginning of the hour.';
COMMENT ON COLUMN panda_report.throughput_v1.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN panda_report.throughput_v1.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN panda_report.throughput_v1.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN panda_report.throughput_v1.started IS 'Deployments that were asked for.';
COMMENT ON COLUMN panda_report.throughput_v1.retried IS 'Attempts after the first that were asked for.';
COMMENT ON COLUMN panda_report.throughput_v1.completed IS 'Attempts that ended with the traffic on green.';
COMMENT ON COLUMN panda_report.throughput_v1.failed IS 'Attempts that a fault ended.';
COMMENT ON COLUMN panda_report.throughput_v1.cancelled IS 'Attempts that a person stopped.';
COMMENT ON COLUMN panda_report.throughput_v1.superseded IS 'Attempts that were stopped for a newer deployment.';

-- ---- DORA

-- What counts, each with its time: a deployment; a change's verdict; a restore. Those that ended are looked at once, for all three.
CREATE VIEW history_dora AS
WITH ends AS MATERIALIZED (
    -- Compared byte by byte: sorting is most of the work, and no order of a language matters here.
    SELECT deployment_id COLLATE "C" AS deployment_id, attempt, owner, repo, branch, ended_at, committed_at, status = 'COMPLETED' AS done,
           (ecr_repository || ' ' || account_id || ' ' || region) COLLATE "C" AS target
    FROM history_attempts
    WHERE (status = 'COMPLETED' AND final_service = 'green') OR (status = 'FAILED' AND error_code <> 'CANCELLED')
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
COMMENT ON VIEW history_dora IS 'What the DORA views count, one row each: deployed, or failed (a verdict), or restore_seconds is set.';

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

COMMENT ON VIEW panda_report.dora_daily_v1 IS 'The four DORA figures of each day, by branch, repository and owner, and in all. Days without anything are not there. Past days never change. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_daily_v1.day IS 'The day, in UTC.';
COMMENT ON VIEW panda_report.dora_monthly_v1 IS 'The four DORA figures of each month, by branch, repository and owner, and in all. Months without anything are not there. Past months never change. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_monthly_v1.month IS 'First day of the month, in UTC.';
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['dora_daily_v1', 'dora_monthly_v1'] LOOP
        EXECUTE format($c$
COMMENT ON COLUMN panda_report.%1$I.level IS 'What the row is about: branch; repository (all its branches); owner (all repositories); all. Choose one, or figures count twice.';
COMMENT ON COLUMN panda_report.%1$I.owner IS 'GitHub account or organisation. Null: all.';
COMMENT ON COLUMN panda_report.%1$I.repo IS 'GitHub repository. Null: all.';
COMMENT ON COLUMN panda_report.%1$I.branch IS 'Branch. Null: all.';
COMMENT ON COLUMN panda_report.%1$I.deployments IS 'Deployment frequency: deployments that became COMPLETED with the traffic on green.';
COMMENT ON COLUMN panda_report.%1$I.lead_time_median_seconds IS 'Lead time for changes, the median over deployments: seconds from the commit until its traffic was seen on green. Null without any.';
COMMENT ON COLUMN panda_report.%1$I.lead_time_mean_seconds IS 'The same, the mean. Null without any.';
COMMENT ON COLUMN panda_report.%1$I.changes IS 'Deployments with a verdict: the first of their attempts that was completed, or that a fault ended, decides and dates it. Each counts once, however often it was tried again; those that were only cancelled or superseded have none.';
COMMENT ON COLUMN panda_report.%1$I.failed_changes IS 'Those whose verdict is that a fault ended them.';
COMMENT ON COLUMN panda_report.%1$I.change_failure_rate IS 'failed_changes / changes, 0 to 1. Null without any.';
COMMENT ON COLUMN panda_report.%1$I.restores IS 'Times that a target (account, region, ECR repository) was restored: a deployment was completed after one or more had failed by faults. Dated, and given to the branch, by the one that was completed.';
COMMENT ON COLUMN panda_report.%1$I.time_to_restore_median_seconds IS 'Time to restore, the median over restores: seconds from the first of these failures to that completion. Null without any.';
COMMENT ON COLUMN panda_report.%1$I.time_to_restore_mean_seconds IS 'The same, the mean. Null without any.';
$c$, name);
    END LOOP;
END $$;

-- ---- Who may read it: src/db/reports/role.sql, which is here as it was then.

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
        GRANT USAGE ON SCHEMA panda_report TO panda_report;
        GRANT SELECT ON ALL TABLES IN SCHEMA panda_report TO panda_report;
    END IF;
END $$;
