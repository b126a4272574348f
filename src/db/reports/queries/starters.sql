-- Who deploys most
-- Deployments by the caller of their last attempt.
-- chart: deployments
SELECT started_by, sum(times)::bigint AS deployments, count(*) AS repositories, max(last_at) AS last_started_at
FROM (
    SELECT started_by, owner, repo, count(*) AS times, max(deployment_started_at) AS last_at FROM panda_report.attempts_v1
    WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND last{filters}
    GROUP BY started_by, owner, repo
) AS each
GROUP BY started_by ORDER BY deployments DESC, started_by LIMIT 20;
