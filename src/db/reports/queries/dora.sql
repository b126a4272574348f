-- The DORA figures by month
-- Change lead time, deployment frequency, failed deployment recovery time, change fail rate and rework rate, as dora.dev defines them since 2024, by the month in which the traffic moved. Deploying the same commit again counts apart.
-- chart: deployments
SELECT date_trunc('month', at AT TIME ZONE {zone})::date AS month, CASE WHEN {level} <> 'all' THEN owner END AS owner,
       CASE WHEN {level} IN ('repository', 'branch') THEN repo END AS repo, CASE WHEN {level} = 'branch' THEN branch END AS branch{groups},
       count(*) FILTER (WHERE NOT redeployment) AS deployments, count(*) FILTER (WHERE redeployment) AS redeployments,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY lead_time_seconds) / 3600)::numeric, 1)::float8 AS lead_time_hours,
       round((100 * count(*) FILTER (WHERE failed) / nullif(count(*) FILTER (WHERE NOT redeployment), 0)::float8)::numeric, 1)::float8 AS change_fail_percent,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY recovery_seconds) / 3600)::numeric, 1)::float8 AS recovery_hours,
       round((100 * count(*) FILTER (WHERE rework) / nullif(count(*) FILTER (WHERE NOT redeployment), 0)::float8)::numeric, 1)::float8 AS rework_percent
FROM panda_report.dora_occurrences_v2
WHERE at >= {since} AND at < {until}{filters}
GROUP BY 1, 2, 3, 4{by} ORDER BY 1, 2, 3, 4{by};
