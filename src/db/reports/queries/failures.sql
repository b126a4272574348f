-- Failures by cause
-- Faults by code and stage, without cancelled deployments.
-- chart: failed_attempts
SELECT error_code, stage, count(*) AS failed_attempts, count(*) FILTER (WHERE NOT last) AS retried, max(ended_at) AS last_failed_at
FROM panda_report.attempts_v1
WHERE ended_at >= {since} AND ended_at < {until} AND outcome = 'failed'{filters}
GROUP BY error_code, stage ORDER BY failed_attempts DESC, error_code, stage;
