-- Who deploys most
-- Deployments by the caller of their last attempt.
-- chart: deployments
SELECT started_by, count(*) AS deployments, count(DISTINCT (owner, repo)) AS repositories, max(started_at) AS last_started_at
FROM panda_report.deployments_v1
WHERE started_at >= {since} AND started_at < {until}{filters}
GROUP BY started_by ORDER BY deployments DESC, started_by LIMIT 20;
