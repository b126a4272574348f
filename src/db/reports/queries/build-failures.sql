-- Which repositories fail at build
-- Attempts that a fault ended in Stage 1 (clone, Dockerfile, build).
-- chart: failed_attempts
SELECT owner, repo, count(*) AS failed_attempts, count(DISTINCT deployment_id) AS deployments, max(ended_at) AS last_failed_at
FROM panda_report.attempts_v1
WHERE ended_at >= {since} AND ended_at < {until} AND outcome = 'failed' AND stage = 'Stage 1'{filters}
GROUP BY owner, repo ORDER BY failed_attempts DESC, owner, repo LIMIT 20;
