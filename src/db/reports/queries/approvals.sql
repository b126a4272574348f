-- Who approved what
-- Switches, cancellations and retries with their callers, newest first; refused requests too.
-- chart: none
SELECT at, subject, role, action, result, error_code, owner, repo, branch, deployment_id, attempt
FROM panda_report.approvals_v2
WHERE at >= {since} AND at < {until}{filters}
ORDER BY at DESC LIMIT 100;
