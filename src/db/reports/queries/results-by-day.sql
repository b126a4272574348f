-- Results by day
-- Deployments by the day on which they ended: completed with the traffic on green, failed by a fault, or stopped by a caller. Days without any are omitted.
-- chart: completed
SELECT (completed_at AT TIME ZONE {zone})::date AS day, count(*) FILTER (WHERE outcome = 'completed' AND final_service = 'green') AS completed,
       count(*) FILTER (WHERE outcome = 'failed') AS failed, count(*) FILTER (WHERE outcome IN ('cancelled', 'superseded')) AS stopped
FROM panda_report.deployments_v1
WHERE completed_at >= {since} AND completed_at < {until}{filters}
GROUP BY day ORDER BY day;
