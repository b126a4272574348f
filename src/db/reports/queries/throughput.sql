-- Activity by day
-- Requested deployments, and results of attempts.
-- chart: started
SELECT (hour AT TIME ZONE {zone})::date AS day, sum(started)::bigint AS started, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed,
       (sum(cancelled) + sum(superseded))::bigint AS stopped, sum(retried)::bigint AS retried
FROM panda_report.throughput_v1
WHERE hour >= {since} AND hour < {until}{filters}
GROUP BY day ORDER BY day;
