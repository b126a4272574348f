-- The slowest stages
-- Working time and time awaiting approval, in seconds, of deployments requested in the period.
-- chart: mean_working_seconds
SELECT stage, count(*) AS times, round(avg(working_seconds)::numeric, 1)::float8 AS mean_working_seconds,
       round((percentile_cont(0.9) WITHIN GROUP (ORDER BY working_seconds))::numeric, 1)::float8 AS slowest_tenth_seconds,
       round(avg(waiting_seconds)::numeric, 1)::float8 AS mean_waiting_seconds
FROM panda_report.stages_v1
WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND ended_at IS NOT NULL{filters}
GROUP BY stage ORDER BY mean_working_seconds DESC;
