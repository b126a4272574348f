-- Who did what. Rows are added and never changed: triggers refuse it for everybody, and docs/security.md says how the program's role is left without
-- the right to.

CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id text,
    address text,
    subject text NOT NULL,
    kind text NOT NULL,
    token_id text,
    role text NOT NULL,
    action text NOT NULL,
    target text,
    owner text,
    repo text,
    result text NOT NULL CHECK (result IN ('done', 'refused')),
    error_code text CHECK ((error_code IS NOT NULL) = (result = 'refused')),
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_target ON audit (target, id) WHERE target IS NOT NULL;
COMMENT ON TABLE audit IS 'Every change that somebody asked for, and what became of it. A change is written together with its row.';
COMMENT ON COLUMN audit.id IS 'Order in which the rows were written.';
COMMENT ON COLUMN audit.at IS 'When.';
COMMENT ON COLUMN audit.request_id IS 'X-Request-Id of the request, as the log and the answer have it; null for the command line on the server.';
COMMENT ON COLUMN audit.address IS 'Address that the request came from, as told by proxies that are trusted; null for the command line on the server.';
COMMENT ON COLUMN audit.subject IS 'Who: a token''s name, the issuer''s name for somebody, or the operating system''s user.';
COMMENT ON COLUMN audit.kind IS 'How they signed in: token, oidc, admin, nobody (authentication is off), operator (the command line on the server).';
COMMENT ON COLUMN audit.token_id IS 'The API token (tok_…), when it was one.';
COMMENT ON COLUMN audit.role IS 'The role that they had.';
COMMENT ON COLUMN audit.action IS 'What: deploy, switch, cancel, retry, connect.github, connect.aws, session.open, session.close, token.create, token.revoke, keys.rotate.';
COMMENT ON COLUMN audit.target IS 'Of what: the id of a deployment, connection or token.';
COMMENT ON COLUMN audit.owner IS 'Account or organisation of the repository concerned.';
COMMENT ON COLUMN audit.repo IS 'Repository concerned.';
COMMENT ON COLUMN audit.result IS 'done, or refused.';
COMMENT ON COLUMN audit.error_code IS 'Why it was refused, as the answer said it.';
COMMENT ON COLUMN audit.details IS 'More of it; never a secret.';

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the table audit is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
