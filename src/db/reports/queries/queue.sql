-- Where deployments wait in the queue
-- Targets with the longest waits, in seconds.
-- chart: longest_seconds
SELECT owner, repo, account_id, region, count(*) AS waits,
       round(avg(extract(epoch FROM coalesce(left_queue_at, now()) - queued_at))::numeric, 1)::float8 AS mean_seconds,
       round(max(extract(epoch FROM coalesce(left_queue_at, now()) - queued_at))::numeric, 1)::float8 AS longest_seconds,
       count(*) FILTER (WHERE left_queue_at IS NULL) AS waiting_now
FROM panda_report.attempts_v1
WHERE queued_at >= {since} AND queued_at < {until}{filters}
GROUP BY owner, repo, account_id, region ORDER BY longest_seconds DESC, owner, repo LIMIT 20;
