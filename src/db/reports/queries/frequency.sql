-- Deployment frequency by day
-- Deployments by the day on which the traffic moved; deploying the same commit again counts apart. Days without any are omitted.
-- chart: deployments
SELECT (at AT TIME ZONE {zone})::date AS day, CASE WHEN {level} <> 'all' THEN owner END AS owner,
       CASE WHEN {level} IN ('repository', 'branch') THEN repo END AS repo, CASE WHEN {level} = 'branch' THEN branch END AS branch{groups},
       count(*) FILTER (WHERE NOT redeployment) AS deployments, count(*) FILTER (WHERE redeployment) AS redeployments
FROM panda_report.dora_occurrences_v2
WHERE at >= {since} AND at < {until}{filters}
GROUP BY 1, 2, 3, 4{by} ORDER BY 1, 2, 3, 4{by};
