-- Who may do what: API tokens, sessions of browsers, tickets for event streams. Secrets are stored as their SHA-256 alone: each has 256 random
-- bits, so that nothing slower is needed.

CREATE TABLE api_tokens (
    id text PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    role text NOT NULL CHECK (role IN ('viewer', 'deployer', 'approver', 'admin')),
    scope text[] CHECK (cardinality(scope) > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON TABLE api_tokens IS 'Tokens with which programs and people use the API.';
COMMENT ON COLUMN api_tokens.id IS 'tok_…: names the token without being it.';
COMMENT ON COLUMN api_tokens.name IS 'Who has it, in the operator''s words: the subject of what is done with it.';
COMMENT ON COLUMN api_tokens.token_hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN api_tokens.role IS 'viewer, deployer, approver, admin: each may what those before it may.';
COMMENT ON COLUMN api_tokens.scope IS 'Repositories that it is for, owner/repo or owner/*, in lower case; null for all.';
COMMENT ON COLUMN api_tokens.created_at IS 'When it was made.';
COMMENT ON COLUMN api_tokens.expires_at IS 'From when on it is not accepted; null for never.';
COMMENT ON COLUMN api_tokens.revoked_at IS 'When it was revoked; null while it is not.';

CREATE TABLE sessions (
    session_hash bytea PRIMARY KEY CHECK (octet_length(session_hash) = 32),
    credential bytea CHECK (octet_length(credential) = 32),
    principal jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
COMMENT ON TABLE sessions IS 'Browsers that signed in: a cookie that may only read.';
COMMENT ON COLUMN sessions.session_hash IS 'SHA-256 of the cookie''s value.';
COMMENT ON COLUMN sessions.credential IS 'SHA-256 of the token that it was opened with, and ends with; null when that has an end of its own alone (OpenID Connect) or authentication was off.';
COMMENT ON COLUMN sessions.principal IS 'Who that was: subject, kind, role, scope, expiresAt.';
COMMENT ON COLUMN sessions.created_at IS 'When it was opened.';
COMMENT ON COLUMN sessions.expires_at IS 'From when on it is not accepted.';

CREATE TABLE stream_tickets (
    ticket_hash bytea PRIMARY KEY CHECK (octet_length(ticket_hash) = 32),
    deployment_id text REFERENCES deployments (id) ON DELETE CASCADE,
    credential bytea CHECK (octet_length(credential) = 32),
    principal jsonb NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX stream_tickets_expires_at ON stream_tickets (expires_at);
COMMENT ON TABLE stream_tickets IS 'Single-use tickets: each opens one event stream. A row is removed when its ticket is used.';
COMMENT ON COLUMN stream_tickets.ticket_hash IS 'SHA-256 of the ticket.';
COMMENT ON COLUMN stream_tickets.deployment_id IS 'The deployment whose stream it opens; null for the stream of all.';
COMMENT ON COLUMN stream_tickets.credential IS 'As in sessions.';
COMMENT ON COLUMN stream_tickets.principal IS 'As in sessions.';
COMMENT ON COLUMN stream_tickets.expires_at IS 'From when on it is not accepted.';

ALTER TABLE aws_connections ADD COLUMN scope text[] CHECK (cardinality(scope) > 0);
COMMENT ON COLUMN aws_connections.scope IS 'Repositories that may be deployed with it: those of whoever connected it, or fewer; null for all.';

ALTER TABLE deployments ADD COLUMN started_by text;
COMMENT ON COLUMN deployments.started_by IS 'Subject of whoever asked for the present attempt; null from before that was kept, or while authentication is off.';

-- In the statements that use it, this is the expression itself: a function of SQL without settings is inlined.
CREATE FUNCTION in_scope(owner text, repo text, scope text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT scope IS NULL OR lower(owner) || '/*' = ANY (scope) OR lower(owner) || '/' || lower(repo) = ANY (scope) $$;
COMMENT ON FUNCTION in_scope IS 'Whether a repository is among those of a scope; null is all of them.';
