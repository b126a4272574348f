-- Lists, `current` and the audit log by indexes alone, whichever repositories their reader sees: docs/decisions/0045-scopes-are-index-keys.md
--
-- No table is rewritten, and a program from before this migration writes as ever. An index of a large table is not built here, where writes would wait for it, but by
-- `panda migrate` afterwards, without locking them out; until then the queries that it is for are slow.

CREATE TABLE deferred_indexes (
    name       text PRIMARY KEY,
    definition text NOT NULL
);
COMMENT ON TABLE deferred_indexes IS 'Indexes that a migration left to be built concurrently, because their table is large. A row is deleted when its index is there.';
COMMENT ON COLUMN deferred_indexes.name IS 'Name of the index.';
COMMENT ON COLUMN deferred_indexes.definition IS 'What follows CREATE INDEX CONCURRENTLY name ON.';

-- The owner runs what it holds, so that no other role may write it, whatever its default privileges say.
DO $$
DECLARE
    other text;
BEGIN
    FOR other IN
        SELECT DISTINCT CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(p.grantee)) END
        FROM pg_class c CROSS JOIN aclexplode(c.relacl) p
        WHERE c.oid = 'deferred_indexes'::regclass AND p.grantee <> c.relowner AND p.privilege_type <> 'SELECT'
    LOOP
        EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON deferred_indexes FROM %s', other);
    END LOOP;
END $$;

CREATE FUNCTION create_or_defer_index(name text, on_table regclass, definition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Up to this size an index takes about 0.2 s.
    IF pg_relation_size(on_table) < 32 * 1024 * 1024 THEN
        EXECUTE format('CREATE INDEX %I ON %s %s', name, on_table, definition);
    ELSE
        INSERT INTO deferred_indexes VALUES (name, format('%s %s', on_table, definition));
    END IF;
END $$;
COMMENT ON FUNCTION create_or_defer_index IS 'Creates an index, or leaves it to be built concurrently when the table is large. For migrations.';

-- The keys are what scopes hold (owner/repo, owner/*) with a status, subject or action, and the branch. Case is that of ASCII in every database: GitHub's names are
-- ASCII. The time is an expression on purpose: no other index has that order, and so the planner cannot take a rare key for a frequent one and read all rows, newest
-- first, until some match.

SELECT create_or_defer_index(name, on_table, replace(replace(definition, '{owner}', 'lower(owner COLLATE "C")'), '{repo}', 'lower(repo COLLATE "C")'))
FROM (VALUES
    ('deployments_by_status', 'deployments'::regclass, $$(status, (started_at AT TIME ZONE 'UTC'), id)$$),
    ('deployments_by_repository', 'deployments'::regclass, $$(({owner} || '/' || {repo} || ' ' || status), (started_at AT TIME ZONE 'UTC'), id)$$),
    ('deployments_by_owner', 'deployments'::regclass, $$(({owner} || '/* ' || status), (started_at AT TIME ZONE 'UTC'), id)$$),
    ('deployments_by_repository_branch', 'deployments'::regclass, $$(({owner} || '/' || {repo} || ' ' || status || ' ' || branch), (started_at AT TIME ZONE 'UTC'), id)$$),
    ('deployments_by_owner_branch', 'deployments'::regclass, $$(({owner} || '/* ' || status || ' ' || branch), (started_at AT TIME ZONE 'UTC'), id)$$),
    ('deployments_by_target_source', 'deployments'::regclass, $$(account_id, region, ecr_repository, ({owner} || '/' || {repo}))$$),
    ('audit_by_time', 'audit'::regclass, $$(at, id)$$),
    ('audit_by_subject', 'audit'::regclass, $$(subject, (at AT TIME ZONE 'UTC'), id)$$),
    ('audit_by_action', 'audit'::regclass, $$(action, (at AT TIME ZONE 'UTC'), id)$$),
    ('audit_by_target', 'audit'::regclass, $$(target, (at AT TIME ZONE 'UTC'), id) WHERE target IS NOT NULL$$),
    ('audit_by_repository', 'audit'::regclass, $$(({owner} || '/' || {repo}), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL$$),
    ('audit_by_owner', 'audit'::regclass, $$(({owner} || '/*'), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL$$),
    ('audit_by_repository_subject', 'audit'::regclass, $$(({owner} || '/' || {repo} || ' ' || subject), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL$$),
    ('audit_by_owner_subject', 'audit'::regclass, $$(({owner} || '/* ' || subject), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL$$),
    ('audit_by_repository_action', 'audit'::regclass, $$(({owner} || '/' || {repo} || ' ' || action), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL$$),
    ('audit_by_owner_action', 'audit'::regclass, $$(({owner} || '/* ' || action), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL$$)
) AS indexes (name, on_table, definition);

-- The rule itself: a Turkish I is in no name.
CREATE OR REPLACE FUNCTION in_scope(owner text, repo text, scope text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT scope IS NULL OR lower(owner COLLATE "C") || '/*' = ANY (scope)
           OR lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C") = ANY (scope) $$;

SELECT schema_version(21, works_with => 14);
