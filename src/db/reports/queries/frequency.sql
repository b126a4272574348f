-- Deployment frequency by day
-- Days without a completed deployment are omitted.
-- chart: deployments
SELECT day, owner, repo, branch, deployments
FROM panda_report.dora_daily_v1
WHERE level = {level} AND day >= ({since} AT TIME ZONE 'UTC')::date AND day < {until} AT TIME ZONE 'UTC' AND deployments > 0{filters}
ORDER BY day, owner, repo, branch;
