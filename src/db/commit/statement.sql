WITH batch AS (
             SELECT * FROM unnest(
                     $1::text[], $2::uuid[], $3::bigint[], $4::int[], $5::text[], $6::jsonb[], $7::text[], $8::jsonb[],
                     $9::jsonb[], $10::bool[], $11::text[], $12::jsonb[], $13::int[], $14::jsonb[], $15::bool[], $16::bool[],
                     $17::jsonb[]
                 ) AS b (
                     id, replica, version, attempt, step, step_state, status, error, waiting_for, release, outcome, trouble,
                     tries, facts, beyond_infra, watched, history
                 )
         ), new_events AS (
             SELECT e.*, b.attempt FROM unnest(
                     $18::text[], $19::uuid[], $20::text[], $21::text[], $22::text[], $23::int[], $24::text[], $25::jsonb[],
                     $26::jsonb[]
                 ) WITH ORDINALITY AS e (deployment_id, id, key, code, type, stage, message, details, params, n)
             JOIN batch b ON b.id = e.deployment_id
             WHERE NOT EXISTS (SELECT FROM deployment_events x
                               WHERE x.deployment_id = e.deployment_id AND x.attempt = b.attempt AND x.key = e.key)
         ), counted AS (
             SELECT deployment_id, count(*) AS events FROM new_events GROUP BY deployment_id
         ), before AS (
             SELECT d.id, d.attempt, d.step, coalesce(d.run_started_at, d.step_started_at) AS begun
             FROM deployments d JOIN batch b ON d.id = b.id AND d.replica_id = b.replica AND d.version = b.version
             ORDER BY d.id FOR NO KEY UPDATE OF d
         ), fenced AS (
             UPDATE deployments d SET
                 version = d.version + 1,
                 next_event_seq = d.next_event_seq + coalesce(c.events, 0),
                 claims_without_progress =
                     CASE WHEN b.step IS NOT NULL OR b.release OR b.facts ? 'last_history_event_id' OR c.events > 0 THEN 0
                          ELSE d.claims_without_progress END,
                 step = coalesce(b.step, d.step),
                 step_state = coalesce(b.step_state, d.step_state),
                 step_started_at = CASE WHEN b.step IS NULL THEN d.step_started_at ELSE now() END,
                 status = coalesce(b.status, d.status),
                 error_code = coalesce(b.error ->> 'code', d.error_code),
                 error_message = coalesce(b.error ->> 'message', d.error_message),
                 completed_at = CASE WHEN b.status IN ('COMPLETED', 'FAILED') THEN now() ELSE d.completed_at END,
                 traffic_moved_at = CASE WHEN b.status = 'COMPLETED' OR before.step = 'confirm_switch' AND b.step = 'check_gates' THEN coalesce(d.traffic_moved_at, now()) ELSE d.traffic_moved_at END,
                 ready_at = CASE WHEN b.status = 'DEPLOYMENT_READY' THEN coalesce(d.ready_at, now()) ELSE d.ready_at END,
                 waiting_for = b.waiting_for ->> 'text',
                 waiting_for_form = nullif(b.waiting_for -> 'form', 'null'),
                 replica_id = CASE WHEN b.release THEN NULL ELSE d.replica_id END,
                 look_requested_at = CASE WHEN b.release OR b.status = 'RUNNING' THEN NULL ELSE d.look_requested_at END,
                 -- A request that arrived while another step looked is not answered yet.
                 rollback_requested_at = CASE WHEN b.release AND before.step = 'roll_back' AND coalesce(b.status, d.status) = 'COMPLETED' THEN NULL
                                              ELSE d.rollback_requested_at END,
                 -- An approval is for one pause of the rollout, and ends when a gate or the listener guard refuses it.
                 switch_requested_at = CASE WHEN b.release AND before.step IN ('check_gates', 'switch_traffic', 'confirm_switch')
                                                 AND coalesce(b.status, d.status) = 'DEPLOYMENT_READY' THEN NULL
                                            ELSE d.switch_requested_at END,
                 switch_audit_id = CASE WHEN b.release AND before.step IN ('check_gates', 'switch_traffic', 'confirm_switch')
                                             AND coalesce(b.status, d.status) = 'DEPLOYMENT_READY' THEN NULL
                                        ELSE d.switch_audit_id END,
                 watched = coalesce(b.watched, CASE WHEN b.status IS NULL THEN d.watched ELSE b.status = 'DEPLOYMENT_READY' END),
                 run_started_at = CASE WHEN b.release THEN NULL WHEN b.outcome IS NULL THEN d.run_started_at ELSE now() END,
                 facts = CASE WHEN b.facts IS NULL THEN d.facts ELSE d.facts || b.facts END,
                 blue_green_started_at = CASE WHEN b.beyond_infra THEN coalesce(d.blue_green_started_at, now()) ELSE d.blue_green_started_at END
             FROM before, batch b LEFT JOIN counted c ON c.deployment_id = b.id
             WHERE d.id = before.id AND b.id = before.id AND d.replica_id = b.replica AND d.version = b.version
             RETURNING d.id, d.version, d.status, coalesce(c.events, 0) AS events, d.next_event_seq - coalesce(c.events, 0) AS first_seq
         ), recorded AS (
             INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, replica_name, started_at, ended_at,
                                    outcome, error_code, reason, tries)
             SELECT fenced.id, fenced.version, before.attempt, before.step, b.replica,
                    (SELECT name FROM replicas WHERE id = b.replica), before.begun, now(),
                    b.outcome, b.trouble ->> 'code', b.trouble ->> 'reason', b.tries
             FROM fenced JOIN before ON before.id = fenced.id JOIN batch b ON b.id = fenced.id
             WHERE b.outcome IS NOT NULL
         ), kept_history AS (
             INSERT INTO history_pieces (deployment_id, version, attempt, execution_arn, first_event_id, last_event_id, events)
             SELECT fenced.id, fenced.version, b.attempt, b.history ->> 'execution_arn', (b.history ->> 'first_event_id')::bigint,
                    (b.history ->> 'last_event_id')::bigint, b.history ->> 'events'
             FROM fenced JOIN batch b ON b.id = fenced.id
             WHERE b.history IS NOT NULL
         ), inserted AS (
             INSERT INTO deployment_events (deployment_id, seq, id, attempt, key, code, type, stage, message, details, params,
                                            status, place)
             SELECT fenced.id, fenced.first_seq + row_number() OVER (PARTITION BY fenced.id ORDER BY new_events.n) - 1, new_events.id,
                    new_events.attempt, new_events.key, new_events.code, new_events.type, new_events.stage, new_events.message, new_events.details, new_events.params,
                    fenced.status, (SELECT event_place())
             FROM new_events JOIN fenced ON fenced.id = new_events.deployment_id
         )
         SELECT id AS "id!", events AS "events!" FROM fenced