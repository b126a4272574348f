-- What a database needs beside its tables: docs/decisions/0044-what-a-database-has-to-be.md.

-- Scopes are stored in ASCII lower case. The database's own rules would fold differently: with Turkish ones the lower case of I is not i.
CREATE OR REPLACE FUNCTION in_scope(owner text, repo text, scope text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT scope IS NULL OR lower(owner COLLATE "C") || '/*' = ANY (scope)
           OR lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C") = ANY (scope) $$;

-- A heartbeat overwrites space that its page already has, so it succeeds on a full disk. The probe empties this table, adds a row and rolls back:
-- the row needs a new file and a new page.
CREATE TABLE write_probe (
    probe integer NOT NULL
);
COMMENT ON TABLE write_probe IS 'Always empty: each replica tests here, in a transaction that it rolls back, whether the database can store new rows.';
COMMENT ON COLUMN write_probe.probe IS 'Written and rolled back.';

-- Logical replication and pg_dump --data-only carry rows over, and sequences not.
CREATE FUNCTION advance_sequences() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    own    record;
    newest bigint;
BEGIN
    -- A replica that has advanced a sequence may use it already: another one must not set it back.
    PERFORM pg_advisory_xact_lock(hashtextextended('panda advance_sequences', 0));
    FOR own IN
        SELECT s.oid::regclass AS seq, t.oid::regclass AS tab, a.attname, q.seqstart
        FROM pg_depend d
        JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        JOIN pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0
        JOIN pg_class t ON t.oid = d.refobjid
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        JOIN pg_class m ON m.oid = to_regclass('_sqlx_migrations') AND m.relnamespace = t.relnamespace AND m.relowner = t.relowner
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
          -- The owner may have other tables beside Panda's. Sequences are named by q: s is not known to be one when this is evaluated.
          AND has_table_privilege(t.oid, 'SELECT') AND has_sequence_privilege(q.seqrelid, 'UPDATE')
    LOOP
        EXECUTE format('SELECT max(%I) FROM %s', own.attname, own.tab) INTO newest;
        IF newest > coalesce(pg_sequence_last_value(own.seq), own.seqstart - 1) THEN
            PERFORM setval(own.seq, newest);
            RETURN NEXT own.seq::text;
        END IF;
    END LOOP;
END $$;
-- A role that the SQL of earlier documentation made lacks these: with no views it could run no report, and default privileges never include TRUNCATE.
DO $$
DECLARE
    app text;
BEGIN
    FOR app IN
        SELECT DISTINCT CASE p.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(p.grantee)) END
        FROM pg_class c CROSS JOIN aclexplode(c.relacl) p
        WHERE c.oid = 'deployments'::regclass AND p.privilege_type = 'UPDATE' AND p.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, TRUNCATE ON write_probe TO %s', app);
        EXECUTE format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE audit_id_seq, maintenance_runs_id_seq TO %s', app);
        EXECUTE format('GRANT USAGE ON SCHEMA panda_report TO %s', app);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA panda_report TO %s', app);
    END LOOP;
END $$;

COMMENT ON FUNCTION advance_sequences IS 'Moves each sequence that is behind the rows of its table past them; returns their names.';

SELECT schema_version(20, works_with => 14);
