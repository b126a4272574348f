-- Failures by cause
-- Faults by code and stage, without cancelled deployments.
-- chart: failed_attempts
SELECT error_code, stage, count(*) AS failed_attempts, count(*) FILTER (WHERE retried) AS retried, max(failed_at) AS last_failed_at
FROM panda_report.failures_v1
WHERE failed_at >= {since} AND failed_at < {until} AND outcome = 'failed'{filters}
GROUP BY error_code, stage ORDER BY failed_attempts DESC, error_code, stage;
