-- The four DORA figures, compared with the period before
-- Figures of the whole period, and of the equally long one before it; medians are over single deployments and restores.
-- chart: deployments
SELECT CASE WHEN at >= {since} THEN 'this' ELSE 'before' END AS period, count(*) FILTER (WHERE kind = 'deployment') AS deployments,
       round((86400 * count(*) FILTER (WHERE kind = 'deployment') / extract(epoch FROM {until} - {since}))::numeric, 2)::float8 AS deployments_per_day,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY lead_time_seconds))::numeric, 1)::float8 AS lead_time_median_seconds,
       count(*) FILTER (WHERE kind = 'change') AS changes, count(*) FILTER (WHERE failed) AS failed_changes,
       round((100 * count(*) FILTER (WHERE failed) / nullif(count(*) FILTER (WHERE kind = 'change'), 0)::float8)::numeric, 1)::float8
           AS change_failure_percent,
       count(*) FILTER (WHERE kind = 'restore') AS restores,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY restore_seconds))::numeric, 1)::float8 AS time_to_restore_median_seconds
FROM panda_report.dora_occurrences_v1
WHERE at >= {since} - ({until} - {since}) AND at < {until}{filters}
GROUP BY period ORDER BY period DESC;
