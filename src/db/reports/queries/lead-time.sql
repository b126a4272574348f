-- Lead time by week
-- Of changes: from the commit until its traffic was on green, the median and the slowest tenth, in hours; weeks begin on Monday.
-- chart: median_hours
SELECT date_trunc('week', at AT TIME ZONE {zone})::date AS week, count(*) AS deployments,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY lead_time_seconds) / 3600)::numeric, 2)::float8 AS median_hours,
       round((percentile_cont(0.9) WITHIN GROUP (ORDER BY lead_time_seconds) / 3600)::numeric, 2)::float8 AS slowest_tenth_hours
FROM panda_report.dora_occurrences_v2
WHERE at >= {since} AND at < {until} AND lead_time_seconds IS NOT NULL{filters}
GROUP BY week ORDER BY week;
