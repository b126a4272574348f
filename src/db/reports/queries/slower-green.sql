-- Where green responded more slowly than blue
-- Medians of the health checks before the switch, in milliseconds.
-- chart: times_as_slow
SELECT deployment_id, owner, repo, branch, CASE WHEN version NOT LIKE 'sha256:%' THEN version END AS commit_sha,
       round(blue_latency_ms::numeric, 1)::float8 AS blue_ms, round(green_latency_ms::numeric, 1)::float8 AS green_ms,
       round((green_latency_ms / blue_latency_ms)::numeric, 2)::float8 AS times_as_slow
FROM panda_report.attempts_v1
WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND last AND blue_latency_ms > 0 AND green_latency_ms > blue_latency_ms{filters}
ORDER BY times_as_slow DESC LIMIT 20;
