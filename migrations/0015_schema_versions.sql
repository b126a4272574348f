-- With which programs the schema works, said by each migration from here on: docs/decisions/0031-a-schema-says-who-may-use-it.md

ALTER TABLE replicas ADD COLUMN schema_version bigint;
COMMENT ON COLUMN replicas.schema_version IS 'Newest migration that the process knows. Null: a program from before this column, which knows 14 at most.';

CREATE TABLE schema_versions (
    version    bigint      NOT NULL PRIMARY KEY,
    works_with bigint      NOT NULL CHECK (works_with BETWEEN 1 AND version),
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE schema_versions IS 'For each migration since 15: the programs that its schema works with. An older one that starts on it says what to do and ends.';
COMMENT ON COLUMN schema_versions.version IS 'The migration, as in _sqlx_migrations.';
COMMENT ON COLUMN schema_versions.works_with IS 'The schema works with programs that know this migration or a newer one. What only adds something (expand) works with those from before it; what takes something away (contract), with those that do without.';
COMMENT ON COLUMN schema_versions.applied_at IS 'When the schema became this one.';

-- The last statement of each migration. It takes the whole migration back while a program is running that would break: it runs in the same transaction.
CREATE FUNCTION schema_version(version bigint, works_with bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    in_the_way text;
BEGIN
    SELECT string_agg(format('%s (Panda %s)', r.name, r.version), ', ' ORDER BY r.name) INTO in_the_way
    FROM replicas r
    WHERE r.heartbeat_at + r.lease_ms * interval '1 millisecond' > clock_timestamp() AND coalesce(r.schema_version, 14) < schema_version.works_with;
    IF in_the_way IS NOT NULL THEN
        RAISE EXCEPTION 'migration % would break replicas that are running: %. Upgrade to a version in between first, or stop them', version, in_the_way;
    END IF;
    INSERT INTO schema_versions (version, works_with) VALUES (schema_version.version, schema_version.works_with);
END $$;
COMMENT ON FUNCTION schema_version IS 'Says that the schema is this migration''s now, and works with programs that know works_with; refuses while an older one is running.';

SELECT schema_version(15, works_with => 14);
