-- Slices of the buckets of calls to AWS: see api_budgets.rs.
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::float8[], $5::float8[], $6::float8[], $7::float8[], $8::float8[], $9::boolean[])
        WITH ORDINALITY AS a (account_id, region, call, burst, per_second, first, polls, spare, throttled, place)
), locked AS (
    SELECT a.*, b.tokens, b.refilled_at, b.share, b.shrunk_at, b.waiting
    FROM asked a JOIN api_budgets b ON (b.account_id, b.region, b.call) = (a.account_id, a.region, a.call)
    ORDER BY a.place
    FOR UPDATE OF b
), timed AS (
    -- After the locks: the time for which this statement waited for another replica counts as well.
    SELECT l.*, t.taken_at, extract(epoch FROM t.taken_at)::float8 AS epoch,
           least(1, l.share + coalesce(extract(epoch FROM t.taken_at - l.shrunk_at)::float8 / $11::float8, 1)) AS grown,
           l.throttled AND coalesce(l.shrunk_at < t.taken_at - $12::float8 * interval '1 second', true) AS shrinks
    FROM locked l CROSS JOIN LATERAL (SELECT clock_timestamp() AS taken_at, l.place) t
), levels AS (
    SELECT t.*, CASE WHEN shrinks THEN greatest($13::float8, grown / 2) ELSE grown END AS usable,
           CASE WHEN shrinks THEN 0
                -- Room for one token at least, or a small bucket would never have one.
                ELSE least(greatest(1, burst * grown), tokens + per_second * grown * greatest(0, extract(epoch FROM t.taken_at - t.refilled_at)::float8)) END AS level,
           -- What other replicas asked for in the last seconds, without this one's own.
           (SELECT coalesce(jsonb_object_agg(w.key, w.value), '{}') FROM jsonb_each(t.waiting) w
            WHERE w.key <> $10::text AND (w.value ->> 1)::float8 > t.epoch - 3) AS others
    FROM timed t
), firsts AS (
    SELECT l.*, least(first, floor(level)) AS to_first,
           (SELECT coalesce(sum((w.value ->> 0)::float8), 0) FROM jsonb_each(l.others) w) AS others_polls
    FROM levels l
), shared AS (
    -- Polls leave a tenth of the bucket to calls that cannot wait, and share the rest in proportion; one at least, so that no replica starves.
    SELECT f.*, CASE WHEN polls < 1 OR left_over < 1 THEN 0
                     ELSE least(polls, greatest(1, floor(left_over * polls / (polls + others_polls)))) END AS to_polls
    FROM (SELECT firsts.*, level - to_first - floor(burst * usable / 10) AS left_over FROM firsts) f
), granted AS (
    SELECT s.*, to_first + to_polls + greatest(0, least(spare, floor(level - to_first - to_polls - burst * usable / 2))) AS tokens_granted
    FROM shared s
)
UPDATE api_budgets b
SET tokens = g.level - g.tokens_granted, refilled_at = g.taken_at,
    share = CASE WHEN g.shrinks THEN g.usable ELSE b.share END,
    shrunk_at = CASE WHEN g.shrinks THEN g.taken_at ELSE b.shrunk_at END,
    waiting = g.others || CASE WHEN g.polls > 0 THEN jsonb_build_object($10::text, jsonb_build_array(g.polls, g.epoch)) ELSE '{}' END
FROM granted g
WHERE (b.account_id, b.region, b.call) = (g.account_id, g.region, g.call)
  -- Nothing is taken while a bucket is missing: the statement is repeated once it exists.
  AND (SELECT count(*) FROM locked) = cardinality($1::text[])
RETURNING g.place AS "place!", g.tokens_granted AS "granted!"
