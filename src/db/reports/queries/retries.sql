-- Deployments with several attempts
-- Retried deployments and their results.
-- chart: attempts
SELECT deployment_id, owner, repo, branch, attempts, outcome, error_code, started_at, completed_at
FROM panda_report.deployments_v1
WHERE started_at >= {since} AND started_at < {until} AND attempts > 1{filters}
ORDER BY attempts DESC, started_at DESC LIMIT 50;
