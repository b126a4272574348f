-- Lead time by phase
-- Completed deployments, in seconds: from the commit to the request, earlier attempts, the queue, until green was ready (deploy), until the command to switch (approval), until the traffic was on green (switch). The means add up to the mean lead time.
-- chart: mean_seconds
SELECT phase, count(*) AS deployments, round(avg(seconds)::numeric, 1)::float8 AS mean_seconds,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds))::numeric, 1)::float8 AS median_seconds,
       round((percentile_cont(0.9) WITHIN GROUP (ORDER BY seconds))::numeric, 1)::float8 AS slowest_tenth_seconds
FROM panda_report.deployments_v1
CROSS JOIN LATERAL (VALUES
    (1, 'request', committed_at, started_at),
    (2, 'earlier_attempts', started_at, coalesce(queued_at, attempt_started_at)),
    (3, 'queue', coalesce(queued_at, attempt_started_at), attempt_started_at),
    (4, 'deploy', attempt_started_at, coalesce(ready_at, completed_at)),
    (5, 'approval', coalesce(ready_at, completed_at), coalesce(switch_requested_at, completed_at)),
    (6, 'switch', coalesce(switch_requested_at, completed_at), completed_at)
) AS phases (place, phase, began, ended)
CROSS JOIN LATERAL (SELECT extract(epoch FROM greatest(ended, committed_at) - greatest(began, committed_at))::float8 AS seconds) AS lasted
WHERE completed_at >= {since} AND completed_at < {until} AND lead_time_seconds IS NOT NULL{filters}
GROUP BY place, phase ORDER BY place;
