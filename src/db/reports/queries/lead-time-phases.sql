-- Lead time by phase
-- Of changes, in seconds: from the commit to the request, earlier attempts, the queue, until green was ready (deploy), until the command to switch (approval), until the traffic was on green (switch). The means add up to the mean lead time; of more than 100,000 changes, median and tenth are those of a random 100,000.
-- chart: mean_seconds
SELECT phase, deployments, round(mean::numeric, 1)::float8 AS mean_seconds, round(shares[1]::numeric, 1)::float8 AS median_seconds,
       round(shares[2]::numeric, 1)::float8 AS slowest_tenth_seconds
FROM (
    SELECT count(*) AS deployments, avg(request_seconds) AS mean_1,
           avg(earlier_seconds) AS mean_2,
           avg(queue_seconds) AS mean_3,
           avg(deploy_seconds) AS mean_4,
           avg(approval_seconds) AS mean_5,
           avg(switch_seconds) AS mean_6
    FROM panda_report.attempts_v1
    WHERE moved_at >= {since} AND moved_at < {until} AND change AND lead_seconds IS NOT NULL{filters}
) AS sums CROSS JOIN LATERAL (
    SELECT percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY request_seconds) AS shares_1,
           percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY earlier_seconds) AS shares_2,
           percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY queue_seconds) AS shares_3,
           percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY deploy_seconds) AS shares_4,
           percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY approval_seconds) AS shares_5,
           percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY switch_seconds) AS shares_6
    FROM panda_report.attempts_v1
    WHERE moved_at >= {since} AND moved_at < {until} AND change AND lead_seconds IS NOT NULL
      AND sample < 102400000 / greatest(deployments, 1){filters}
) AS sampled CROSS JOIN LATERAL (VALUES
    (1, 'request', mean_1, shares_1),
    (2, 'earlier_attempts', mean_2, shares_2),
    (3, 'queue', mean_3, shares_3),
    (4, 'deploy', mean_4, shares_4),
    (5, 'approval', mean_5, shares_5),
    (6, 'switch', mean_6, shares_6)
) AS phases (place, phase, mean, shares)
WHERE deployments > 0 ORDER BY place;
