-- The slowest stages
-- Working time and time awaiting approval, in seconds, of the ended attempts of deployments requested in the period. Of more than 100,000 attempts, the slowest tenth is that of a random 100,000.
-- chart: mean_working_seconds
SELECT stage, times, round(mean::numeric, 1)::float8 AS mean_working_seconds, round(tenth::numeric, 1)::float8 AS slowest_tenth_seconds,
       round(waiting::numeric, 1)::float8 AS mean_waiting_seconds
FROM (
    SELECT count(*) AS attempts, avg(stage_4_waiting) AS waiting_6,
           count(step_1_seconds) AS times_1, avg(step_1_seconds) AS mean_1,
           count(step_2_seconds) AS times_2, avg(step_2_seconds) AS mean_2,
           count(stage_1_seconds) AS times_3, avg(stage_1_seconds) AS mean_3,
           count(stage_2_seconds) AS times_4, avg(stage_2_seconds) AS mean_4,
           count(stage_3_seconds) AS times_5, avg(stage_3_seconds) AS mean_5,
           count(stage_4_seconds) AS times_6, avg(stage_4_seconds) AS mean_6,
           count(retry_seconds) AS times_7, avg(retry_seconds) AS mean_7,
           count(cancel_seconds) AS times_8, avg(cancel_seconds) AS mean_8
    FROM panda_report.attempts_v1
    WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND ended_at IS NOT NULL{filters}
) AS sums CROSS JOIN LATERAL (
    SELECT percentile_cont(0.9) WITHIN GROUP (ORDER BY step_1_seconds) AS tenth_1,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY step_2_seconds) AS tenth_2,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY stage_1_seconds) AS tenth_3,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY stage_2_seconds) AS tenth_4,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY stage_3_seconds) AS tenth_5,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY stage_4_seconds) AS tenth_6,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY retry_seconds) AS tenth_7,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY cancel_seconds) AS tenth_8
    FROM panda_report.attempts_v1
    WHERE deployment_started_at >= {since} AND deployment_started_at < {until} AND ended_at IS NOT NULL
      AND sample < 102400000 / greatest(attempts, 1){filters}
) AS sampled CROSS JOIN LATERAL (VALUES
    ('Step 1', times_1, mean_1, tenth_1, 0),
    ('Step 2', times_2, mean_2, tenth_2, 0),
    ('Stage 1', times_3, mean_3, tenth_3, 0),
    ('Stage 2', times_4, mean_4, tenth_4, 0),
    ('Stage 3', times_5, mean_5, tenth_5, 0),
    ('Stage 4', times_6, mean_6, tenth_6, waiting_6),
    ('Retry', times_7, mean_7, tenth_7, 0),
    ('Cancel', times_8, mean_8, tenth_8, 0)
) AS stages (stage, times, mean, tenth, waiting)
WHERE times > 0 ORDER BY mean_working_seconds DESC, stage;
