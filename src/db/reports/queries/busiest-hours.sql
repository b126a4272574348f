-- The busiest hours
-- Requested deployments, and attempts that a fault ended, by hour of the day.
-- chart: started
SELECT date_part('hour', quarter AT TIME ZONE {zone})::int AS hour_of_day, sum(started)::bigint AS started, sum(failed)::bigint AS failed
FROM (
    SELECT date_bin('15 minutes', deployment_started_at, '2000-01-01T00:00:00Z') AS quarter, count(*) AS started, 0 AS failed
    FROM panda_report.attempts_v1
    WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND attempt = 1{filters}
    GROUP BY 1
    UNION ALL
    SELECT date_bin('15 minutes', ended_at, '2000-01-01T00:00:00Z'), 0, count(*)
    FROM panda_report.attempts_v1
    WHERE ended_at >= {since} AND ended_at < {until} AND outcome = 'failed'{filters}
    GROUP BY 1
) AS quarters
GROUP BY hour_of_day ORDER BY hour_of_day;
