-- What to deploy, beside a branch: docs/decisions/0037-what-to-deploy.md.

-- No branch has a space in its name: a program from before this migration refuses what is none, instead of deploying something else.
COMMENT ON COLUMN deployments.branch IS 'Branch; or what was asked for instead: "tag NAME", "commit ID" or "image DIGEST".';
COMMENT ON COLUMN archived_deployments.branch IS 'Branch; or what was asked for instead: "tag NAME", "commit ID" or "image DIGEST".';
COMMENT ON COLUMN schedules.branch IS 'Branch that is deployed; or what is deployed instead: "tag NAME", "commit ID" or "image DIGEST".';

ALTER TABLE deployments
    ADD COLUMN build jsonb CHECK (jsonb_typeof(build) = 'object'),
    ADD COLUMN reason text CHECK (reason <> ''),
    ADD COLUMN kind text NOT NULL DEFAULT 'planned' CHECK (kind IN ('planned', 'hotfix', 'rollback'));
COMMENT ON COLUMN deployments.build IS 'How to build it, as the request had it: dockerfile, context, target, args, platform, names of secrets; null when it said nothing.';
COMMENT ON COLUMN deployments.reason IS 'Why it was asked for, in the caller''s words; null when they gave none.';
COMMENT ON COLUMN deployments.kind IS 'What for: planned, hotfix or rollback.';

ALTER TABLE archived_deployments
    ADD COLUMN build jsonb,
    ADD COLUMN reason text,
    ADD COLUMN kind text NOT NULL DEFAULT 'planned' CHECK (kind IN ('planned', 'hotfix', 'rollback'));
COMMENT ON COLUMN archived_deployments.build IS 'How to build it, as the request had it: dockerfile, context, target, args, platform, names of secrets; null when it said nothing.';
COMMENT ON COLUMN archived_deployments.reason IS 'Why it was asked for, in the caller''s words; null when they gave none.';
COMMENT ON COLUMN archived_deployments.kind IS 'What for: planned, hotfix or rollback.';

ALTER TABLE schedules
    ADD COLUMN build jsonb CHECK (jsonb_typeof(build) = 'object'),
    ADD COLUMN reason text CHECK (reason <> ''),
    ADD COLUMN kind text NOT NULL DEFAULT 'planned' CHECK (kind IN ('planned', 'hotfix', 'rollback'));
COMMENT ON COLUMN schedules.build IS 'How its deployments are built: dockerfile, context, target, args, platform, names of secrets; null when it says nothing.';
COMMENT ON COLUMN schedules.reason IS 'Why its deployments are made; null when nobody said.';
COMMENT ON COLUMN schedules.kind IS 'What its deployments are for: planned, hotfix or rollback.';

-- A replica from before this migration would leave these out, silently: it never gets such a row. The condition is what every other update costs.
CREATE FUNCTION deployment_is_understood() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM replicas WHERE id = NEW.replica_id AND schema_version >= 17) THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION deployment_is_understood IS 'Leaves a deployment unclaimed by a replica that does not know what it was asked for.';
CREATE TRIGGER deployments_are_understood BEFORE UPDATE OF replica_id ON deployments FOR EACH ROW
    WHEN (NEW.replica_id IS NOT NULL AND NEW.replica_id IS DISTINCT FROM OLD.replica_id
          AND (NEW.branch LIKE '% %' OR NEW.build IS NOT NULL OR (NEW.step = 'build_image' AND NEW.step_state - 'dockerfile' <> '{}')))
    EXECUTE FUNCTION deployment_is_understood();

-- The same for schedules: a replica from before this migration starts what a schedule says of the source and leaves the rest out. It is filled in
-- here, within the transaction that makes the deployment.
CREATE FUNCTION scheduled_deployment_is_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE deployments d SET build = s.build, reason = s.reason, kind = s.kind
    FROM schedules s
    WHERE s.id = NEW.schedule_id AND d.id = NEW.deployment_id AND (d.build, d.reason, d.kind) IS DISTINCT FROM (s.build, s.reason, s.kind);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION scheduled_deployment_is_whole IS 'Gives a scheduled deployment what a replica that does not know it left out.';
CREATE TRIGGER schedule_runs_start_what_is_asked AFTER INSERT ON schedule_runs FOR EACH ROW
    WHEN (NEW.deployment_id IS NOT NULL) EXECUTE FUNCTION scheduled_deployment_is_whole();

-- Secrets that builds may read. They are sealed with the data key of their connection, which rotation wraps again and removal erases.
CREATE TABLE github_build_secrets (
    connection_id text NOT NULL REFERENCES github_connections (id) ON DELETE CASCADE,
    name          text NOT NULL,
    value_sealed  bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connection_id, name)
);
COMMENT ON TABLE github_build_secrets IS 'Secrets that builds of a connection''s repository may read; removed with the connection.';
COMMENT ON COLUMN github_build_secrets.connection_id IS 'The connection to the source repository.';
COMMENT ON COLUMN github_build_secrets.name IS 'What builds call it: RUN --mount=type=secret,id=NAME.';
COMMENT ON COLUMN github_build_secrets.value_sealed IS 'Secret: the value, sealed with the connection''s data key.';
COMMENT ON COLUMN github_build_secrets.created_at IS 'When it was first set (UTC).';
COMMENT ON COLUMN github_build_secrets.updated_at IS 'When it was last set (UTC).';

COMMENT ON COLUMN audit.action IS 'What: deploy, switch, cancel, retry, connect.github, connect.aws, connection.remove, build_secret.set, build_secret.remove, schedule.create, schedule.change, schedule.delete, schedule.run, session.open, session.close, token.create, token.revoke, keys.rotate, maintenance.run, log.set, log.reset.';

-- ---- Builds

-- What the names of trust domains are derived from (decision 0039): the same for all replicas, so that they share caches on a common builder.
CREATE TABLE installation (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    cache_secret text NOT NULL DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
);
COMMENT ON TABLE installation IS 'What belongs to this installation as a whole: one row.';
COMMENT ON COLUMN installation.one IS 'Always true: there is one row.';
COMMENT ON COLUMN installation.cache_secret IS 'Secret: with it the cache keys of another owner could be computed. Deleted rows are not made anew; a new value only empties caches.';
INSERT INTO installation DEFAULT VALUES;

-- ---- Reports

-- A registry or builder that is away, and a builder without disk or memory, are the operator's: no change of the team's failed.
CREATE VIEW history_dora_v2 AS
WITH ends AS MATERIALIZED (
    -- Compared byte by byte: sorting is most of the work, and no order of a language matters here.
    SELECT deployment_id COLLATE "C" AS deployment_id, attempt, owner, repo, branch, ended_at, committed_at, status = 'COMPLETED' AS done,
           (ecr_repository || ' ' || account_id || ' ' || region) COLLATE "C" AS target
    FROM history_attempts
    WHERE (status = 'COMPLETED' AND final_service = 'green')
       OR (status = 'FAILED' AND error_code NOT IN ('CANCELLED', 'REGISTRY_UNAVAILABLE', 'BUILDER_DISK_FULL', 'BUILD_OUT_OF_MEMORY', 'DOCKER_UNAVAILABLE'))
), verdicts AS (
    SELECT DISTINCT ON (deployment_id) ended_at, owner, repo, branch, NOT done AS failed FROM ends ORDER BY deployment_id, attempt
), episodes AS (
    SELECT *, count(*) FILTER (WHERE done) OVER (
               PARTITION BY target ORDER BY ended_at, deployment_id, attempt ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS episode
    FROM ends
), restores AS (
    SELECT *, min(ended_at) FILTER (WHERE NOT done) OVER (PARTITION BY target, episode) AS failed_at FROM episodes
)
SELECT ended_at AS at, owner, repo, branch, true AS deployed, greatest(history_seconds(committed_at, ended_at), 0) AS lead_time_seconds,
       NULL::boolean AS failed, NULL::double precision AS restore_seconds
FROM ends WHERE done
UNION ALL
SELECT ended_at, owner, repo, branch, false, NULL, failed, NULL FROM verdicts
UNION ALL
SELECT ended_at, owner, repo, branch, false, NULL, NULL, history_seconds(failed_at, ended_at)
FROM restores WHERE done AND failed_at IS NOT NULL;
COMMENT ON VIEW history_dora_v2 IS 'What the DORA views count from their version 2 on, one row each: deployed, or failed (a verdict), or restore_seconds is set.';

CREATE VIEW panda_report.dora_daily_v2 AS
SELECT g.day, CASE grouping(g.owner, g.repo, g.branch) WHEN 0 THEN 'branch' WHEN 1 THEN 'repository' WHEN 3 THEN 'owner' ELSE 'all' END AS level,
       g.owner, g.repo, g.branch, count(*) FILTER (WHERE g.deployed) AS deployments,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.lead_time_seconds) AS lead_time_median_seconds,
       avg(g.lead_time_seconds) AS lead_time_mean_seconds,
       count(g.failed) AS changes, count(*) FILTER (WHERE g.failed) AS failed_changes,
       count(*) FILTER (WHERE g.failed)::double precision / nullif(count(g.failed), 0) AS change_failure_rate,
       count(g.restore_seconds) AS restores,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.restore_seconds) AS time_to_restore_median_seconds,
       avg(g.restore_seconds) AS time_to_restore_mean_seconds
FROM (SELECT (at AT TIME ZONE 'UTC')::date AS day, * FROM history_dora_v2) g
GROUP BY GROUPING SETS ((g.day, g.owner, g.repo, g.branch), (g.day, g.owner, g.repo), (g.day, g.owner), (g.day));

CREATE VIEW panda_report.dora_monthly_v2 AS
SELECT g.month, CASE grouping(g.owner, g.repo, g.branch) WHEN 0 THEN 'branch' WHEN 1 THEN 'repository' WHEN 3 THEN 'owner' ELSE 'all' END AS level,
       g.owner, g.repo, g.branch, count(*) FILTER (WHERE g.deployed) AS deployments,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.lead_time_seconds) AS lead_time_median_seconds,
       avg(g.lead_time_seconds) AS lead_time_mean_seconds,
       count(g.failed) AS changes, count(*) FILTER (WHERE g.failed) AS failed_changes,
       count(*) FILTER (WHERE g.failed)::double precision / nullif(count(g.failed), 0) AS change_failure_rate,
       count(g.restore_seconds) AS restores,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY g.restore_seconds) AS time_to_restore_median_seconds,
       avg(g.restore_seconds) AS time_to_restore_mean_seconds
FROM (SELECT date_trunc('month', at AT TIME ZONE 'UTC')::date AS month, * FROM history_dora_v2) g
GROUP BY GROUPING SETS ((g.month, g.owner, g.repo, g.branch), (g.month, g.owner, g.repo), (g.month, g.owner), (g.month));

COMMENT ON VIEW panda_report.dora_daily_v2 IS 'As dora_daily_v1, without failures that are the operator''s: REGISTRY_UNAVAILABLE, BUILDER_DISK_FULL, BUILD_OUT_OF_MEMORY and DOCKER_UNAVAILABLE. Kept for ever.';
COMMENT ON VIEW panda_report.dora_monthly_v2 IS 'As dora_monthly_v1, without failures that are the operator''s: REGISTRY_UNAVAILABLE, BUILDER_DISK_FULL, BUILD_OUT_OF_MEMORY and DOCKER_UNAVAILABLE. Kept for ever.';
COMMENT ON COLUMN panda_report.dora_daily_v2.changes IS 'As in dora_daily_v1; those that only failed for the operator''s sake have no verdict.';
COMMENT ON COLUMN panda_report.dora_monthly_v2.changes IS 'As in dora_monthly_v1; those that only failed for the operator''s sake have no verdict.';

CREATE VIEW panda_report.deployments_v2 AS
SELECT v.deployment_id, v.owner, v.repo, CASE WHEN v.branch NOT LIKE '% %' THEN v.branch END AS branch,
       CASE WHEN v.branch LIKE '% %' THEN split_part(v.branch, ' ', 1) ELSE 'branch' END AS requested,
       CASE WHEN v.branch LIKE '% %' THEN substr(v.branch, strpos(v.branch, ' ') + 1) ELSE v.branch END AS requested_name,
       r.kind, r.reason, r.build, v.account_id, v.region, v.ecr_repository, v.status, v.outcome, v.attempts, v.step, v.stage, v.commit_sha,
       v.committed_at, v.image_digest, v.execution_arn, v.code_deploy_deployment_id, v.blue_latency_ms, v.green_latency_ms,
       v.blue_error_rate, v.green_error_rate, v.final_service, v.error_code, v.error_message, v.started_by, v.concurrency, v.superseded_by,
       v.events, v.started_at, v.attempt_started_at, v.queued_at, v.turn_at, v.ready_at, v.switch_requested_at, v.cancel_requested_at,
       v.completed_at, v.duration_seconds, v.lead_time_seconds, v.archived_at
FROM panda_report.deployments_v1 v
JOIN (
    SELECT id, kind, reason, build FROM deployments
    UNION ALL
    SELECT id, kind, reason, build FROM archived_deployments
) r ON r.id = v.deployment_id;
COMMENT ON VIEW panda_report.deployments_v2 IS 'As deployments_v1, with what was asked for. Kept for ever.';
COMMENT ON COLUMN panda_report.deployments_v2.branch IS 'Branch that is deployed. Null when something else was asked for; the other views have requested and requested_name in its place then, with a space between them.';
COMMENT ON COLUMN panda_report.deployments_v2.requested IS 'What was asked for: branch, tag, commit or image.';
COMMENT ON COLUMN panda_report.deployments_v2.requested_name IS 'Name of the branch or tag, id of the commit, digest of the image.';
COMMENT ON COLUMN panda_report.deployments_v2.kind IS 'What for: planned, hotfix or rollback. From before that could be said: planned.';
COMMENT ON COLUMN panda_report.deployments_v2.reason IS 'Why, in the words of who asked for it. Null when they gave none.';
COMMENT ON COLUMN panda_report.deployments_v2.build IS 'How to build it, as the request had it: dockerfile, context, target, args, platform, names of secrets. Null when it said nothing; panda.toml of the repository is not in it.';
-- The other columns are those of the same name of version 1.
DO $$
DECLARE
    col record;
BEGIN
    FOR col IN
        SELECT a.attrelid::regclass::text AS view, a.attname, col_description(o.attrelid, o.attnum) AS text
        FROM (VALUES ('deployments'), ('dora_daily'), ('dora_monthly')) v (name)
        JOIN pg_attribute a ON a.attrelid = ('panda_report.' || v.name || '_v2')::regclass
        JOIN pg_attribute o ON o.attrelid = ('panda_report.' || v.name || '_v1')::regclass AND o.attname = a.attname
        WHERE a.attnum > 0 AND col_description(a.attrelid, a.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', col.view, col.attname, col.text);
    END LOOP;
END $$;
COMMENT ON COLUMN panda_report.deployments_v2.commit_sha IS 'Commit that was built. Null before the source was fetched, and for an image.';
COMMENT ON COLUMN panda_report.deployments_v2.committed_at IS 'Commit time of commit_sha, as git has it. Null before the source was fetched, and for an image.';

-- The role panda_report: reads the views of schema panda_report and nothing else. Safe to run again, in each database of a server.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'panda_report') THEN
        BEGIN
            CREATE ROLE panda_report NOLOGIN;
            ALTER ROLE panda_report SET default_transaction_read_only = on;
            ALTER ROLE panda_report SET statement_timeout = '30s';
            ALTER ROLE panda_report SET lock_timeout = '5s';
            ALTER ROLE panda_report SET idle_in_transaction_session_timeout = '60s';
            ALTER ROLE panda_report SET timezone = 'UTC';
            ALTER ROLE panda_report SET search_path = panda_report;
            -- Compiling the plan of a report takes longer than it saves.
            ALTER ROLE panda_report SET jit = off;
        EXCEPTION
            -- Another database of this server is migrated at the same time.
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING 'the role panda_report is missing, and % may not create it: panda migrate --print-report-role', current_user;
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'panda_report') THEN
        GRANT USAGE ON SCHEMA panda_report TO panda_report;
        GRANT SELECT ON ALL TABLES IN SCHEMA panda_report TO panda_report;
    END IF;
END $$;

SELECT schema_version(17, works_with => 14);
