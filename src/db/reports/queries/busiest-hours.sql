-- The busiest hours
-- Requested deployments by hour of the day.
-- chart: started
SELECT extract(hour FROM hour AT TIME ZONE {zone})::int AS hour_of_day, sum(started)::bigint AS started, sum(failed)::bigint AS failed
FROM panda_report.throughput_v1
WHERE hour >= {since} AND hour < {until}{filters}
GROUP BY hour_of_day ORDER BY hour_of_day;
