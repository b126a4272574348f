-- Deployments with several attempts
-- Retried deployments and their results.
-- chart: attempts
SELECT deployment_id, owner, repo, branch, attempt AS attempts, outcome, error_code, deployment_started_at AS started_at, ended_at AS completed_at
FROM panda_report.attempts_v1
WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND attempt > 1 AND last{filters}
ORDER BY attempts DESC, started_at DESC LIMIT 50;
