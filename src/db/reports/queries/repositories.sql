-- Results by repository
-- Deployments by result, and the duration of completed ones, in minutes.
-- chart: deployments
SELECT owner, repo, count(*) AS deployments, count(*) FILTER (WHERE outcome = 'completed') AS completed,
       count(*) FILTER (WHERE outcome = 'failed') AS failed, count(*) FILTER (WHERE outcome IN ('cancelled', 'superseded')) AS stopped,
       round((avg(duration_seconds) FILTER (WHERE outcome = 'completed') / 60)::numeric, 1)::float8 AS mean_minutes
FROM panda_report.deployments_v1
WHERE started_at >= {since} AND started_at < {until}{filters}
GROUP BY owner, repo ORDER BY deployments DESC, owner, repo LIMIT 50;
