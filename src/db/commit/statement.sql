WITH batch AS (
             SELECT * FROM unnest(
                     $1::text[], $2::uuid[], $3::bigint[], $4::int[], $5::text[], $6::jsonb[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::bool[], $12::text[], $13::text[], $14::text[], $15::int[], $16::text[],
                     $17::timestamptz[], $18::text[], $19::text[], $20::timestamptz[], $21::text[], $22::bigint[], $23::text[],
                     $24::text[], $25::text[], $26::text[], $27::text[], $28::text[], $29::text[], $30::text[], $31::text[],
                     $32::text[], $33::text[], $34::text[], $35::float8[], $36::float8[], $37::float8[], $38::float8[],
                     $39::text[]
                 ) AS b (
                     id, replica, version, attempt, step, step_state, status, error_code, error_message, waiting_for, release,
                     outcome, trouble_code, trouble_reason, tries, commit_sha, committed_at, image_uri, image_digest,
                     image_pushed_at, execution_arn, last_history_event_id, polling_state, cluster_name, service_name,
                     task_definition, blue_service_arn, green_service_arn, blue_target_group_arn, green_target_group_arn,
                     blue_url, green_url, code_deploy_deployment_id, code_deploy_application_name, blue_latency_ms,
                     green_latency_ms, blue_error_rate, green_error_rate, final_service
                 )
         ), told AS (
             SELECT * FROM unnest(
                     $40::text[], $41::int[], $42::uuid[], $43::text[], $44::text[], $45::text[], $46::int[], $47::text[],
                     $48::jsonb[], $49::jsonb[]
                 ) WITH ORDINALITY AS e (deployment_id, attempt, id, key, code, type, stage, message, details, params, n)
             WHERE NOT EXISTS (SELECT FROM deployment_events x
                               WHERE x.deployment_id = e.deployment_id AND x.attempt = e.attempt AND x.key = e.key)
         ), counted AS (
             SELECT deployment_id, count(*) AS events FROM told GROUP BY deployment_id
         ), before AS (
             SELECT d.id, d.attempt, d.step, coalesce(d.run_started_at, d.step_started_at) AS begun
             FROM deployments d JOIN batch b ON d.id = b.id AND d.replica_id = b.replica AND d.version = b.version
             ORDER BY d.id FOR NO KEY UPDATE OF d
         ), fenced AS (
             UPDATE deployments d SET
                 version = d.version + 1,
                 next_event_seq = d.next_event_seq + coalesce(c.events, 0),
                 claims_without_progress =
                     CASE WHEN b.step IS NOT NULL OR b.last_history_event_id IS NOT NULL OR c.events > 0 THEN 0
                          ELSE d.claims_without_progress END,
                 step = coalesce(b.step, d.step),
                 step_state = coalesce(b.step_state, d.step_state),
                 step_started_at = CASE WHEN b.step IS NULL THEN d.step_started_at ELSE now() END,
                 status = coalesce(b.status, d.status),
                 error_code = coalesce(b.error_code, d.error_code),
                 error_message = coalesce(b.error_message, d.error_message),
                 completed_at = CASE WHEN b.status IN ('COMPLETED', 'FAILED') THEN now() ELSE d.completed_at END,
                 ready_at = CASE WHEN b.status = 'DEPLOYMENT_READY' THEN coalesce(d.ready_at, now()) ELSE d.ready_at END,
                 waiting_for = b.waiting_for,
                 replica_id = CASE WHEN b.release THEN NULL ELSE d.replica_id END,
                 run_started_at = CASE WHEN b.release THEN NULL WHEN b.outcome IS NULL THEN d.run_started_at ELSE now() END,
                 commit_sha = coalesce(b.commit_sha, d.commit_sha),
                 committed_at = coalesce(b.committed_at, d.committed_at),
                 image_uri = coalesce(b.image_uri, d.image_uri),
                 image_digest = coalesce(b.image_digest, d.image_digest),
                 image_pushed_at = coalesce(b.image_pushed_at, d.image_pushed_at),
                 execution_arn = coalesce(b.execution_arn, d.execution_arn),
                 last_history_event_id = coalesce(b.last_history_event_id, d.last_history_event_id),
                 polling_state = coalesce(b.polling_state, d.polling_state),
                 -- What the execution is at, once EnsureInfra is behind it: Stage 4 begins.
                 blue_green_started_at = CASE
                     WHEN b.polling_state IN ('REGISTER_TASK_IN_PROGRESS', 'REGISTER_TASK_COMPLETED', 'DEPLOYMENT_READY', 'SUCCEEDED')
                     THEN coalesce(d.blue_green_started_at, now()) ELSE d.blue_green_started_at END,
                 cluster_name = coalesce(b.cluster_name, d.cluster_name),
                 service_name = coalesce(b.service_name, d.service_name),
                 task_definition = coalesce(b.task_definition, d.task_definition),
                 blue_service_arn = coalesce(b.blue_service_arn, d.blue_service_arn),
                 green_service_arn = coalesce(b.green_service_arn, d.green_service_arn),
                 blue_target_group_arn = coalesce(b.blue_target_group_arn, d.blue_target_group_arn),
                 green_target_group_arn = coalesce(b.green_target_group_arn, d.green_target_group_arn),
                 blue_url = coalesce(b.blue_url, d.blue_url),
                 green_url = coalesce(b.green_url, d.green_url),
                 code_deploy_deployment_id = coalesce(b.code_deploy_deployment_id, d.code_deploy_deployment_id),
                 code_deploy_application_name = coalesce(b.code_deploy_application_name, d.code_deploy_application_name),
                 blue_latency_ms = coalesce(b.blue_latency_ms, d.blue_latency_ms),
                 green_latency_ms = coalesce(b.green_latency_ms, d.green_latency_ms),
                 blue_error_rate = coalesce(b.blue_error_rate, d.blue_error_rate),
                 green_error_rate = coalesce(b.green_error_rate, d.green_error_rate),
                 final_service = coalesce(b.final_service, d.final_service)
             FROM before, batch b LEFT JOIN counted c ON c.deployment_id = b.id
             WHERE d.id = before.id AND b.id = before.id AND d.replica_id = b.replica AND d.version = b.version
             RETURNING d.id, d.version, d.status, coalesce(c.events, 0) AS events, d.next_event_seq - coalesce(c.events, 0) AS first_seq
         ), recorded AS (
             INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, replica_name, started_at, ended_at,
                                    outcome, error_code, reason, tries)
             SELECT fenced.id, fenced.version, before.attempt, before.step, b.replica,
                    (SELECT name FROM replicas WHERE id = b.replica), before.begun, now(),
                    b.outcome, b.trouble_code, b.trouble_reason, b.tries
             FROM fenced JOIN before ON before.id = fenced.id JOIN batch b ON b.id = fenced.id
             WHERE b.outcome IS NOT NULL
         ), inserted AS (
             INSERT INTO deployment_events (deployment_id, seq, id, attempt, key, code, type, stage, message, details, params,
                                            status, place)
             SELECT fenced.id, fenced.first_seq + row_number() OVER (PARTITION BY fenced.id ORDER BY told.n) - 1, told.id,
                    told.attempt, told.key, told.code, told.type, told.stage, told.message, told.details, told.params,
                    fenced.status, (SELECT event_place())
             FROM told JOIN fenced ON fenced.id = told.deployment_id
         )
         SELECT id AS "id!", events AS "events!" FROM fenced