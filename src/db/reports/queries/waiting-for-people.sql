-- How long deployments await approval
-- From ready for the switch until the command to switch, in minutes.
-- chart: median_minutes
SELECT owner, repo, switches, round((median / 60)::numeric, 1)::float8 AS median_minutes, round((longest / 60)::numeric, 1)::float8 AS longest_minutes
FROM (
    SELECT owner, repo, count(*) AS switches, max(awaited_seconds) AS longest, array_agg(awaited_seconds) AS waits
    FROM panda_report.attempts_v1
    WHERE switch_requested_at >= {since} AND switch_requested_at < {until} AND awaited_seconds IS NOT NULL AND last{filters}
    GROUP BY owner, repo
) AS repositories CROSS JOIN LATERAL (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median FROM unnest(waits) AS seconds) AS medians
ORDER BY median_minutes DESC, owner, repo LIMIT 20;
