-- Results by day
-- Deployments by the day on which they ended: completed with the traffic on green, failed by a fault, or stopped by a caller. Days without any are omitted.
-- chart: completed
SELECT (quarter AT TIME ZONE {zone})::date AS day, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed, sum(stopped)::bigint AS stopped
FROM (
    SELECT date_bin('15 minutes', ended_at, '2000-01-01T00:00:00Z') AS quarter, count(*) FILTER (WHERE on_green) AS completed,
           count(*) FILTER (WHERE outcome = 'failed') AS failed, count(*) FILTER (WHERE outcome IN ('cancelled', 'superseded')) AS stopped
    FROM panda_report.attempts_v1
    WHERE ended_at >= {since} AND ended_at < {until} AND last{filters}
    GROUP BY quarter
) AS quarters
GROUP BY day ORDER BY day;
