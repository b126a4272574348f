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
        -- An administrator who is no superuser, as on RDS, may create roles, and not grant access to the views of another owner.
        IF pg_has_role(current_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'panda_report'), 'USAGE') THEN
            GRANT USAGE ON SCHEMA panda_report TO panda_report;
            GRANT SELECT ON ALL TABLES IN SCHEMA panda_report TO panda_report;
        ELSE
            RAISE WARNING 'the role panda_report exists, and % may not grant it access: run panda migrate once more, as the owner of the views', current_user;
        END IF;
    END IF;
END $$;
