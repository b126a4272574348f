-- How long deployments await approval
-- From ready for the switch until the command to switch, in minutes.
-- chart: median_minutes
SELECT owner, repo, count(*) AS switches,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM switch_requested_at - ready_at)) / 60)::numeric, 1)::float8 AS median_minutes,
       round((max(extract(epoch FROM switch_requested_at - ready_at)) / 60)::numeric, 1)::float8 AS longest_minutes
FROM panda_report.deployments_v1
WHERE switch_requested_at >= {since} AND switch_requested_at < {until} AND ready_at IS NOT NULL{filters}
GROUP BY owner, repo ORDER BY median_minutes DESC, owner, repo LIMIT 20;
