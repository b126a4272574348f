-- Connections that are renewed in place, and external ids that Panda derives: docs/decisions/0040-external-ids-are-derived.md.

-- ---- External ids

ALTER TABLE installation
    ADD COLUMN external_id_secret text NOT NULL DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
COMMENT ON COLUMN installation.external_id_secret IS 'Secret: external ids are derived from it and a caller''s scope, the same by all replicas. A new value gives every scope another external id when it next connects; stored connections keep theirs.';

ALTER TABLE aws_connections ADD COLUMN external_id_derived boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN aws_connections.external_id_derived IS 'Whether Panda derived the role''s external id and saw that the role requires it. A role without this starts no new deployment until it is connected again.';
COMMENT ON COLUMN aws_connections.external_id_sealed IS 'Secret: external id that is sent when the role is assumed, sealed with the data key.';

-- ---- Renewing in place

ALTER TABLE github_connections
    ADD COLUMN renewed_at timestamptz,
    ADD COLUMN tenant text CHECK (length(tenant) = 64);
COMMENT ON COLUMN github_connections.renewed_at IS 'When its credentials were last connected or renewed (UTC); null for created_at. The newest is listed first.';
COMMENT ON COLUMN github_connections.tenant IS 'SHA-256 (hex) of the scope that connected it. Connecting again renews the connection of the same tenant only; null when that is unknown.';

ALTER TABLE aws_connections
    ADD COLUMN renewed_at timestamptz,
    ADD COLUMN tenant text CHECK (length(tenant) = 64),
    ADD COLUMN identity text;
COMMENT ON COLUMN aws_connections.renewed_at IS 'When its credentials were last connected or renewed (UTC); null for created_at. The newest is listed first.';
COMMENT ON COLUMN aws_connections.tenant IS 'SHA-256 (hex) of the scope that connected it and the repositories that it is for. Connecting again renews the connection of the same tenant only; null when that is unknown.';
COMMENT ON COLUMN aws_connections.identity IS 'ARN that the credentials stand for: the user, or the role without its session; null while it is unknown.';

-- Who connected what is there: the audit knows it, and the scope of a token never changes. OpenID Connect leaves it unknown. Of duplicates the
-- newest is the one that is renewed from now on; the others stay usable.
WITH made AS (
    SELECT DISTINCT ON (a.target) a.target,
           CASE WHEN a.kind IN ('nobody', 'admin', 'operator') THEN '*'
                WHEN a.kind = 'token' THEN (SELECT coalesce(array_to_string(t.scope, ','), '*') FROM api_tokens t WHERE t.id = a.token_id) END AS scope
    FROM audit a WHERE a.action = 'connect.github' AND a.result = 'done' ORDER BY a.target, a.id
), newest AS (
    SELECT c.id, made.scope,
           row_number() OVER (PARTITION BY made.scope, lower(c.owner COLLATE "C"), lower(c.repo COLLATE "C"), c.branch
                              ORDER BY c.created_at DESC, c.id) AS nth
    FROM github_connections c JOIN made ON made.target = c.id
    WHERE c.removed_at IS NULL AND made.scope IS NOT NULL
)
UPDATE github_connections c SET tenant = encode(sha256(convert_to(newest.scope, 'UTF8')), 'hex')
FROM newest WHERE newest.id = c.id AND newest.nth = 1;

WITH made AS (
    SELECT DISTINCT ON (a.target) a.target,
           CASE WHEN a.kind IN ('nobody', 'admin', 'operator') THEN '*'
                WHEN a.kind = 'token' THEN (SELECT coalesce(array_to_string(t.scope, ','), '*') FROM api_tokens t WHERE t.id = a.token_id) END AS scope
    FROM audit a WHERE a.action = 'connect.aws' AND a.result = 'done' ORDER BY a.target, a.id
), newest AS (
    SELECT c.id, made.scope || ' ' || coalesce(array_to_string(c.scope, ','), '*') AS tenant,
           row_number() OVER (PARTITION BY made.scope, c.scope, c.account_id, c.region, c.access_key_id, c.role_arn
                              ORDER BY c.created_at DESC, c.id) AS nth
    FROM aws_connections c JOIN made ON made.target = c.id
    WHERE c.removed_at IS NULL AND made.scope IS NOT NULL
)
UPDATE aws_connections c SET tenant = encode(sha256(convert_to(newest.tenant, 'UTF8')), 'hex'), identity = c.role_arn
FROM newest WHERE newest.id = c.id AND newest.nth = 1;

-- Two that connect the same at once make one row. Names are compared in the C locale: GitHub ignores the case of ASCII letters, and a database
-- in Turkish has another idea of an I.
CREATE UNIQUE INDEX github_connections_one_per_branch ON github_connections (tenant, lower(owner COLLATE "C"), lower(repo COLLATE "C"), branch)
    WHERE removed_at IS NULL;
CREATE UNIQUE INDEX aws_connections_one_per_identity ON aws_connections (tenant, account_id, region, identity) WHERE removed_at IS NULL;

COMMENT ON COLUMN audit.action IS 'What: deploy, switch, cancel, retry, connect.github, connect.aws, connection.renew, connection.remove, build_secret.set, build_secret.remove, schedule.create, schedule.change, schedule.delete, schedule.run, session.open, session.close, token.create, token.revoke, keys.rotate, maintenance.run, log.set, log.reset.';

SELECT schema_version(18, works_with => 14);
