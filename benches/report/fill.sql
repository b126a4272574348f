-- A history of 400 days, in the shapes in which the program writes it. {deployments} and {events} (of each) are put in by the bench.
SET session_replication_role = replica;   -- foreign keys hold by construction
SET synchronous_commit = off;
SELECT setseed(0.5);

CREATE UNLOGGED TABLE filling AS
SELECT n, 'dep_' || lpad(n::text, 16, '0') AS id, 'team-' || n % 20 AS owner, 'service-' || n % 200 AS repo,
       CASE WHEN n % 10 = 0 THEN 'develop' ELSE 'main' END AS branch,
       now() - interval '1 hour' - interval '400 days' * (({deployments} - n)::float8 / {deployments}) AS started_at,
       CASE WHEN n > {deployments} - 50 THEN 'ready' WHEN r < 0.80 THEN 'completed' WHEN r < 0.93 THEN 'failed'
            WHEN r < 0.97 THEN 'cancelled' ELSE 'superseded' END AS outcome,
       CASE WHEN s < 0.05 THEN 2 ELSE 1 END AS attempt,
       interval '1 second' * (200 + 400 * s) AS took,          -- until it was ready, or ended otherwise
       interval '1 second' * (30 + 3600 * t * t) AS considered  -- until somebody switched
FROM (SELECT n, random() AS r, random() AS s, random() AS t FROM generate_series(1, {deployments}) AS n) AS drawn;

INSERT INTO deployments (
    id, status, owner, repo, branch, github_connection_id, aws_connection_id, account_id, region, ecr_repository, attempt, step, step_state,
    version, next_event_seq, switch_requested_at, cancel_requested_at, facts, error_code, error_message, started_at, attempt_started_at,
    blue_green_started_at, ready_at, completed_at, concurrency, superseded_by, started_by)
SELECT id, CASE outcome WHEN 'ready' THEN 'DEPLOYMENT_READY' WHEN 'completed' THEN 'COMPLETED' ELSE 'FAILED' END, owner, repo, branch,
       '{github}', '{aws}', '111122223333', 'ap-northeast-2', owner || '-' || repo || CASE outcome WHEN 'ready' THEN n::text ELSE '' END, attempt,
       CASE outcome WHEN 'completed' THEN 'confirm_switch' WHEN 'ready' THEN 'await_switch' WHEN 'failed' THEN 'build_image' ELSE 'cancel' END,
       CASE WHEN outcome IN ('cancelled', 'superseded') THEN '{"during": "follow_execution"}' ELSE '{}' END::jsonb,
       24, {events} + 1,
       CASE outcome WHEN 'completed' THEN started_at + took + considered END,
       CASE WHEN outcome IN ('cancelled', 'superseded') THEN started_at + took - interval '2 seconds' END,
       jsonb_strip_nulls(jsonb_build_object(
           'last_history_event_id', 14, 'polling_state', CASE WHEN outcome IN ('completed', 'ready') THEN 'DEPLOYMENT_READY' END,
           'commit_sha', md5(n::text) || '01234567', 'committed_at', extract(epoch FROM started_at - considered * 20)::bigint,
           'image_uri', '111122223333.dkr.ecr.ap-northeast-2.amazonaws.com/' || owner || '-' || repo || ':' || id,
           'image_digest', 'sha256:' || md5(id) || md5(repo || n), 'image_pushed_at', started_at + took / 2,
           'execution_arn', 'arn:aws:states:ap-northeast-2:444455556666:execution:panda:' || id, 'cluster_name', 'panda', 'service_name', repo,
           'blue_url', 'http://' || repo || '.example.com', 'green_url', 'http://' || repo || '.example.com:8081',
           'code_deploy_deployment_id', 'd-' || upper(left(md5(id), 9)))
           || CASE WHEN outcome IN ('completed', 'ready') THEN jsonb_build_object(
               'blue_latency_ms', 3.5, 'green_latency_ms', 3.1, 'blue_error_rate', 0, 'green_error_rate', 0) ELSE '{}' END
           || CASE outcome WHEN 'completed' THEN '{"final_service": "green"}'::jsonb ELSE '{}' END),
       CASE outcome WHEN 'failed' THEN (ARRAY ['BUILD_FAILED', 'PUSH_FAILED', 'EXECUTION_FAILED'])[1 + n % 3] WHEN 'cancelled' THEN 'CANCELLED'
            WHEN 'superseded' THEN 'CANCELLED' END,
       CASE WHEN outcome NOT IN ('completed', 'ready') THEN 'Docker 이미지 빌드 실패: exit code 1' END, started_at,
       started_at + CASE attempt WHEN 2 THEN took / 3 ELSE interval '0' END, started_at + took * 0.8,
       CASE WHEN outcome IN ('completed', 'ready') THEN started_at + took END,
       CASE outcome WHEN 'ready' THEN NULL WHEN 'completed' THEN started_at + took + considered + interval '40 seconds' ELSE started_at + took END,
       CASE outcome WHEN 'superseded' THEN 'supersede' ELSE 'reject' END,
       CASE outcome WHEN 'superseded' THEN 'dep_' || lpad((n + 1)::text, 16, '0') END, 'person-' || n % 40
FROM filling;

INSERT INTO deployment_attempts (
    deployment_id, attempt, started_at, ended_at, step, error_code, error_message, facts, started_by, blue_green_started_at)
SELECT id, 1, started_at, started_at + took / 4, 'build_image', 'BUILD_FAILED', 'Docker 이미지 빌드 실패: exit code 1',
       jsonb_build_object('commit_sha', md5(n::text) || '01234567'), 'person-' || n % 40, NULL
FROM filling WHERE attempt = 2;

-- Of each deployment's events, two thirds are lines of its build.
INSERT INTO deployment_events (
    deployment_id, seq, id, attempt, key, code, type, stage, message, details, params, created_at, place, status)
SELECT id, seq, gen_random_uuid(), attempt, told.code || '/' || seq, told.code,
       CASE WHEN seq < {events} OR outcome = 'ready' THEN 'stage' WHEN outcome = 'completed' THEN 'success' ELSE 'fail' END,
       CASE WHEN seq < {events} OR outcome = 'ready' THEN least(4, 1 + seq * 4 / {events}) END,
       CASE told.code WHEN 'build_progress' THEN '[Stage 1] Docker 빌드 진행 중: Step ' || seq || '/40 : RUN make -C module-' || seq || ' all'
            ELSE '[Stage 4] ' || told.code END,
       CASE told.code WHEN 'build_progress' THEN jsonb_build_object('stage', 1) ELSE jsonb_build_object('stage', 4, 'path', '/tmp/' || id) END,
       CASE told.code WHEN 'build_progress' THEN jsonb_build_object('message', 'Step ' || seq || '/40 : RUN make -C module-' || seq || ' all')
            ELSE jsonb_build_object('path', '/tmp/' || id) END,
       started_at + took * (seq::float8 / {events}), n,
       CASE WHEN seq < {events} THEN 'RUNNING' WHEN outcome = 'ready' THEN 'DEPLOYMENT_READY' WHEN outcome = 'completed' THEN 'COMPLETED' ELSE 'FAILED' END
FROM filling CROSS JOIN generate_series(1, {events}) AS seq
CROSS JOIN LATERAL (SELECT CASE
    WHEN seq = {events} THEN CASE outcome WHEN 'completed' THEN 'completed' WHEN 'ready' THEN 'ready' WHEN 'failed' THEN 'build_failed' ELSE 'cancelled' END
    WHEN seq % 3 <> 0 THEN 'build_progress'
    ELSE (ARRAY ['event_rule_created', 'repository_cloned', 'dockerfile_found', 'push_stage_started', 'infra_started', 'blue_green_started'])[1 + seq % 6]
    END AS code) AS told;

INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, replica_name, started_at, ended_at, outcome, tries)
SELECT id, at, filling.attempt, step, '00000000-0000-0000-0000-000000000001', 'panda-' || n % 3 || '/1', started_at + took * ((at - 1) / 12.0),
       started_at + took * (at / 12.0), CASE WHEN at < 11 THEN 'next' WHEN outcome = 'completed' THEN 'completed' ELSE 'failed' END, 1 + (n % 17 = 0)::int
FROM filling CROSS JOIN unnest(ARRAY ['ensure_event_rule', 'grant_event_bus', 'fetch_source', 'build_image', 'push_image', 'find_execution',
    'follow_execution', 'verify_green', 'await_switch', 'switch_traffic', 'confirm_switch']) WITH ORDINALITY AS steps (step, at);

INSERT INTO audit (at, request_id, address, subject, kind, role, action, target, owner, repo, result)
SELECT started_at, md5(id), '192.0.2.7', 'person-' || n % 40, 'token', 'deployer', 'deploy', id, owner, repo, 'done' FROM filling
UNION ALL
SELECT started_at + took + considered, md5(id), '192.0.2.8', 'person-' || (n + 1) % 40, 'token', 'approver', 'switch', id, owner, repo, 'done'
FROM filling WHERE outcome = 'completed'
UNION ALL
SELECT started_at + took - interval '2 seconds', md5(id), '192.0.2.9', 'person-' || (n + 2) % 40, 'token', 'deployer', 'cancel', id, owner, repo, 'done'
FROM filling WHERE outcome = 'cancelled';

DROP TABLE filling;
