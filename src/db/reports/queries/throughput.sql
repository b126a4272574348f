-- Activity by day
-- Requested deployments, and results of attempts.
-- chart: started
SELECT (quarter AT TIME ZONE {zone})::date AS day, sum(started)::bigint AS started, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed,
       sum(stopped)::bigint AS stopped, sum(retried)::bigint AS retried
FROM (
    SELECT date_bin('15 minutes', deployment_started_at, '2000-01-01T00:00:00Z') AS quarter, count(*) AS started, 0 AS completed, 0 AS failed, 0 AS stopped,
           0 AS retried
    FROM panda_report.attempts_v1
    WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND attempt = 1{filters}
    GROUP BY 1
    UNION ALL
    SELECT date_bin('15 minutes', started_at, '2000-01-01T00:00:00Z'), 0, 0, 0, 0, count(*)
    FROM panda_report.attempts_v1
    WHERE started_at >= {since} AND started_at < {until} AND attempt > 1{filters}
    GROUP BY 1
    UNION ALL
    SELECT date_bin('15 minutes', ended_at, '2000-01-01T00:00:00Z'), 0, count(*) FILTER (WHERE on_green), count(*) FILTER (WHERE outcome = 'failed'),
           count(*) FILTER (WHERE outcome IN ('cancelled', 'superseded')), 0
    FROM panda_report.attempts_v1
    WHERE ended_at >= {since} AND ended_at < {until}{filters}
    GROUP BY 1
) AS quarters
GROUP BY day ORDER BY day;
