-- The four DORA figures by month
-- Deployment frequency, lead time for changes, change failure rate and time to restore.
-- chart: deployments
SELECT month, owner, repo, branch, deployments, round((lead_time_median_seconds / 3600)::numeric, 1)::float8 AS lead_time_hours,
       round((100 * change_failure_rate)::numeric, 1)::float8 AS change_failure_percent,
       round((time_to_restore_median_seconds / 3600)::numeric, 1)::float8 AS time_to_restore_hours
FROM panda_report.dora_monthly_v1
WHERE level = {level} AND month >= date_trunc('month', {since} AT TIME ZONE 'UTC') AND month < {until} AT TIME ZONE 'UTC'{filters}
ORDER BY month, owner, repo, branch;
