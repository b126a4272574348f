-- Results by repository
-- Deployments by result, and the duration of completed ones, in minutes.
-- chart: deployments
SELECT owner, repo, count(*) AS deployments, count(*) FILTER (WHERE outcome = 'completed') AS completed,
       count(*) FILTER (WHERE outcome = 'failed') AS failed, count(*) FILTER (WHERE outcome IN ('cancelled', 'superseded')) AS stopped,
       round((avg(extract(epoch FROM ended_at - deployment_started_at)) FILTER (WHERE outcome = 'completed') / 60)::numeric, 1)::float8 AS mean_minutes
FROM panda_report.attempts_v1
WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND last{filters}
GROUP BY owner, repo ORDER BY deployments DESC, owner, repo LIMIT 50;
