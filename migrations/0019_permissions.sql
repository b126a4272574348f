-- What acts later in a principal's name ends with the principal's permission, subjects of OpenID Connect issuers can be revoked, and refusals
-- take bounded room in the audit: docs/decisions/0041-permissions-that-end.md

ALTER TABLE schedules
    ADD COLUMN made_by_admin  bytea CHECK (octet_length(made_by_admin) = 32),
    ADD COLUMN made_by_issuer text,
    ADD COLUMN made_by_claims jsonb,
    ADD COLUMN stopped_at     timestamptz,
    ADD COLUMN stopped_code   text,
    ADD COLUMN stopped_reason text,
    ADD CONSTRAINT schedules_stopped_with_a_reason CHECK (num_nonnulls(stopped_at, stopped_code, stopped_reason) IN (0, 3));
COMMENT ON COLUMN schedules.made_by_token IS 'The API token (tok_…), when it was one: the schedule stops once that is revoked or has expired.';
COMMENT ON COLUMN schedules.made_by_admin IS 'Fingerprint of the admin token (HMAC-SHA256 with its hash as the key), when it was that: the schedule stops once the server has another one. Null from before this was kept: then it is that of the first server that looks.';
COMMENT ON COLUMN schedules.made_by_issuer IS 'The OpenID Connect issuer, when it was a token of one. Null from before this was kept: then only its name in made_by is held against the configuration.';
COMMENT ON COLUMN schedules.made_by_claims IS 'The claims of that token but those that pass (exp, jti, …): the issuer''s rules are applied to them before each run.';
COMMENT ON COLUMN schedules.stopped_at IS 'When it stopped because its permission had ended (UTC); null while it has not. It starts nothing until a caller takes it over.';
COMMENT ON COLUMN schedules.stopped_code IS 'Why it stopped: TOKEN_REVOKED, TOKEN_EXPIRED, TOKEN_REMOVED, PERMISSION_REDUCED, ADMIN_TOKEN_REPLACED, SUBJECT_REVOKED, ISSUER_REMOVED, SIGN_IN_REQUIRED.';
COMMENT ON COLUMN schedules.stopped_reason IS 'The same in words, with the remedy.';

CREATE TABLE revoked_subjects (
    id         text NOT NULL UNIQUE,
    principal  text PRIMARY KEY CHECK (principal <> ''),
    issuer     text NOT NULL,
    subject    text NOT NULL,
    reason     text,
    revoked_by text NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE revoked_subjects IS 'Subjects of OpenID Connect issuers whose tokens are refused, whatever they say. Lifting a revocation removes its row; the audit has both.';
COMMENT ON COLUMN revoked_subjects.id IS 'rev_…';
COMMENT ON COLUMN revoked_subjects.principal IS 'Under which name the subject is in audit and schedules: issuer without https://, a vertical bar, subject.';
COMMENT ON COLUMN revoked_subjects.issuer IS 'The issuer.';
COMMENT ON COLUMN revoked_subjects.subject IS 'The claim sub of its tokens.';
COMMENT ON COLUMN revoked_subjects.reason IS 'Why, in the words of who revoked it; null when they gave none.';
COMMENT ON COLUMN revoked_subjects.revoked_by IS 'Who revoked it: subject, as in audit.';
COMMENT ON COLUMN revoked_subjects.revoked_at IS 'When it was revoked (UTC).';

CREATE TABLE sign_in_settings (
    fingerprint   bytea PRIMARY KEY CHECK (octet_length(fingerprint) = 32),
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE sign_in_settings IS 'Which sign-in settings the running replicas have. While a roll changes them, those with the newest run schedules: others would stop what was made under settings that they do not know.';
COMMENT ON COLUMN sign_in_settings.fingerprint IS 'SHA-256 of the settings: whether sign-in is required, admin token, issuers and rules.';
COMMENT ON COLUMN sign_in_settings.first_seen_at IS 'When the first of the replicas that have them began (UTC, database clock).';
COMMENT ON COLUMN sign_in_settings.seen_at IS 'When a replica that has them looked last (UTC, database clock).';

ALTER TABLE audit
    ADD COLUMN times    integer NOT NULL DEFAULT 1 CHECK (times >= 1),
    ADD COLUMN first_at timestamptz CHECK ((first_at IS NOT NULL) = (times > 1));
-- What maintenance forgets, and nothing else does: see forget_refusals.
CREATE INDEX audit_refused ON audit (at) WHERE result = 'refused';

CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_LEVEL = 'ROW' AND TG_OP = 'DELETE' AND current_setting('panda.forgets', true) = 'refusals' THEN
        IF OLD.result = 'refused' AND OLD.at < clock_timestamp() - interval '30 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the table audit is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

-- With the rights of the owner: the program's role may not delete from the audit.
CREATE FUNCTION forget_refusals(older_than timestamptz, most bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    gone bigint;
BEGIN
    IF NOT has_table_privilege(session_user, 'audit', 'INSERT') THEN
        RAISE EXCEPTION 'forget_refusals is for roles that may write the audit' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM set_config('panda.forgets', 'refusals', true);
    DELETE FROM audit WHERE id = ANY (ARRAY(
        SELECT id FROM audit WHERE result = 'refused' AND at < least(older_than, clock_timestamp() - interval '30 days') ORDER BY at LIMIT most));
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('panda.forgets', '', true);
    RETURN gone;
END $$;
COMMENT ON FUNCTION forget_refusals IS 'Removes the oldest refusals from the audit, of at least 30 days ago; how many. What was done is never removed.';
DO $$
BEGIN
    -- No tables of the same names in another schema.
    EXECUTE format('ALTER FUNCTION forget_refusals(timestamptz, bigint) SET search_path = %I, pg_temp', current_schema());
END $$;

COMMENT ON TABLE audit IS 'Every requested change and its result. A change and its row are one transaction. Completed changes are kept; refusals are counted, and deleted by retention.';
COMMENT ON COLUMN audit.times IS 'How many refusals the row stands for. What was done is a row each.';
COMMENT ON COLUMN audit.first_at IS 'When the first of them was; at is about when the last was. Null when it is one.';
COMMENT ON COLUMN audit.subject IS 'The caller: a token''s name, the subject of an issuer''s token, or the operating system''s user. * in a row that counts refusals of several callers.';
COMMENT ON COLUMN audit.kind IS 'How they signed in: token, oidc, admin, nobody (authentication is off), operator (the command line on the server), schedule (a schedule, by the clock), several (see subject).';
COMMENT ON COLUMN audit.action IS 'What: deploy, switch, cancel, retry, connect.github, connect.aws, connection.renew, connection.remove, build_secret.set, build_secret.remove, schedule.create, schedule.change, schedule.delete, schedule.run, schedule.stop, session.open, session.close, token.create, token.revoke, subject.revoke, subject.restore, keys.rotate, maintenance.run, log.set, log.reset.';
COMMENT ON COLUMN audit.target IS 'Of what: the id of a deployment, connection, schedule, token or revocation.';

SELECT schema_version(19, works_with => 14);
