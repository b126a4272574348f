-- Where deployments wait in the queue
-- Targets with the longest waits, in seconds.
-- chart: longest_seconds
SELECT owner, repo, account_id, region, count(*) AS waits, round(avg(waited_seconds)::numeric, 1)::float8 AS mean_seconds,
       round(max(waited_seconds)::numeric, 1)::float8 AS longest_seconds, count(*) FILTER (WHERE state = 'waiting') AS waiting_now
FROM panda_report.queue_v1
WHERE queued_at >= {since} AND queued_at < {until}{filters}
GROUP BY owner, repo, account_id, region ORDER BY longest_seconds DESC, owner, repo LIMIT 20;
