-- The state that each replica polls every ten seconds: see shared_state.rs.
SELECT counts.*,
       f.filter AS "filter?", f.set_by AS "set_by?", f.set_at AS "set_at?", f.until AS "until?",
       extract(epoch FROM f.until - clock_timestamp())::float8 AS filter_seconds,
       stuck.id AS "stuck_id?", stuck.step AS "stuck_step?", stuck.replica AS "stuck_replica?", stuck.seconds AS "stuck_seconds?",
       CASE WHEN $4 THEN ARRAY (SELECT advance_sequences()) ELSE '{}'::text[] END AS "advanced_sequences!",
       EXISTS (SELECT FROM deployments q
               WHERE q.queued AND q.status IN ('RUNNING', 'DEPLOYMENT_READY') AND q.cancel_requested_at IS NULL
                 AND NOT EXISTS (SELECT FROM deployments h
                                 WHERE (h.account_id, h.region, h.ecr_repository) = (q.account_id, q.region, q.ecr_repository)
                                   AND h.status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT h.queued)) AS "queue_may_start!",
       EXISTS (SELECT FROM deployments WHERE status = 'DEPLOYMENT_READY' AND NOT queued AND switch_requested_at IS NULL
                                         AND policy ? 'autoSwitch') AS "automatic_switches!",
       EXISTS (SELECT FROM maintenance_runs WHERE state IN ('requested', 'running')) AS "maintenance!",
       EXISTS (SELECT FROM schedules WHERE next_run_at IS NOT NULL) AS "schedules!",
       EXISTS (SELECT FROM receivers WHERE disabled_at IS NULL) AS "receivers!",
       (SELECT count(*) FROM deployments WHERE watched) AS "watched!",
       (SELECT extract(epoch FROM min(ends_at) - clock_timestamp())::float8 FROM freezes
        WHERE lifted_at IS NULL AND ends_at > clock_timestamp()) AS freeze_seconds
FROM (SELECT count(*) FILTER (WHERE status = 'RUNNING' AND NOT queued) AS "running!", count(*) FILTER (WHERE queued) AS "queued!",
             count(*) FILTER (WHERE status = 'DEPLOYMENT_READY' AND NOT queued) AS "ready!",
             count(*) FILTER (WHERE active AND step = ANY ($1::text[]) AND replica_id IS NULL) AS "waiting_for_build!",
             count(*) FILTER (WHERE facts @> '{"awaits_renewal": true}') AS "awaiting_renewal!"
      FROM (SELECT status, queued, active, step, replica_id, facts FROM deployments
            WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT queued
            UNION ALL
            SELECT status, queued, active, step, replica_id, NULL FROM deployments
            WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND queued) unfinished) counts
LEFT JOIN log_filter f ON true
LEFT JOIN LATERAL (
    SELECT d.id, d.step, holder.name AS replica, extract(epoch FROM clock_timestamp() - due.at)::float8 AS seconds
    FROM deployments d
    LEFT JOIN unnest($2::text[], $3::float8[]) AS limits (step, seconds) ON limits.step = d.step
    LEFT JOIN replicas r ON r.id = d.replica_id
    LEFT JOIN replicas holder ON holder.id = r.id
          AND r.heartbeat_at + r.lease_ms * interval '1 millisecond' > clock_timestamp()
    CROSS JOIN LATERAL (SELECT CASE WHEN holder.id IS NOT NULL
        THEN d.step_started_at + coalesce(limits.seconds, 0) * interval '1 second'
        ELSE greatest(d.step_started_at, d.switch_requested_at, d.cancel_requested_at,
                      d.look_requested_at, d.rollback_requested_at, r.heartbeat_at + r.lease_ms * interval '1 millisecond',
                      (SELECT max(ended_at) FROM step_runs s WHERE s.deployment_id = d.id)) END AS at) due
    WHERE d.active AND due.at < clock_timestamp()
    ORDER BY due.at LIMIT 1) stuck ON true
