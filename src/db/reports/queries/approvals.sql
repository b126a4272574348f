-- Who approved what
-- Switches, cancellations and retries with their callers, newest first.
-- chart: none
SELECT at, subject, role, action, owner, repo, branch, deployment_id, attempt
FROM panda_report.approvals_v1
WHERE at >= {since} AND at < {until}{filters}
ORDER BY at DESC LIMIT 100;
