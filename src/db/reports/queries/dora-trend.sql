-- The DORA figures, compared with the period before
-- Figures of the whole period, and of the equally long one before it; medians are over single changes and recoveries. A period without any deployment is omitted.
-- chart: deployments
SELECT period, deployments, redeployments,
       round((86400 * deployments / extract(epoch FROM {until} - {since}))::numeric, 2)::float8 AS deployments_per_day,
       changes, round(lead_time_median::numeric, 1)::float8 AS lead_time_median_seconds, failed_deployments,
       round((100 * failed_deployments / nullif(deployments, 0)::float8)::numeric, 1)::float8 AS change_fail_percent,
       recoveries, round(recovery_median::numeric, 1)::float8 AS recovery_time_median_seconds, rework_deployments,
       round((100 * rework_deployments / nullif(deployments, 0)::float8)::numeric, 1)::float8 AS rework_percent
FROM (VALUES ('this', {since}, {until}), ('before', {since} - ({until} - {since}), {since})) AS periods (period, since, before)
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE NOT redeployment) AS deployments, count(*) FILTER (WHERE redeployment) AS redeployments,
           count(*) FILTER (WHERE change) AS changes, percentile_cont(0.5) WITHIN GROUP (ORDER BY lead_time_seconds) AS lead_time_median,
           count(*) FILTER (WHERE failed) AS failed_deployments, count(recovery_seconds) AS recoveries,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY recovery_seconds) AS recovery_median, count(*) FILTER (WHERE rework) AS rework_deployments
    FROM panda_report.dora_occurrences_v2
    WHERE at >= since AND at < before{filters}
) AS figures
WHERE deployments + redeployments > 0
ORDER BY period DESC;
