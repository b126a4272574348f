-- The tables of Panda, by subject: versions and replicas, connections, deployments, events, access, audit, schedules, archive, maintenance.
-- Their reporting views are in 0002_report.sql. Conventions of all tables:
--   - times are by the database's clock, because clocks of machines are never compared;
--   - a secret is stored encrypted (…_encrypted, docs/decisions/0015-encryption-at-rest.md) or as a hash (…_hash);
--   - a row that is refused by a CHECK is a bug of the program, which validates before.
-- A migration that is in a released version is never edited: write the next one (CONTRIBUTING.md, SQL).

-- ---- Versions: which programs may use the schema (docs/decisions/0031-a-schema-says-who-may-use-it.md)

CREATE TABLE replicas (
    id             uuid        PRIMARY KEY,
    process_id     uuid        NOT NULL,
    name           text        NOT NULL,
    version        text        NOT NULL,
    schema_version bigint      NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT now(),
    heartbeat_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_ms       integer     NOT NULL CHECK (lease_ms > 0)
);
COMMENT ON TABLE replicas IS 'One row per lease of a controller process. A row whose heartbeat is older than its lease owns nothing any more.';
COMMENT ON COLUMN replicas.id IS 'The lease: new at each start of a process, and each time that it joins again.';
COMMENT ON COLUMN replicas.process_id IS 'The process, which joins under another id each time it has lost its lease.';
COMMENT ON COLUMN replicas.name IS 'Host name and process id, for people.';
COMMENT ON COLUMN replicas.version IS 'Program version of the process.';
COMMENT ON COLUMN replicas.schema_version IS 'Newest migration that the process knows.';
COMMENT ON COLUMN replicas.started_at IS 'When the process registered.';
COMMENT ON COLUMN replicas.heartbeat_at IS 'Last heartbeat.';
COMMENT ON COLUMN replicas.lease_ms IS 'Milliseconds after heartbeat_at from which other replicas may take over its deployments.';

CREATE TABLE schema_versions (
    version    bigint      PRIMARY KEY,
    works_with bigint      NOT NULL CHECK (works_with BETWEEN 1 AND version),
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE schema_versions IS 'For each migration, the programs that its schema works with. An older program that starts on it logs the remedy and ends.';
COMMENT ON COLUMN schema_versions.version IS 'Number of the migration, as in _sqlx_migrations.';
COMMENT ON COLUMN schema_versions.works_with IS 'The schema works with programs that know this migration or a newer one. A migration that only adds (expand) repeats the number before it; one that removes (contract) names the oldest program that does not need what it drops.';
COMMENT ON COLUMN schema_versions.applied_at IS 'When the migration was applied.';

-- The last statement of each migration. It runs in the migration's transaction, so that its exception undoes the migration.
CREATE FUNCTION schema_version(version bigint, works_with bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    in_the_way text;
BEGIN
    SELECT string_agg(format('%s (Panda %s)', r.name, r.version), ', ' ORDER BY r.name) INTO in_the_way
    FROM replicas r
    WHERE r.heartbeat_at + r.lease_ms * interval '1 millisecond' > clock_timestamp() AND r.schema_version < schema_version.works_with;
    IF in_the_way IS NOT NULL THEN
        RAISE EXCEPTION 'migration % would break replicas that are running: %. Upgrade to a version in between first, or stop them', version, in_the_way;
    END IF;
    INSERT INTO schema_versions (version, works_with) VALUES (schema_version.version, schema_version.works_with);
END $$;
COMMENT ON FUNCTION schema_version IS 'Declares that the schema is now this migration''s and works with programs that know works_with; fails while an older program is running.';

-- ---- The installation

CREATE TABLE installation (
    one                      boolean PRIMARY KEY DEFAULT true CHECK (one),
    cache_secret             text    NOT NULL DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''),
    external_id_secret       text    NOT NULL DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''),
    key_id                   text,
    wrapped_key              bytea,
    request_secret_encrypted bytea,
    CONSTRAINT installation_encrypted CHECK (num_nulls(key_id, wrapped_key, request_secret_encrypted) IN (0, 3))
);
COMMENT ON TABLE installation IS 'Secrets of this installation as a whole: one row.';
COMMENT ON COLUMN installation.one IS 'Always true: there is one row.';
COMMENT ON COLUMN installation.cache_secret IS 'Secret: names of build caches are derived from it and the owner (docs/decisions/0039-buildkit.md), the same by all replicas. A new value only empties caches.';
COMMENT ON COLUMN installation.external_id_secret IS 'Secret: external ids are derived from it and a caller''s scope, the same by all replicas. A new value gives every scope another external id when it next connects; stored connections keep theirs.';
COMMENT ON COLUMN installation.key_id IS 'Id of the key that wraps wrapped_key; null before the first idempotency key.';
COMMENT ON COLUMN installation.wrapped_key IS 'Data key of request_secret_encrypted, wrapped.';
COMMENT ON COLUMN installation.request_secret_encrypted IS 'Secret, encrypted: keys the hashes in idempotency_keys. The first replica that needs it creates it.';
INSERT INTO installation DEFAULT VALUES;

CREATE TABLE log_filter (
    one    boolean     PRIMARY KEY DEFAULT true CHECK (one),
    filter text        NOT NULL CHECK (filter <> ''),
    set_by text        NOT NULL,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until  timestamptz NOT NULL,
    CONSTRAINT log_filter_lasts CHECK (until > set_at)
);
COMMENT ON TABLE log_filter IS 'The log filter that an admin set for all replicas for a time, in place of each one''s own (docs/decisions/0033-one-log-filter-for-all.md): one row, or none. An expired row counts as none, and a replica deletes it.';
COMMENT ON COLUMN log_filter.one IS 'Always true: there is one row at most.';
COMMENT ON COLUMN log_filter.filter IS 'The filter in the format of RUST_LOG, such as info,panda::reconcile=debug.';
COMMENT ON COLUMN log_filter.set_by IS 'Subject of the admin.';
COMMENT ON COLUMN log_filter.set_at IS 'When it was set.';
COMMENT ON COLUMN log_filter.until IS 'When every replica returns to its own filter.';

-- A session's advisory lock is lost, or never released, behind a connection pooler: docs/decisions/0043-connections.md
CREATE TABLE leases (
    name       text        PRIMARY KEY CHECK (name <> ''),
    holder     uuid,
    token      bigint      NOT NULL DEFAULT 1 CHECK (token >= 1),
    taken_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE leases IS 'Work outside the database that must not run twice concurrently: a row for each kind, taken by one process at a time.';
COMMENT ON COLUMN leases.name IS 'The kind of work.';
COMMENT ON COLUMN leases.holder IS 'New for each taking; null when it was released.';
COMMENT ON COLUMN leases.token IS 'Increases with each taking: a holder with an older token has lost the lease.';
COMMENT ON COLUMN leases.taken_at IS 'When it was last taken.';
COMMENT ON COLUMN leases.expires_at IS 'When another process may take it, unless it is renewed before.';

-- A heartbeat overwrites space that its page already has, so it succeeds on a full disk. The probe empties this table, adds a row and rolls back: the row needs a
-- new file and a new page.
CREATE TABLE write_probe (
    probe integer NOT NULL
);
COMMENT ON TABLE write_probe IS 'Always empty: each replica tests here, in a transaction that it rolls back, that the database can store new rows.';
COMMENT ON COLUMN write_probe.probe IS 'Written and rolled back.';

-- Logical replication and pg_dump --data-only copy rows and leave sequences behind.
CREATE FUNCTION advance_sequences() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    own    record;
    newest bigint;
BEGIN
    -- Another replica must not set back a sequence that a replica has advanced and may use already.
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
COMMENT ON FUNCTION advance_sequences IS 'Moves each sequence that is behind the rows of its table past them; returns their names.';

-- ---- Connections (docs/decisions/0015-encryption-at-rest.md, 0043-connections.md). A removed connection keeps its row without its secrets.

CREATE TABLE github_connections (
    id              text        PRIMARY KEY,
    owner           text        NOT NULL,
    repo            text        NOT NULL,
    branch          text        NOT NULL,
    tenant          text        CHECK (length(tenant) = 64),
    key_id          text,
    wrapped_key     bytea,
    token_encrypted bytea,
    created_at      timestamptz NOT NULL DEFAULT now(),
    renewed_at      timestamptz,
    removed_at      timestamptz,
    CONSTRAINT github_connections_encrypted
        CHECK (num_nonnulls(key_id, wrapped_key, token_encrypted) = CASE WHEN removed_at IS NULL THEN 3 ELSE 0 END)
);
COMMENT ON TABLE github_connections IS 'A source repository with the token that reads it. The API never returns the token.';
COMMENT ON COLUMN github_connections.id IS 'gh_ and random characters.';
COMMENT ON COLUMN github_connections.owner IS 'Account or organisation on GitHub.';
COMMENT ON COLUMN github_connections.repo IS 'Repository name on GitHub.';
COMMENT ON COLUMN github_connections.branch IS 'Branch that was checked when connecting.';
COMMENT ON COLUMN github_connections.tenant IS 'SHA-256 (hex) of the scope that connected it. Connecting again renews the connection of the same tenant only; null for a connection that no request renews.';
COMMENT ON COLUMN github_connections.key_id IS 'Id of the server''s key that wraps wrapped_key.';
COMMENT ON COLUMN github_connections.wrapped_key IS 'The row''s own data key, wrapped (AES-256-GCM: nonce, ciphertext, tag).';
COMMENT ON COLUMN github_connections.token_encrypted IS 'Secret: access token for the repository, encrypted with the data key.';
COMMENT ON COLUMN github_connections.created_at IS 'When it was connected.';
COMMENT ON COLUMN github_connections.renewed_at IS 'When its credentials were last connected or renewed; null for created_at. The newest is listed first.';
COMMENT ON COLUMN github_connections.removed_at IS 'When it was removed together with its secret; null while it can be used.';
CREATE UNIQUE INDEX github_connections_one_per_branch
    ON github_connections (tenant, lower(owner COLLATE "C"), lower(repo COLLATE "C"), branch) WHERE removed_at IS NULL;

CREATE TABLE github_build_secrets (
    connection_id   text        NOT NULL REFERENCES github_connections (id) ON DELETE CASCADE,
    name            text        NOT NULL,
    value_encrypted bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connection_id, name)
);
COMMENT ON TABLE github_build_secrets IS 'Secrets that builds of a connection''s repository may read; removed with the connection.';
COMMENT ON COLUMN github_build_secrets.connection_id IS 'The connection to the source repository.';
COMMENT ON COLUMN github_build_secrets.name IS 'Name in the build: RUN --mount=type=secret,id=NAME.';
COMMENT ON COLUMN github_build_secrets.value_encrypted IS 'Secret: the value, encrypted with the connection''s data key, which rotation wraps again.';
COMMENT ON COLUMN github_build_secrets.created_at IS 'When it was first set.';
COMMENT ON COLUMN github_build_secrets.updated_at IS 'When it was last set.';

CREATE TABLE aws_connections (
    id                          text        PRIMARY KEY,
    region                      text        NOT NULL,
    account_id                  text        NOT NULL,
    identity                    text,
    access_key_id               text,
    role_arn                    text,
    scope                       text[]      CHECK (cardinality(scope) > 0),
    tenant                      text        CHECK (length(tenant) = 64),
    key_id                      text,
    wrapped_key                 bytea,
    secret_access_key_encrypted bytea,
    session_token_encrypted     bytea,
    external_id_encrypted       bytea,
    created_at                  timestamptz NOT NULL DEFAULT now(),
    renewed_at                  timestamptz,
    removed_at                  timestamptz,
    rule_target_role_arn        text,
    cleanup_since               timestamptz,
    CONSTRAINT aws_connections_cleanup_after_removal CHECK (cleanup_since IS NULL OR removed_at IS NOT NULL),
    CONSTRAINT aws_connections_keys_or_role CHECK (CASE
        WHEN removed_at IS NOT NULL AND cleanup_since IS NULL
        THEN num_nonnulls(wrapped_key, secret_access_key_encrypted, session_token_encrypted, external_id_encrypted) = 0
        WHEN removed_at IS NOT NULL THEN true
        WHEN role_arn IS NULL THEN num_nonnulls(access_key_id, secret_access_key_encrypted) = 2 AND external_id_encrypted IS NULL
        ELSE num_nonnulls(access_key_id, secret_access_key_encrypted, session_token_encrypted) = 0 END),
    CONSTRAINT aws_connections_encrypted CHECK (
        (key_id IS NULL) = (wrapped_key IS NULL)
        AND (num_nonnulls(secret_access_key_encrypted, session_token_encrypted, external_id_encrypted) = 0 OR key_id IS NOT NULL))
);
COMMENT ON TABLE aws_connections IS 'A user''s AWS account: either access keys or a role to assume. The API never returns its secrets.';
COMMENT ON COLUMN aws_connections.id IS 'aws_ and random characters.';
COMMENT ON COLUMN aws_connections.region IS 'AWS region, for example ap-northeast-2.';
COMMENT ON COLUMN aws_connections.account_id IS 'Twelve digits, from STS GetCallerIdentity when connecting.';
COMMENT ON COLUMN aws_connections.identity IS 'ARN of the credentials: the user, or the role without its session; null for a connection that no request renews.';
COMMENT ON COLUMN aws_connections.access_key_id IS 'Access key id; null for a role.';
COMMENT ON COLUMN aws_connections.role_arn IS 'Role to assume; null for keys.';
COMMENT ON COLUMN aws_connections.scope IS 'Repositories that may be deployed with it: those of the caller that connected it, or fewer; null for all.';
COMMENT ON COLUMN aws_connections.tenant IS 'SHA-256 (hex) of the scope that connected it and the repositories that it is for. Connecting again renews the connection of the same tenant only; null for a connection that no request renews.';
COMMENT ON COLUMN aws_connections.key_id IS 'Id of the server''s key that wraps wrapped_key; null when the row has no secret.';
COMMENT ON COLUMN aws_connections.wrapped_key IS 'The row''s own data key, wrapped (AES-256-GCM: nonce, ciphertext, tag).';
COMMENT ON COLUMN aws_connections.secret_access_key_encrypted IS 'Secret: secret access key, encrypted with the data key; null for a role.';
COMMENT ON COLUMN aws_connections.session_token_encrypted IS 'Secret: session token of temporary keys, encrypted with the data key; null otherwise.';
COMMENT ON COLUMN aws_connections.external_id_encrypted IS 'Secret: external id that is sent when the role is assumed, encrypted with the data key; null for keys.';
COMMENT ON COLUMN aws_connections.created_at IS 'When it was connected.';
COMMENT ON COLUMN aws_connections.renewed_at IS 'When its credentials were last connected or renewed; null for created_at. The newest is listed first.';
COMMENT ON COLUMN aws_connections.removed_at IS 'When it was removed; null while it can be used. Its secrets are removed with it, or later: cleanup_since.';
COMMENT ON COLUMN aws_connections.rule_target_role_arn IS 'Role of the account that EventBridge assumes for the target of its rules; null for the server''s setting.';
COMMENT ON COLUMN aws_connections.cleanup_since IS 'When the removed connection''s rules and statement in AWS began to be removed; null when nothing is left. Its secrets stay until the rules are removed, for an hour at most.';
CREATE INDEX aws_connections_cleanup ON aws_connections (cleanup_since) WHERE cleanup_since IS NOT NULL;
CREATE UNIQUE INDEX aws_connections_one_per_identity ON aws_connections (tenant, account_id, region, identity) WHERE removed_at IS NULL;

-- ---- Deployments

-- fillfactor: a takeover updates every row of a page together, and each row grows while facts are added. More than half of a page has to be free, or the new row
-- versions move to other pages and every index is written as well.
CREATE TABLE deployments (
    id                           text        PRIMARY KEY,
    -- the request
    owner                        text        NOT NULL,
    repo                         text        NOT NULL,
    branch                       text        NOT NULL,
    build                        jsonb       CHECK (jsonb_typeof(build) = 'object'),
    reason                       text        CHECK (reason <> ''),
    kind                         text        NOT NULL DEFAULT 'planned' CHECK (kind IN ('planned', 'hotfix', 'rollback')),
    requested_labels             jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(requested_labels) = 'object'),
    concurrency                  text        NOT NULL DEFAULT 'reject' CHECK (concurrency IN ('reject', 'queue', 'supersede')),
    github_connection_id         text        NOT NULL REFERENCES github_connections (id),
    aws_connection_id            text        NOT NULL REFERENCES aws_connections (id),
    account_id                   text        NOT NULL,
    region                       text        NOT NULL,
    ecr_repository               text        NOT NULL,
    caused_by                    text,
    rolls_back                   boolean     NOT NULL DEFAULT false,
    trace_id                     text        NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', '') CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    trace_parent                 text        CHECK (trace_parent ~ '^[0-9a-f]{16}$'),
    started_at                   timestamptz NOT NULL DEFAULT now(),
    -- the present attempt
    attempt                      integer     NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    status                       text        NOT NULL DEFAULT 'RUNNING'
                                 CHECK (status IN ('RUNNING', 'DEPLOYMENT_READY', 'COMPLETED', 'FAILED')),
    error_code                   text,
    error_message                text,
    started_by                   text,
    attempt_started_at           timestamptz NOT NULL DEFAULT now(),
    retried_at                   timestamptz,
    queued                       boolean     NOT NULL DEFAULT false,
    queued_at                    timestamptz,
    turn_at                      timestamptz,
    freeze_overridden            boolean     NOT NULL DEFAULT false,
    policy_version               integer,
    policy                       jsonb       CHECK (jsonb_typeof(policy) = 'object'),
    labels                       jsonb       NOT NULL GENERATED ALWAYS AS (coalesce(policy -> 'labels', '{}') || requested_labels) STORED,
    blue_green_started_at        timestamptz,
    ready_at                     timestamptz,
    completed_at                 timestamptz,
    traffic_moved_at             timestamptz,
    outcome                      text        CHECK (outcome IN ('ok', 'failed', 'rework')),
    -- commands: the only columns that the API writes after the insert
    switch_requested_at          timestamptz,
    cancel_requested_at          timestamptz,
    superseded_by                text,
    rollback_requested_at        timestamptz,
    -- the rows of audit of these commands, which are never deleted
    start_audit_id               bigint,
    switch_audit_id              bigint,
    cancel_audit_id              bigint,
    rollback_audit_id            bigint,
    -- work of the reconciler
    active                       boolean     NOT NULL GENERATED ALWAYS AS (CASE status
                                     WHEN 'RUNNING' THEN NOT queued OR cancel_requested_at IS NOT NULL
                                     WHEN 'DEPLOYMENT_READY' THEN (NOT queued AND (switch_requested_at IS NOT NULL OR look_requested_at IS NOT NULL))
                                                                  OR cancel_requested_at IS NOT NULL
                                     WHEN 'COMPLETED' THEN look_requested_at IS NOT NULL OR rollback_requested_at IS NOT NULL
                                     ELSE false END) STORED,
    replica_id                   uuid,
    version                      bigint      NOT NULL DEFAULT 0,
    step                         text        NOT NULL,
    step_state                   jsonb       NOT NULL DEFAULT '{}',
    step_started_at              timestamptz NOT NULL DEFAULT now(),
    run_started_at               timestamptz,
    waiting_for                  text,
    waiting_for_form             jsonb,
    claims_without_progress      integer     NOT NULL DEFAULT 0,
    next_event_seq               bigint      NOT NULL DEFAULT 1,
    -- facts, and those that reports sort and count by: read from JSON for each row, they would cost more than the rest of the report
    facts                        jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(facts) = 'object'),
    committed_at                 timestamptz GENERATED ALWAYS AS (to_timestamp((facts ->> 'committed_at')::double precision)) STORED,
    final_service                text        GENERATED ALWAYS AS (facts ->> 'final_service') STORED CHECK (final_service IN ('blue', 'green')),
    last_history_event_id        bigint      GENERATED ALWAYS AS ((facts ->> 'last_history_event_id')::bigint) STORED,
    -- the cursor of reports: only that of a finished row is in an index, so that the updates of a poll stay HOT
    updated_at                   timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at                   timestamptz GENERATED ALWAYS AS (CASE WHEN status IN ('COMPLETED', 'FAILED') THEN updated_at END) STORED,
    -- the watch of what AWS may change (docs/decisions/0057-watching-deployments-at-aws.md)
    watched                      boolean     NOT NULL DEFAULT false,
    look_requested_at            timestamptz,
    CONSTRAINT deployments_watched_at_rest CHECK (NOT watched OR status IN ('DEPLOYMENT_READY', 'COMPLETED')),
    CONSTRAINT deployments_looked_at_while_watched CHECK (watched OR look_requested_at IS NULL),
    CONSTRAINT deployments_rolled_back_after_switch CHECK (rollback_requested_at IS NULL OR status IN ('COMPLETED', 'FAILED')),
    CONSTRAINT deployments_failed_has_code CHECK ((status = 'FAILED') = (error_code IS NOT NULL)),
    CONSTRAINT deployments_end_is_dated CHECK ((status IN ('COMPLETED', 'FAILED')) = (completed_at IS NOT NULL))
) WITH (fillfactor = 40);
COMMENT ON TABLE deployments IS 'One row per deployment. The API inserts it and writes commands; only the reconciler that owns the row writes the rest.';
COMMENT ON COLUMN deployments.id IS 'dep_ and random characters; also the image''s tag and label.';
COMMENT ON COLUMN deployments.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN deployments.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN deployments.branch IS 'Branch that is deployed; or in its place "tag NAME", "commit ID" or "image DIGEST": no branch has a space in its name.';
COMMENT ON COLUMN deployments.build IS 'Build options of the request: dockerfile, context, target, args, platform, names of secrets; null when it had none.';
COMMENT ON COLUMN deployments.reason IS 'Reason in the caller''s words; null when they gave none.';
COMMENT ON COLUMN deployments.kind IS 'Purpose: planned, hotfix or rollback.';
COMMENT ON COLUMN deployments.concurrency IS 'Policy of the request for a target that is taken: reject, queue or supersede.';
COMMENT ON COLUMN deployments.github_connection_id IS 'The connection whose token reads the source.';
COMMENT ON COLUMN deployments.aws_connection_id IS 'The connection to the user''s AWS account.';
COMMENT ON COLUMN deployments.account_id IS 'AWS account that is deployed to (twelve digits).';
COMMENT ON COLUMN deployments.region IS 'AWS region that is deployed to.';
COMMENT ON COLUMN deployments.ecr_repository IS 'Name of the ECR repository that receives the image.';
COMMENT ON COLUMN deployments.caused_by IS 'The deployment that this one rolls back. It is ahead of others in the queue. Null for any other deployment.';
COMMENT ON COLUMN deployments.rolls_back IS 'It brings a version back that was live in its target: caused_by, or kind rollback of such an image. No freeze holds it.';
COMMENT ON COLUMN deployments.trace_id IS 'Trace in OpenTelemetry (W3C Trace Context): the caller''s, or the deployment''s own.';
COMMENT ON COLUMN deployments.trace_parent IS 'The caller''s span, from the header traceparent; null when there was none.';
COMMENT ON COLUMN deployments.started_at IS 'When the deployment was requested (UTC).';
COMMENT ON COLUMN deployments.attempt IS '1, and one more for each retry.';
COMMENT ON COLUMN deployments.status IS 'RUNNING, DEPLOYMENT_READY (green is up, awaiting an approver''s switch), COMPLETED or FAILED.';
COMMENT ON COLUMN deployments.error_code IS 'Stable code of the failure; null unless FAILED.';
COMMENT ON COLUMN deployments.error_message IS 'Description of the failure and its remedy, in the catalogue''s default language; null unless FAILED.';
COMMENT ON COLUMN deployments.started_by IS 'Subject of the caller that requested the present attempt; null while authentication is off.';
COMMENT ON COLUMN deployments.attempt_started_at IS 'When the present attempt began, or was dequeued.';
COMMENT ON COLUMN deployments.retried_at IS 'When the last retry was requested; null without one.';
COMMENT ON COLUMN deployments.queued IS 'The deployment waits in the queue of its target, and does not hold the target.';
COMMENT ON COLUMN deployments.queued_at IS 'When the attempt was queued; null when the target was free.';
COMMENT ON COLUMN deployments.turn_at IS 'When the attempt was dequeued; null while it waits, and when it was never queued or was cancelled before.';
COMMENT ON COLUMN deployments.freeze_overridden IS 'An approver overrode the freezes or windows that held the start of this attempt; audit has the reason.';
COMMENT ON COLUMN deployments.policy_version IS 'Version of the policy of its target when this attempt started; null before, and without a policy.';
COMMENT ON COLUMN deployments.policy IS 'That policy, as in policies.';
COMMENT ON COLUMN deployments.requested_labels IS 'Labels of the request; of a rollback, also those of the request that it rolls back.';
COMMENT ON COLUMN deployments.labels IS 'Labels for reports, such as team: those of policy, replaced name by name by those of the request.';
COMMENT ON COLUMN deployments.blue_green_started_at IS 'When the execution was first seen beyond EnsureInfra in this attempt: the end of Stage 3 and beginning of Stage 4; null before.';
COMMENT ON COLUMN deployments.ready_at IS 'When the attempt first became DEPLOYMENT_READY; null before.';
COMMENT ON COLUMN deployments.completed_at IS 'When it became COMPLETED or FAILED; null before.';
COMMENT ON COLUMN deployments.traffic_moved_at IS 'When the traffic was first seen at 100 % on green in this attempt; null before. It stays when AWS rolls back later.';
COMMENT ON COLUMN deployments.outcome IS 'Outcome in production, as a caller marked it: ok, failed (needed immediate intervention) or rework (unplanned, because of an incident). Null: derived from rollbacks and hotfixes.';
COMMENT ON COLUMN deployments.switch_requested_at IS 'Command: when the switch was first requested in this attempt; null again once the listener guard refused it.';
COMMENT ON COLUMN deployments.cancel_requested_at IS 'Command: when the cancellation was first requested in this attempt, by a caller or a newer deployment.';
COMMENT ON COLUMN deployments.superseded_by IS 'The newer deployment of the same target that cancels this one; null when none does.';
COMMENT ON COLUMN deployments.rollback_requested_at IS 'Command: when a rollback at AWS was requested after the switch. A rollback that AWS can no longer carry out clears it.';
COMMENT ON COLUMN deployments.start_audit_id IS 'Row of audit of the request for the present attempt: a deploy or a retry.';
COMMENT ON COLUMN deployments.switch_audit_id IS 'Row of audit of the first request to switch in this attempt: the approval.';
COMMENT ON COLUMN deployments.cancel_audit_id IS 'Row of audit of the first request to cancel in this attempt; of a superseded one, that of the newer deployment.';
COMMENT ON COLUMN deployments.rollback_audit_id IS 'Row of audit of the request for that rollback: who and why.';
COMMENT ON COLUMN deployments.active IS 'A replica can make progress without an operator: running and not queued, or with a request to switch, cancel, roll back or look at AWS.';
COMMENT ON COLUMN deployments.replica_id IS 'The replica that owns the row; null when none does.';
COMMENT ON COLUMN deployments.version IS 'Fencing token: increases with each claim and commit; a write that names an old version changes nothing.';
COMMENT ON COLUMN deployments.step IS 'Stored name of the step that runs next or now; of a finished row, the last one.';
COMMENT ON COLUMN deployments.step_state IS 'State of that step, from the steps before it.';
COMMENT ON COLUMN deployments.step_started_at IS 'When this step began; its time limit counts from here.';
COMMENT ON COLUMN deployments.run_started_at IS 'When the present owner began its present run of the step; null while no replica owns the row.';
COMMENT ON COLUMN deployments.waiting_for IS 'Reason for which the step waits, as an English sentence; null while it works.';
COMMENT ON COLUMN deployments.waiting_for_form IS 'Key and parameters from which waiting_for is written in another language; null for a text that is the same in each.';
COMMENT ON COLUMN deployments.claims_without_progress IS 'Claims since the last committed progress. From six on, the driver reads in step_runs how the runs before were interrupted.';
COMMENT ON COLUMN deployments.next_event_seq IS 'Sequence number of the next event.';
COMMENT ON COLUMN deployments.facts IS 'Facts that steps observed outside: domain::Facts defines keys and types. Each commit merges its patch.';
COMMENT ON COLUMN deployments.committed_at IS 'Commit time of the built commit, from facts; null before the source was fetched, and for an image.';
COMMENT ON COLUMN deployments.final_service IS 'Side with the traffic at the end, from facts: blue or green; null before.';
COMMENT ON COLUMN deployments.last_history_event_id IS 'Id of the last event of the execution''s history that was acted on: the next poll resumes behind it. Null before the first; generated from facts.';
COMMENT ON COLUMN deployments.updated_at IS 'When the row was last written, by the database''s clock; it only increases.';
COMMENT ON COLUMN deployments.settled_at IS 'updated_at of a finished deployment, for the index of reports; null before.';
COMMENT ON COLUMN deployments.watched IS 'AWS can still change it without a caller: ready, or switched while blue lives. The watch polls such rows once a minute.';
COMMENT ON COLUMN deployments.look_requested_at IS 'When the watch saw that AWS has another state than the row; null when nothing is to be looked at. The next owner looks, and its commit clears it.';

-- Indexes of unfinished deployments. Their columns change a few times in a deployment's life, so that the updates of a poll stay HOT.
CREATE INDEX deployments_active ON deployments (id) WHERE active;
CREATE INDEX deployments_cancelling ON deployments (id) WHERE cancel_requested_at IS NOT NULL AND status IN ('RUNNING', 'DEPLOYMENT_READY');
CREATE INDEX deployments_watched ON deployments (aws_connection_id, id) WHERE watched;
CREATE UNIQUE INDEX deployments_one_per_target ON deployments (account_id, region, ecr_repository)
    WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT queued;
CREATE INDEX deployments_queue ON deployments (account_id, region, ecr_repository, (caused_by IS NULL), queued_at, id)
    WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND queued;
-- Removing a connection looks for unfinished deployments that use it.
CREATE INDEX deployments_by_github_connection ON deployments (github_connection_id) WHERE status IN ('RUNNING', 'DEPLOYMENT_READY');
CREATE INDEX deployments_by_aws_connection ON deployments (aws_connection_id) WHERE status IN ('RUNNING', 'DEPLOYMENT_READY');
-- Retention, in the order of ends; reports, in the order of beginnings.
CREATE INDEX deployments_completed ON deployments (completed_at, id) WHERE completed_at IS NOT NULL;
CREATE INDEX deployments_newest ON deployments (started_at DESC, id DESC);
CREATE INDEX deployments_settled ON deployments (settled_at) WHERE settled_at IS NOT NULL;
-- Lists, by the keys of scopes (owner/repo, owner/*) with a status and the branch: docs/decisions/0045-scopes-are-index-keys.md. Case is that of ASCII in every
-- database: GitHub's names are ASCII. The time is an expression on purpose: no other index has that order, and so the planner cannot take a rare key for a frequent
-- one and read all rows, newest first, until some match.
CREATE INDEX deployments_by_status ON deployments (status, (started_at AT TIME ZONE 'UTC'), id);
CREATE INDEX deployments_by_repository
    ON deployments ((lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C") || ' ' || status), (started_at AT TIME ZONE 'UTC'), id);
CREATE INDEX deployments_by_owner ON deployments ((lower(owner COLLATE "C") || '/* ' || status), (started_at AT TIME ZONE 'UTC'), id);
CREATE INDEX deployments_by_repository_branch
    ON deployments ((lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C") || ' ' || status || ' ' || branch), (started_at AT TIME ZONE 'UTC'), id);
CREATE INDEX deployments_by_owner_branch
    ON deployments ((lower(owner COLLATE "C") || '/* ' || status || ' ' || branch), (started_at AT TIME ZONE 'UTC'), id);
CREATE INDEX deployments_by_target_source
    ON deployments (account_id, region, ecr_repository, (lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C")));

-- The rollbacks of a deployment.
CREATE INDEX deployments_caused ON deployments (caused_by, started_at DESC) WHERE caused_by IS NOT NULL;
-- The releases of each target, the live one first: one entry is read a target for the list of targets.
CREATE INDEX deployments_live ON deployments (account_id, region, ecr_repository, completed_at DESC) WHERE status = 'COMPLETED';

-- A clock that was set back must not hide a change from a reader that has seen the later time.
CREATE FUNCTION deployment_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at + interval '1 microsecond');
    RETURN NEW;
END $$;
COMMENT ON FUNCTION deployment_updated IS 'Dates each write of a row of deployments, for readers that load what has changed.';
CREATE TRIGGER deployments_updated BEFORE UPDATE ON deployments FOR EACH ROW EXECUTE FUNCTION deployment_updated();

-- A retry would overwrite these columns of the attempt before it.
CREATE TABLE deployment_attempts (
    deployment_id         text        NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    attempt               integer     NOT NULL CHECK (attempt >= 1),
    started_by            text,
    started_at            timestamptz NOT NULL,
    queued_at             timestamptz,
    turn_at               timestamptz,
    blue_green_started_at timestamptz,
    ready_at              timestamptz,
    traffic_moved_at      timestamptz,
    switch_requested_at   timestamptz,
    cancel_requested_at   timestamptz,
    superseded_by         text,
    rollback_requested_at timestamptz,
    ended_at              timestamptz NOT NULL,
    step                  text        NOT NULL,
    interrupted_step      text,
    error_code            text        NOT NULL,
    error_message         text        NOT NULL,
    facts                 jsonb       NOT NULL DEFAULT '{}',
    start_audit_id        bigint,
    switch_audit_id       bigint,
    cancel_audit_id       bigint,
    rollback_audit_id     bigint,
    PRIMARY KEY (deployment_id, attempt)
);
COMMENT ON TABLE deployment_attempts IS 'Attempts that failed and were followed by another one; the present attempt is the row of deployments. Append-only.';
COMMENT ON COLUMN deployment_attempts.deployment_id IS 'The deployment.';
COMMENT ON COLUMN deployment_attempts.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN deployment_attempts.started_by IS 'Subject of the caller that requested the attempt; null while authentication is off.';
COMMENT ON COLUMN deployment_attempts.started_at IS 'When the attempt began, or was dequeued.';
COMMENT ON COLUMN deployment_attempts.queued_at IS 'When the attempt was queued; null when the target was free.';
COMMENT ON COLUMN deployment_attempts.turn_at IS 'When the attempt was dequeued; null when it was never queued or was cancelled before.';
COMMENT ON COLUMN deployment_attempts.blue_green_started_at IS 'When the execution was first seen beyond EnsureInfra; null when it did not get there.';
COMMENT ON COLUMN deployment_attempts.ready_at IS 'When the attempt became DEPLOYMENT_READY; null when it did not.';
COMMENT ON COLUMN deployment_attempts.traffic_moved_at IS 'When the traffic was first seen at 100 % on green, of an attempt that AWS rolled back later; otherwise null.';
COMMENT ON COLUMN deployment_attempts.switch_requested_at IS 'When the switch was requested in this attempt; null without a request.';
COMMENT ON COLUMN deployment_attempts.cancel_requested_at IS 'When the cancellation was requested, by a caller or a newer deployment; null without a request.';
COMMENT ON COLUMN deployment_attempts.superseded_by IS 'The newer deployment that cancelled the attempt; null when none did.';
COMMENT ON COLUMN deployment_attempts.rollback_requested_at IS 'When the rollback at AWS was requested that failed the attempt; null without a request.';
COMMENT ON COLUMN deployment_attempts.ended_at IS 'When the attempt failed.';
COMMENT ON COLUMN deployment_attempts.step IS 'Stored name of the step that failed.';
COMMENT ON COLUMN deployment_attempts.interrupted_step IS 'Stored name of the step that the cancellation interrupted; null when the attempt was not cancelled.';
COMMENT ON COLUMN deployment_attempts.error_code IS 'Stable code of the failure.';
COMMENT ON COLUMN deployment_attempts.error_message IS 'Description of the failure, in the catalogue''s default language.';
COMMENT ON COLUMN deployment_attempts.facts IS 'Facts of the deployment when the attempt failed, as in deployments.';
COMMENT ON COLUMN deployment_attempts.start_audit_id IS 'Row of audit of the request for the attempt: a deploy or a retry.';
COMMENT ON COLUMN deployment_attempts.switch_audit_id IS 'Row of audit of the first request to switch in this attempt: the approval.';
COMMENT ON COLUMN deployment_attempts.cancel_audit_id IS 'Row of audit of the first request to cancel in this attempt; of a superseded one, that of the newer deployment.';
COMMENT ON COLUMN deployment_attempts.rollback_audit_id IS 'Row of audit of the request for a rollback at AWS: who and why.';

CREATE TABLE step_stages (
    step        text PRIMARY KEY,
    stage       text NOT NULL CHECK (stage <> ''),
    later_stage text CHECK (later_stage <> '')
);
COMMENT ON TABLE step_stages IS 'Stage of each step, for reports. The program''s list of steps (src/steps) is the source: migrate and every start of a server write it here.';
COMMENT ON COLUMN step_stages.step IS 'Stored name of the step.';
COMMENT ON COLUMN step_stages.stage IS 'Stage as users see it: Step 1, Step 2, Stage 1 to Stage 4, Retry, Cancel or Rollback.';
COMMENT ON COLUMN step_stages.later_stage IS 'Stage of the step after blue_green_started_at; null for a step within one stage.';

-- docs/decisions/0007-a-record-per-transition.md
CREATE TABLE step_runs (
    deployment_id text        NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    version       bigint      NOT NULL,
    attempt       integer     NOT NULL,
    step          text        NOT NULL,
    replica_id    uuid        NOT NULL,
    replica_name  text,
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz NOT NULL,
    outcome       text        NOT NULL
                  CHECK (outcome IN ('next', 'ready', 'completed', 'failed', 'retry', 'handed_over', 'lost', 'lease_lost')),
    error_code    text,
    reason        text,
    tries         integer     NOT NULL DEFAULT 1 CHECK (tries >= 1),
    PRIMARY KEY (deployment_id, version)
);
COMMENT ON TABLE step_runs IS 'A run of one step of a deployment by one replica, written by the statement that ended it. Between two rows no replica worked on the deployment.';
COMMENT ON COLUMN step_runs.deployment_id IS 'The deployment.';
COMMENT ON COLUMN step_runs.version IS 'Version of the deployment after the ending statement: there is one such statement, so there is one such row.';
COMMENT ON COLUMN step_runs.attempt IS 'Attempt of the deployment.';
COMMENT ON COLUMN step_runs.step IS 'Stored name of the step.';
COMMENT ON COLUMN step_runs.replica_id IS 'The replica that worked on it.';
COMMENT ON COLUMN step_runs.replica_name IS 'Its host name and process id, for people; null when its row was deleted before.';
COMMENT ON COLUMN step_runs.started_at IS 'When the replica claimed the row, or ended the run before.';
COMMENT ON COLUMN step_runs.ended_at IS 'When the run ended; of a lost one, when another replica took over.';
COMMENT ON COLUMN step_runs.outcome IS 'next (another step), ready, completed, failed, retry (could not do its work, and waits before the next try), handed_over (released at a shutdown or for want of a build permit), lost (its process died, or has not joined again since), lease_lost (its process lives, and could not renew its lease in time).';
COMMENT ON COLUMN step_runs.error_code IS 'Error code of the last failed try; null when none failed.';
COMMENT ON COLUMN step_runs.reason IS 'Description of that failure; null when no try failed.';
COMMENT ON COLUMN step_runs.tries IS 'Number of tries in this run: 1, and one more for each failure that was tried again.';
CREATE INDEX step_runs_troubled ON step_runs (error_code, ended_at) WHERE error_code IS NOT NULL;
CREATE INDEX step_runs_lost ON step_runs (replica_id) WHERE outcome = 'lost';

-- docs/decisions/0060-retries-renewals-and-replays.md
CREATE TABLE history_pieces (
    deployment_id  text        NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    version        bigint      NOT NULL,
    attempt        integer     NOT NULL,
    execution_arn  text        NOT NULL,
    first_event_id bigint      NOT NULL,
    last_event_id  bigint      NOT NULL,
    events         text        NOT NULL,
    read_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (deployment_id, version),
    CONSTRAINT history_pieces_ascend CHECK (first_event_id <= last_event_id)
);
COMMENT ON TABLE history_pieces IS 'The events of the Step Functions execution that one commit acted on, for panda replay. Deleted with the events of the deployment.';
COMMENT ON COLUMN history_pieces.deployment_id IS 'The deployment.';
COMMENT ON COLUMN history_pieces.version IS 'Version of the deployment after that commit.';
COMMENT ON COLUMN history_pieces.attempt IS 'Attempt of the deployment.';
COMMENT ON COLUMN history_pieces.execution_arn IS 'ARN of the execution.';
COMMENT ON COLUMN history_pieces.first_event_id IS 'Id of the first event.';
COMMENT ON COLUMN history_pieces.last_event_id IS 'Id of the last event.';
COMMENT ON COLUMN history_pieces.events IS 'The events as AWS reported them, as a JSON array, with the secrets of the connections masked, and without the texts that are not read or are too large. Not jsonb: a text may contain an escaped NUL.';
COMMENT ON COLUMN history_pieces.read_at IS 'When they were acted on.';

-- ---- Events, and their one order (docs/decisions/0014-an-order-for-all-events.md)

CREATE TABLE event_clock (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    shift bigint  NOT NULL CHECK (shift >= 0)
);
COMMENT ON TABLE event_clock IS 'One row: the number that this cluster adds to its transaction ids, so that events of a restored database stay before its own.';
COMMENT ON COLUMN event_clock.one IS 'Always true: there is one row.';
COMMENT ON COLUMN event_clock.shift IS '0, until a restore into a cluster whose transaction ids are lower than the stored ones.';
INSERT INTO event_clock (shift) VALUES (0);

CREATE FUNCTION event_place() RETURNS bigint LANGUAGE sql STABLE
    AS 'SELECT pg_current_xact_id()::text::bigint + shift FROM event_clock';
COMMENT ON FUNCTION event_place() IS 'The place of the events that this transaction writes.';

-- autovacuum: a night's deletions are a small share of the table, and the usual fifth would leave them for months.
CREATE TABLE deployment_events (
    deployment_id text        NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    seq           bigint      NOT NULL CHECK (seq >= 1),
    id            uuid        NOT NULL,
    place         bigint      NOT NULL DEFAULT event_place(),
    attempt       integer     NOT NULL,
    key           text        NOT NULL,
    code          text        NOT NULL,
    type          text        NOT NULL CHECK (type IN ('stage', 'success', 'fail')),
    stage         integer,
    message       text        NOT NULL,
    details       jsonb,
    params        jsonb       NOT NULL,
    status        text        NOT NULL CHECK (status IN ('RUNNING', 'DEPLOYMENT_READY', 'COMPLETED', 'FAILED')),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (deployment_id, seq),
    CONSTRAINT deployment_events_key UNIQUE (deployment_id, attempt, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE deployment_events IS 'The events of deployments, in order and without gaps: append-only. The event stream is this table.';
COMMENT ON COLUMN deployment_events.deployment_id IS 'The deployment.';
COMMENT ON COLUMN deployment_events.seq IS '1, 2, 3 … within the deployment, drawn under the row lock of the deployment.';
COMMENT ON COLUMN deployment_events.id IS 'The stream''s event id: the same on every replica and connection.';
COMMENT ON COLUMN deployment_events.place IS 'Transaction that wrote the row, plus event_clock.shift: the order of all events is (place, deployment_id, seq).';
COMMENT ON COLUMN deployment_events.attempt IS 'Attempt of the deployment.';
COMMENT ON COLUMN deployment_events.key IS 'Name of the occurrence: a repeated step cannot publish the same event twice in one attempt.';
COMMENT ON COLUMN deployment_events.code IS 'Code of the event in the catalogue.';
COMMENT ON COLUMN deployment_events.type IS 'Name of the event on the wire: stage, success or fail.';
COMMENT ON COLUMN deployment_events.stage IS 'Stage 1 to 4 as users see it; null for success and fail.';
COMMENT ON COLUMN deployment_events.message IS 'The message in the catalogue''s default language (Korean).';
COMMENT ON COLUMN deployment_events.details IS 'The details in the catalogue''s default language; null for success and fail.';
COMMENT ON COLUMN deployment_events.params IS 'Parameters from which message and details are rendered in any language.';
COMMENT ON COLUMN deployment_events.status IS 'Status of the deployment after the commit that wrote the row.';
COMMENT ON COLUMN deployment_events.created_at IS 'When it was recorded.';
CREATE INDEX deployment_events_id ON deployment_events (deployment_id, id);
-- The program compares ids byte by byte, in every locale of the database.
CREATE INDEX deployment_events_place ON deployment_events (place, deployment_id COLLATE "C", seq);
-- Rows arrive in the order of time: a tiny index finds a range of it.
CREATE INDEX deployment_events_time ON deployment_events USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);

-- ---- Freezes: times in which deployments are not started, or not switched (docs/rollouts.md)

CREATE TABLE freezes (
    id         text        PRIMARY KEY,
    scope      text        NOT NULL CHECK (scope = 'all' OR scope ~ '^(account|region|owner|repository):.'),
    holds      text        NOT NULL CHECK (holds IN ('starts', 'switches', 'both')),
    reason     text        NOT NULL CHECK (reason <> ''),
    created_by text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    lifted_at  timestamptz,
    lifted_by  text,
    CONSTRAINT freezes_end_after_start CHECK (ends_at > starts_at),
    CONSTRAINT freezes_lifted_by_a_caller CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
COMMENT ON TABLE freezes IS 'Freezes, kept after their end. src/domain/freeze.rs has the rule.';
COMMENT ON COLUMN freezes.id IS 'frz_ and random characters.';
COMMENT ON COLUMN freezes.scope IS 'Deployments that it concerns: all, account:ID, region:NAME, owner:NAME or repository:OWNER/NAME, names of GitHub in lower case.';
COMMENT ON COLUMN freezes.holds IS 'Acts that it holds: starts, switches or both.';
COMMENT ON COLUMN freezes.reason IS 'Reason in the words of its author.';
COMMENT ON COLUMN freezes.created_by IS 'Subject of the caller that created it, as in audit.';
COMMENT ON COLUMN freezes.created_at IS 'When it was created.';
COMMENT ON COLUMN freezes.starts_at IS 'From when on it holds.';
COMMENT ON COLUMN freezes.ends_at IS 'Until when it holds, unless it is lifted before.';
COMMENT ON COLUMN freezes.lifted_at IS 'When it was lifted before its end; null otherwise.';
COMMENT ON COLUMN freezes.lifted_by IS 'Subject of the caller that lifted it; null otherwise.';
CREATE INDEX freezes_pending ON freezes (ends_at) WHERE lifted_at IS NULL;
CREATE INDEX freezes_newest ON freezes (created_at DESC, id DESC);

-- ---- Policies: what a target permits (docs/rollouts.md)

CREATE TABLE policies (
    owner      text        NOT NULL CHECK (owner <> ''),
    repo       text        NOT NULL CHECK (repo <> ''),
    account_id text        NOT NULL,
    region     text        NOT NULL,
    version    integer     NOT NULL CHECK (version >= 1),
    policy     jsonb       NOT NULL CHECK (jsonb_typeof(policy) = 'object'),
    created_by text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, repo, account_id, region, version),
    CONSTRAINT policies_of_a_target_or_a_repository CHECK ((account_id = '') = (region = ''))
);
COMMENT ON TABLE policies IS 'Every version of each policy: append-only. The newest one is in force. src/domain/policy.rs has the rules.';
COMMENT ON COLUMN policies.owner IS 'GitHub account or organisation of the source, in lower case.';
COMMENT ON COLUMN policies.repo IS 'GitHub repository of the source, in lower case.';
COMMENT ON COLUMN policies.account_id IS 'AWS account that is deployed to; empty for all targets of the repository without a policy.';
COMMENT ON COLUMN policies.region IS 'AWS region that is deployed to; empty as account_id is.';
COMMENT ON COLUMN policies.version IS '1, 2, 3 … of the repository, account and region.';
COMMENT ON COLUMN policies.policy IS 'The rules, as the API returns them.';
COMMENT ON COLUMN policies.created_by IS 'Subject of the caller that stored the version, as in audit.';
COMMENT ON COLUMN policies.created_at IS 'When it was stored.';

CREATE FUNCTION policy_of(owner text, repo text, account_id text, region text) RETURNS policies LANGUAGE sql STABLE
    AS $$ SELECT p FROM policies p
          WHERE p.owner = lower(policy_of.owner COLLATE "C") AND p.repo = lower(policy_of.repo COLLATE "C")
            AND (p.account_id, p.region) IN ((policy_of.account_id, policy_of.region), ('', ''))
          ORDER BY p.account_id DESC, p.version DESC LIMIT 1 $$;
COMMENT ON FUNCTION policy_of IS 'The policy of a target: the newest version of its own, else of its repository; null without one.';

CREATE TABLE approvals (
    deployment_id text        NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    attempt       integer     NOT NULL,
    subject       text        NOT NULL,
    image_digest  text        NOT NULL,
    audit_id      bigint      NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (deployment_id, attempt, subject, image_digest)
);
COMMENT ON TABLE approvals IS 'Approvals of a switch that needs several approvers. The row of the last one that was needed is in audit as the switch.';
COMMENT ON COLUMN approvals.deployment_id IS 'The deployment.';
COMMENT ON COLUMN approvals.attempt IS 'Its attempt.';
COMMENT ON COLUMN approvals.subject IS 'The approver, as in audit.';
COMMENT ON COLUMN approvals.image_digest IS 'Digest of the image that was approved; empty where it is not known. An approval of another image does not count.';
COMMENT ON COLUMN approvals.audit_id IS 'Row of audit of the approval.';
COMMENT ON COLUMN approvals.at IS 'When it was given. Approvals from before the last event awaiting_switch are for an earlier pause of the rollout, and do not count.';

-- ---- Access (docs/decisions/0016-roles-and-scopes.md, 0017-sessions-and-tickets.md, 0041-permissions-that-end.md)
-- Tokens are stored as their SHA-256 alone: each has 256 random bits, so that no slower hash is needed.

-- Scopes are stored in ASCII lower case. Case is folded as in ASCII in every locale: with Turkish rules the lower case of I is not i. In the statements that use it,
-- this is the expression itself: a SQL function without settings is inlined.
CREATE FUNCTION in_scope(owner text, repo text, scope text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT scope IS NULL OR lower(owner COLLATE "C") || '/*' = ANY (scope)
           OR lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C") = ANY (scope) $$;
COMMENT ON FUNCTION in_scope IS 'Reports that a repository is in a scope; a null scope contains all.';

CREATE TABLE api_tokens (
    id         text        PRIMARY KEY,
    name       text        NOT NULL CHECK (name <> ''),
    token_hash bytea       NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    role       text        NOT NULL CHECK (role IN ('viewer', 'deployer', 'approver', 'admin')),
    scope      text[]      CHECK (cardinality(scope) > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON TABLE api_tokens IS 'Tokens with which programs and people use the API.';
COMMENT ON COLUMN api_tokens.id IS 'tok_…: names the token, and is no secret.';
COMMENT ON COLUMN api_tokens.name IS 'Name of the holder in the operator''s words: the subject of the token''s actions.';
COMMENT ON COLUMN api_tokens.token_hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN api_tokens.role IS 'viewer, deployer, approver or admin: each includes those before it.';
COMMENT ON COLUMN api_tokens.scope IS 'Repositories, owner/repo or owner/*, in lower case; null for all.';
COMMENT ON COLUMN api_tokens.created_at IS 'When it was created.';
COMMENT ON COLUMN api_tokens.expires_at IS 'When it expires; null for never.';
COMMENT ON COLUMN api_tokens.revoked_at IS 'When it was revoked; null while it is valid.';

CREATE TABLE sessions (
    session_hash bytea       PRIMARY KEY CHECK (octet_length(session_hash) = 32),
    credential   bytea       CHECK (octet_length(credential) = 32),
    principal    jsonb       NOT NULL,
    identity     jsonb,
    writes       boolean     NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL
);
COMMENT ON TABLE sessions IS 'Signed-in browsers, by their cookie (docs/decisions/0017-sessions-and-tickets.md, 0069-sessions-of-the-page.md).';
COMMENT ON COLUMN sessions.session_hash IS 'SHA-256 of the cookie''s value.';
COMMENT ON COLUMN sessions.credential IS 'SHA-256 of the token that opened the session, which ends with the token; null for an OpenID Connect subject, or when authentication was off.';
COMMENT ON COLUMN sessions.principal IS 'The principal: subject, kind, role, scope, expiresAt.';
COMMENT ON COLUMN sessions.identity IS 'Issuer and claims of an OpenID Connect subject, to which the issuer''s present rules give role and scope; null for other principals.';
COMMENT ON COLUMN sessions.writes IS 'True for a session of the web page''s sign-in, which may do what its role allows; false for one of POST /api/v1/session, which may only read.';
COMMENT ON COLUMN sessions.created_at IS 'When it was opened.';
COMMENT ON COLUMN sessions.expires_at IS 'When it expires.';
CREATE INDEX sessions_expires_at ON sessions (expires_at);

CREATE TABLE stream_tickets (
    ticket_hash   bytea       PRIMARY KEY CHECK (octet_length(ticket_hash) = 32),
    deployment_id text        REFERENCES deployments (id) ON DELETE CASCADE,
    credential    bytea       CHECK (octet_length(credential) = 32),
    principal     jsonb       NOT NULL,
    expires_at    timestamptz NOT NULL
);
COMMENT ON TABLE stream_tickets IS 'Single-use tickets: each opens one event stream, which deletes the row.';
COMMENT ON COLUMN stream_tickets.ticket_hash IS 'SHA-256 of the ticket.';
COMMENT ON COLUMN stream_tickets.deployment_id IS 'The deployment of the stream; null for the stream of all deployments.';
COMMENT ON COLUMN stream_tickets.credential IS 'As in sessions.';
COMMENT ON COLUMN stream_tickets.principal IS 'As in sessions.';
COMMENT ON COLUMN stream_tickets.expires_at IS 'When it expires.';
CREATE INDEX stream_tickets_expires_at ON stream_tickets (expires_at);
-- Deleting a deployment deletes its tickets.
CREATE INDEX stream_tickets_deployment ON stream_tickets (deployment_id) WHERE deployment_id IS NOT NULL;

CREATE TABLE revoked_subjects (
    id         text        NOT NULL UNIQUE,
    principal  text        PRIMARY KEY CHECK (principal <> ''),
    issuer     text        NOT NULL,
    subject    text        NOT NULL,
    reason     text,
    revoked_by text        NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE revoked_subjects IS 'Subjects of OpenID Connect issuers whose tokens are refused, whatever their claims are. Lifting a revocation deletes its row; the audit has both.';
COMMENT ON COLUMN revoked_subjects.id IS 'rev_…';
COMMENT ON COLUMN revoked_subjects.principal IS 'Name of the subject in audit and schedules: issuer without https://, a vertical bar, subject.';
COMMENT ON COLUMN revoked_subjects.issuer IS 'The issuer.';
COMMENT ON COLUMN revoked_subjects.subject IS 'The claim sub of its tokens.';
COMMENT ON COLUMN revoked_subjects.reason IS 'Reason in the words of the caller that revoked it; null when they gave none.';
COMMENT ON COLUMN revoked_subjects.revoked_by IS 'Subject of the caller that revoked it, as in audit.';
COMMENT ON COLUMN revoked_subjects.revoked_at IS 'When it was revoked.';

CREATE TABLE sign_in_settings (
    fingerprint   bytea       PRIMARY KEY CHECK (octet_length(fingerprint) = 32),
    first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE sign_in_settings IS 'Sign-in settings of the running replicas. While a rolling update changes them, replicas with the newest settings run schedules: others would stop schedules of settings that they do not know.';
COMMENT ON COLUMN sign_in_settings.fingerprint IS 'SHA-256 of the settings: required sign-in, admin token, issuers and rules.';
COMMENT ON COLUMN sign_in_settings.first_seen_at IS 'When the first replica with these settings began.';
COMMENT ON COLUMN sign_in_settings.seen_at IS 'When a replica with these settings last renewed the row.';

CREATE TABLE idempotency_keys (
    scope        text        NOT NULL,
    key          text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash bytea       NOT NULL,
    response     jsonb       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);
COMMENT ON TABLE idempotency_keys IS 'Answers kept for repeated requests that carry the same Idempotency-Key.';
COMMENT ON COLUMN idempotency_keys.scope IS 'Method and path of the request.';
COMMENT ON COLUMN idempotency_keys.key IS 'The client''s key, at most 255 characters.';
COMMENT ON COLUMN idempotency_keys.request_hash IS 'HMAC-SHA-256 of scope, key and SHA-256 of the request''s meaning (docs/decisions/0042-request-parsing.md): a plain hash of a body with a secret would confirm a guess of that secret. A different request with the same key is refused.';
COMMENT ON COLUMN idempotency_keys.response IS 'The answer''s body.';
COMMENT ON COLUMN idempotency_keys.created_at IS 'When the key was first used.';
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- ---- Audit: rows are added and never changed. Triggers refuse it for every role, and docs/security.md describes a role for servers without the right to.

CREATE TABLE audit (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    times      integer     NOT NULL DEFAULT 1 CHECK (times >= 1),
    first_at   timestamptz,
    request_id text,
    address    text,
    subject    text        NOT NULL,
    kind       text        NOT NULL,
    token_id   text,
    role       text        NOT NULL,
    action     text        NOT NULL,
    target     text,
    owner      text,
    repo       text,
    result     text        NOT NULL CHECK (result IN ('done', 'refused', 'called')),
    error_code text,
    details    jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT audit_refused_has_code CHECK ((error_code IS NOT NULL) = (result = 'refused')),
    CONSTRAINT audit_counts_refusals CHECK ((first_at IS NOT NULL) = (times > 1))
);
COMMENT ON TABLE audit IS 'Every requested change and its result. A change and its row are one transaction. Completed changes are kept; refusals, and calls of the tools of /mcp, are counted, and deleted by retention.';
COMMENT ON COLUMN audit.id IS 'Order in which the rows were written.';
COMMENT ON COLUMN audit.at IS 'Time of the request; of counted refusals or calls, about the last one.';
COMMENT ON COLUMN audit.times IS 'Number of refusals or calls that the row stands for. A completed change has its own row.';
COMMENT ON COLUMN audit.first_at IS 'Time of the first of several refusals or calls; null for one.';
COMMENT ON COLUMN audit.request_id IS 'X-Request-Id of the request, as in the log and the answer; null for the command line on the server.';
COMMENT ON COLUMN audit.address IS 'Address of the client, as reported by trusted proxies; null for the command line on the server.';
COMMENT ON COLUMN audit.subject IS 'The caller: a token''s name, the subject of an issuer''s token, or the operating system''s user. * in a row that counts refusals of several callers.';
COMMENT ON COLUMN audit.kind IS 'Kind of sign-in: token, oidc, admin, nobody (authentication is off), operator (the command line on the server), schedule (a schedule, at its set time), hook (a push hook), policy (an automatic switch of a policy), several (see subject).';
COMMENT ON COLUMN audit.token_id IS 'The API token (tok_…), if it was one.';
COMMENT ON COLUMN audit.role IS 'The caller''s role.';
COMMENT ON COLUMN audit.action IS 'deploy, switch, cancel, retry, connect.github, connect.aws, connection.renew, connection.remove, build_secret.set, build_secret.remove, schedule.create, schedule.change, schedule.delete, schedule.run, schedule.stop, hook.create, hook.change, hook.delete, hook.rotate, hook.redeliver, session.open, session.close, token.create, token.revoke, subject.revoke, subject.restore, keys.rotate, freeze.create, freeze.lift, policy.set, approve, maintenance.run, log.set, log.reset; mcp. and the name of a tool for each call of it.';
COMMENT ON COLUMN audit.target IS 'Id of the deployment, connection, schedule, push hook, token or revocation.';
COMMENT ON COLUMN audit.owner IS 'Account or organisation of the repository concerned.';
COMMENT ON COLUMN audit.repo IS 'Repository concerned.';
COMMENT ON COLUMN audit.result IS 'done; refused; or called: a tool of /mcp answered, and the change that it requested, if any, has its own row.';
COMMENT ON COLUMN audit.error_code IS 'Code of the refusal, as in the answer.';
COMMENT ON COLUMN audit.details IS 'Further details; never a secret.';
CREATE INDEX audit_refused ON audit (at) WHERE result <> 'done';
-- Pages of the audit log, by the keys of scopes: docs/decisions/0045-scopes-are-index-keys.md
CREATE INDEX audit_by_time ON audit (at, id);
CREATE INDEX audit_by_subject ON audit (subject, (at AT TIME ZONE 'UTC'), id);
CREATE INDEX audit_by_action ON audit (action, (at AT TIME ZONE 'UTC'), id);
CREATE INDEX audit_by_target ON audit (target, (at AT TIME ZONE 'UTC'), id) WHERE target IS NOT NULL;
CREATE INDEX audit_by_repository
    ON audit ((lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C")), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL;
CREATE INDEX audit_by_owner ON audit ((lower(owner COLLATE "C") || '/*'), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL;
CREATE INDEX audit_by_repository_subject
    ON audit ((lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C") || ' ' || subject), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL;
CREATE INDEX audit_by_owner_subject ON audit ((lower(owner COLLATE "C") || '/* ' || subject), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL;
CREATE INDEX audit_by_repository_action
    ON audit ((lower(owner COLLATE "C") || '/' || lower(repo COLLATE "C") || ' ' || action), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL;
CREATE INDEX audit_by_owner_action ON audit ((lower(owner COLLATE "C") || '/* ' || action), (at AT TIME ZONE 'UTC'), id) WHERE owner IS NOT NULL;

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_LEVEL = 'ROW' AND TG_OP = 'DELETE' AND current_setting('panda.forgets', true) = 'refusals' THEN
        IF OLD.result <> 'done' AND OLD.at < clock_timestamp() - interval '30 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the table audit is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
COMMENT ON FUNCTION audit_is_append_only IS 'Refuses every change of rows, except that forget_refusals deletes old refusals.';
CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

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
        SELECT id FROM audit WHERE result <> 'done' AND at < least(older_than, clock_timestamp() - interval '30 days') ORDER BY at LIMIT most));
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('panda.forgets', '', true);
    RETURN gone;
END $$;
COMMENT ON FUNCTION forget_refusals IS 'Deletes the oldest refusals from the audit, of at least 30 days ago, and returns their number. Completed changes are never deleted.';
DO $$
BEGIN
    -- A function with the owner's rights must not find tables of the same names in another schema.
    EXECUTE format('ALTER FUNCTION forget_refusals(timestamptz, bigint) SET search_path = %I, pg_temp', current_schema());
END $$;

-- ---- Schedules (docs/decisions/0026-schedules.md, 0041-permissions-that-end.md)

CREATE TABLE schedules (
    id                   text        PRIMARY KEY,
    name                 text        CHECK (name <> ''),
    cron                 text        NOT NULL,
    time_zone            text        NOT NULL,
    missed               text        NOT NULL CHECK (missed IN ('run_once', 'skip')),
    paused               boolean     NOT NULL,
    next_run_at          timestamptz,
    zone_edition         text        NOT NULL DEFAULT '',
    -- the deployments
    github_connection_id text        NOT NULL REFERENCES github_connections (id),
    aws_connection_id    text        NOT NULL REFERENCES aws_connections (id),
    owner                text        NOT NULL,
    repo                 text        NOT NULL,
    branch               text        NOT NULL,
    concurrency          text        NOT NULL CHECK (concurrency IN ('reject', 'queue', 'supersede')),
    build                jsonb       CHECK (jsonb_typeof(build) = 'object'),
    reason               text        CHECK (reason <> ''),
    kind                 text        NOT NULL DEFAULT 'planned' CHECK (kind IN ('planned', 'hotfix', 'rollback')),
    labels               jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    -- the owner: the principal whose permission the schedule acts with
    made_by              text        NOT NULL,
    made_by_kind         text        NOT NULL,
    made_by_token        text,
    made_by_admin        bytea       CHECK (octet_length(made_by_admin) = 32),
    made_by_issuer       text,
    made_by_claims       jsonb,
    role                 text        NOT NULL CHECK (role IN ('viewer', 'deployer', 'approver', 'admin')),
    scope                text[]      CHECK (cardinality(scope) > 0),
    stopped_at           timestamptz,
    stopped_code         text,
    stopped_reason       text,
    stopped_text         jsonb       CHECK (jsonb_typeof(stopped_text) = 'object'),
    -- the row
    version              bigint      NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    deleted_at           timestamptz,
    CONSTRAINT schedules_next_run_of_those_that_run CHECK (next_run_at IS NULL OR (NOT paused AND deleted_at IS NULL)),
    CONSTRAINT schedules_owner CHECK (CASE made_by_kind
        WHEN 'admin' THEN made_by_admin IS NOT NULL
        WHEN 'oidc' THEN num_nonnulls(made_by_issuer, made_by_claims) = 2
        ELSE true END),
    CONSTRAINT schedules_stopped_with_a_reason CHECK (num_nonnulls(stopped_at, stopped_code, stopped_reason) IN (0, 3))
);
COMMENT ON TABLE schedules IS 'Deployments that start at set times.';
COMMENT ON COLUMN schedules.id IS 'sch_ and random characters.';
COMMENT ON COLUMN schedules.name IS 'Name for people; null without one.';
COMMENT ON COLUMN schedules.cron IS 'Cron expression: minute, hour, day of month, month, day of week.';
COMMENT ON COLUMN schedules.time_zone IS 'Time zone of the expression: a name of the IANA database.';
COMMENT ON COLUMN schedules.missed IS 'Policy for due times at which no replica was running: run_once (one start for all of them) or skip.';
COMMENT ON COLUMN schedules.paused IS 'The schedule is paused until a caller resumes it.';
COMMENT ON COLUMN schedules.next_run_at IS 'The next due time; null while it is paused, when it is deleted, and when no time is left.';
COMMENT ON COLUMN schedules.zone_edition IS 'Edition of the time zone database (such as 2025b) that next_run_at was computed with: a program with a newer one computes it again.';
COMMENT ON COLUMN schedules.github_connection_id IS 'Connection to the source; if it is removed, nothing starts.';
COMMENT ON COLUMN schedules.aws_connection_id IS 'Connection to the target; if it is removed, nothing starts.';
COMMENT ON COLUMN schedules.owner IS 'Account or organisation of the source.';
COMMENT ON COLUMN schedules.repo IS 'Repository of the source.';
COMMENT ON COLUMN schedules.branch IS 'Branch that is deployed; or in its place "tag NAME", "commit ID" or "image DIGEST".';
COMMENT ON COLUMN schedules.concurrency IS 'Policy for a target with an unfinished deployment: reject, queue or supersede.';
COMMENT ON COLUMN schedules.build IS 'Build options of its deployments: dockerfile, context, target, args, platform, names of secrets; null for none.';
COMMENT ON COLUMN schedules.reason IS 'Reason of its deployments; null for none.';
COMMENT ON COLUMN schedules.kind IS 'Purpose of its deployments: planned, hotfix or rollback.';
COMMENT ON COLUMN schedules.labels IS 'Labels of its deployments, which replace those of the policy name by name.';
COMMENT ON COLUMN schedules.made_by IS 'Subject of the owner: the caller that created it, or changed it last.';
COMMENT ON COLUMN schedules.made_by_kind IS 'Kind of their sign-in, as in audit.';
COMMENT ON COLUMN schedules.made_by_token IS 'The API token (tok_…), if it was one: the schedule stops once that is revoked or has expired.';
COMMENT ON COLUMN schedules.made_by_admin IS 'Fingerprint of the admin token (HMAC-SHA256 with its hash as the key), if it was that: the schedule stops once the server has another one.';
COMMENT ON COLUMN schedules.made_by_issuer IS 'The OpenID Connect issuer, if it was a token of one.';
COMMENT ON COLUMN schedules.made_by_claims IS 'The claims of that token without the short-lived ones (exp, jti, …): the issuer''s rules are applied to them before each run.';
COMMENT ON COLUMN schedules.role IS 'The owner''s role, and that of its deployments.';
COMMENT ON COLUMN schedules.scope IS 'The owner''s repositories; null for all.';
COMMENT ON COLUMN schedules.stopped_at IS 'When it stopped because its permission had ended; null while it has not. It starts nothing until a caller takes it over.';
COMMENT ON COLUMN schedules.stopped_code IS 'Reason: TOKEN_REVOKED, TOKEN_EXPIRED, TOKEN_REMOVED, PERMISSION_REDUCED, ADMIN_TOKEN_REPLACED, SUBJECT_REVOKED, ISSUER_REMOVED, SIGN_IN_REQUIRED.';
COMMENT ON COLUMN schedules.stopped_reason IS 'The reason in words, with the remedy.';
COMMENT ON COLUMN schedules.stopped_text IS 'The reason as a key of the catalogue with parameters, for readers of any language.';
COMMENT ON COLUMN schedules.version IS 'Increases with each change by a caller.';
COMMENT ON COLUMN schedules.created_at IS 'When it was created.';
COMMENT ON COLUMN schedules.updated_at IS 'When a caller last changed it.';
COMMENT ON COLUMN schedules.deleted_at IS 'When it was deleted; null while it exists.';
CREATE INDEX schedules_due ON schedules (next_run_at) WHERE next_run_at IS NOT NULL;

CREATE TABLE schedule_runs (
    schedule_id   text        NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    due_at        timestamptz NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    result        text        NOT NULL CHECK (result IN ('started', 'refused', 'failed', 'skipped')),
    times         integer     NOT NULL DEFAULT 1 CHECK (times >= 1),
    deployment_id text,
    error_code    text,
    error_message text,
    error_text    jsonb       CHECK (jsonb_typeof(error_text) = 'object'),
    asked_by      text,
    PRIMARY KEY (schedule_id, due_at),
    CONSTRAINT schedule_runs_started_one CHECK ((deployment_id IS NOT NULL) = (result = 'started')),
    CONSTRAINT schedule_runs_failed_has_code CHECK ((error_code IS NOT NULL) = (result IN ('refused', 'failed'))),
    CONSTRAINT schedule_runs_failed_has_message CHECK ((error_message IS NOT NULL) = (error_code IS NOT NULL))
);
COMMENT ON TABLE schedule_runs IS 'Result of each due time of a schedule; the key limits it to one start for each time. Append-only.';
COMMENT ON COLUMN schedule_runs.schedule_id IS 'The schedule.';
COMMENT ON COLUMN schedule_runs.due_at IS 'The due time, the first of them where the row stands for several; of a manual run, when it was requested.';
COMMENT ON COLUMN schedule_runs.at IS 'When the result was decided.';
COMMENT ON COLUMN schedule_runs.result IS 'started; refused (another deployment has the target, or the role is not sufficient); failed; skipped (missed, and skip is the policy).';
COMMENT ON COLUMN schedule_runs.times IS 'Number of due times that the row stands for, missed ones included; counted up to 1000.';
COMMENT ON COLUMN schedule_runs.deployment_id IS 'The deployment that was started; it may have been archived since.';
COMMENT ON COLUMN schedule_runs.error_code IS 'Reason for which nothing was started.';
COMMENT ON COLUMN schedule_runs.error_message IS 'The reason in words, with the remedy.';
COMMENT ON COLUMN schedule_runs.error_text IS 'The reason as a key of the catalogue with parameters, for readers of any language.';
COMMENT ON COLUMN schedule_runs.asked_by IS 'Subject of the caller of a manual run; null for the clock, or while authentication was off.';
CREATE UNIQUE INDEX schedule_runs_deployment ON schedule_runs (deployment_id) WHERE deployment_id IS NOT NULL;
-- Retention deletes the oldest runs.
CREATE INDEX schedule_runs_age ON schedule_runs (at);

-- ---- Push hooks: deployments that pushes to GitHub start (docs/integrations.md)

CREATE TABLE push_hooks (
    id             text        PRIMARY KEY,
    name           text        CHECK (name <> ''),
    rules          jsonb       NOT NULL CHECK (jsonb_typeof(rules) = 'array'),
    repositories   text[]      NOT NULL CHECK (cardinality(repositories) > 0),
    enabled        boolean     NOT NULL,
    key_id         text,
    wrapped_key    bytea,
    -- the owner: the principal whose permission the hook acts with
    made_by        text        NOT NULL,
    made_by_kind   text        NOT NULL,
    made_by_token  text,
    made_by_admin  bytea       CHECK (octet_length(made_by_admin) = 32),
    made_by_issuer text,
    made_by_claims jsonb,
    role           text        NOT NULL CHECK (role IN ('viewer', 'deployer', 'approver', 'admin')),
    scope          text[]      CHECK (cardinality(scope) > 0),
    -- the row
    revision       bigint      NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at     timestamptz,
    CONSTRAINT push_hooks_owner CHECK (CASE made_by_kind
        WHEN 'admin' THEN made_by_admin IS NOT NULL
        WHEN 'oidc' THEN num_nonnulls(made_by_issuer, made_by_claims) = 2
        ELSE true END),
    CONSTRAINT push_hooks_encrypted CHECK (num_nonnulls(key_id, wrapped_key) = CASE WHEN deleted_at IS NULL THEN 2 ELSE 0 END)
);
COMMENT ON TABLE push_hooks IS 'Receivers of GitHub''s push events, which start deployments by rules. The API never returns their secrets after creation.';
COMMENT ON COLUMN push_hooks.id IS 'hok_ and random characters.';
COMMENT ON COLUMN push_hooks.name IS 'Name for people; null without one.';
COMMENT ON COLUMN push_hooks.rules IS 'Rules in their order, of which the first that matches a push starts a deployment: repository, connections, patterns of branches, tags and paths, and the options of the deployment.';
COMMENT ON COLUMN push_hooks.repositories IS 'Repositories of the rules, as owner/repo in lower case: who may see and change the hook.';
COMMENT ON COLUMN push_hooks.enabled IS 'False while it ignores what it receives.';
COMMENT ON COLUMN push_hooks.key_id IS 'Id of the server''s key that wraps wrapped_key; null once it is deleted.';
COMMENT ON COLUMN push_hooks.wrapped_key IS 'The row''s own data key, wrapped. It encrypts the row''s secrets in push_hook_secrets; null once it is deleted.';
COMMENT ON COLUMN push_hooks.made_by IS 'Subject of the owner: the caller that created it, or changed it last.';
COMMENT ON COLUMN push_hooks.made_by_kind IS 'Kind of their sign-in, as in audit.';
COMMENT ON COLUMN push_hooks.made_by_token IS 'The API token (tok_…), if it was one: pushes start nothing once that is revoked or has expired.';
COMMENT ON COLUMN push_hooks.made_by_admin IS 'Fingerprint of the admin token, if it was that, as in schedules.';
COMMENT ON COLUMN push_hooks.made_by_issuer IS 'The OpenID Connect issuer, if it was a token of one.';
COMMENT ON COLUMN push_hooks.made_by_claims IS 'The claims of that token without the short-lived ones, as in schedules.';
COMMENT ON COLUMN push_hooks.role IS 'The owner''s role. Deployments are started as a deployer.';
COMMENT ON COLUMN push_hooks.scope IS 'The owner''s repositories; null for all.';
COMMENT ON COLUMN push_hooks.revision IS 'Increases with each change of the row or its secrets.';
COMMENT ON COLUMN push_hooks.created_at IS 'When it was created.';
COMMENT ON COLUMN push_hooks.updated_at IS 'When a caller last changed it or its secret.';
COMMENT ON COLUMN push_hooks.deleted_at IS 'When it was deleted, and its secrets with it; null while it exists. The row keeps the owner, who may not approve deployments that it started.';
CREATE INDEX push_hooks_existing ON push_hooks (created_at, id) WHERE deleted_at IS NULL;

CREATE TABLE push_hook_secrets (
    hook_id         text        NOT NULL REFERENCES push_hooks (id) ON DELETE CASCADE,
    number          integer     NOT NULL CHECK (number >= 1),
    value_encrypted bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at      timestamptz,
    PRIMARY KEY (hook_id, number)
);
COMMENT ON TABLE push_hook_secrets IS 'Secrets with which GitHub signs: one, and during a rotation those before it.';
COMMENT ON COLUMN push_hook_secrets.hook_id IS 'The push hook.';
COMMENT ON COLUMN push_hook_secrets.number IS '1 for the first, and one more for each rotation.';
COMMENT ON COLUMN push_hook_secrets.value_encrypted IS 'Secret: its text, encrypted with the data key of the push hook.';
COMMENT ON COLUMN push_hook_secrets.created_at IS 'When it was generated.';
COMMENT ON COLUMN push_hook_secrets.expires_at IS 'When signatures by it are refused, after a rotation; null for the newest.';

-- Apps that GitHub creates from Panda's manifest (docs/integrations.md)
CREATE TABLE github_apps (
    id                    text        PRIMARY KEY,
    tenant                text        NOT NULL CHECK (length(tenant) = 64),
    made_by               text        NOT NULL,
    made_by_kind          text        NOT NULL,
    made_by_token         text,
    name                  text        NOT NULL CHECK (name <> ''),
    organization          text        CHECK (organization <> ''),
    push_hook_id          text        REFERENCES push_hooks (id),
    status                text        NOT NULL DEFAULT 'begun' CHECK (status IN ('begun', 'exchanging', 'refused', 'created')),
    state_hash            bytea       NOT NULL UNIQUE CHECK (octet_length(state_hash) = 32),
    code_hash             bytea       CHECK (octet_length(code_hash) = 32),
    exchange_until        timestamptz,
    app_id                text,
    address               text,
    key_id                text,
    wrapped_key           bytea,
    private_key_encrypted bytea,
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at            timestamptz NOT NULL,
    CONSTRAINT github_apps_exchanged CHECK ((status = 'begun') = (code_hash IS NULL)),
    CONSTRAINT github_apps_created CHECK (
        num_nonnulls(app_id, address, key_id, wrapped_key, private_key_encrypted) = CASE status WHEN 'created' THEN 5 ELSE 0 END)
);
COMMENT ON TABLE github_apps IS 'Apps that GitHub creates from Panda''s manifest: awaited ones, and those whose private key is stored. The API never returns the key.';
COMMENT ON COLUMN github_apps.id IS 'gha_ and random characters.';
COMMENT ON COLUMN github_apps.tenant IS 'SHA-256 (hex) of the scope that began it; callers with the same scope may connect repositories with the App.';
COMMENT ON COLUMN github_apps.made_by IS 'Subject of the caller who began it, the only one who may finish it.';
COMMENT ON COLUMN github_apps.made_by_kind IS 'Kind of their sign-in, as in audit.';
COMMENT ON COLUMN github_apps.made_by_token IS 'The API token (tok_…), if it was one.';
COMMENT ON COLUMN github_apps.name IS 'Name: the proposed one until it is created, then that at GitHub.';
COMMENT ON COLUMN github_apps.organization IS 'Organisation that owns the App; null for the account of the person.';
COMMENT ON COLUMN github_apps.push_hook_id IS 'The push hook that receives the App''s push events; null without one.';
COMMENT ON COLUMN github_apps.status IS 'begun (GitHub''s answer is awaited), exchanging (its code was sent to GitHub, and the answer is not stored: the process may have died), refused (GitHub did not accept the code), created.';
COMMENT ON COLUMN github_apps.state_hash IS 'SHA-256 of the state that GitHub returns, which proves that this caller began it.';
COMMENT ON COLUMN github_apps.code_hash IS 'SHA-256 of the code that was exchanged; null before. No other one is accepted for the state.';
COMMENT ON COLUMN github_apps.exchange_until IS 'Until then the exchange may still run, so that it is not begun again.';
COMMENT ON COLUMN github_apps.app_id IS 'Id of the App at GitHub; null until it is created.';
COMMENT ON COLUMN github_apps.address IS 'Page of the App at GitHub; null until it is created.';
COMMENT ON COLUMN github_apps.key_id IS 'Id of the server''s key that wraps wrapped_key; null until it is created.';
COMMENT ON COLUMN github_apps.wrapped_key IS 'The row''s own data key, wrapped; null until it is created.';
COMMENT ON COLUMN github_apps.private_key_encrypted IS 'Secret: the App''s private key (PEM), encrypted with the data key; null until it is created.';
COMMENT ON COLUMN github_apps.created_at IS 'When it was begun.';
COMMENT ON COLUMN github_apps.expires_at IS 'When the state is no longer accepted.';
CREATE INDEX github_apps_of_tenant ON github_apps (tenant, created_at, id);

CREATE TABLE push_deliveries (
    id            uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    hook_id       text        NOT NULL REFERENCES push_hooks (id) ON DELETE CASCADE,
    delivery_id   uuid        NOT NULL,
    verified      boolean     NOT NULL,
    event         text        NOT NULL CHECK (length(event) <= 100),
    facts         jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(facts) = 'object'),
    repository    text,
    ref           text,
    commit_id     text,
    previous_id   text,
    pushed_at     bigint,
    received_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    decision      text        NOT NULL CHECK (decision IN ('started', 'ignored', 'rejected')),
    reason_code   text        NOT NULL,
    reason_text   jsonb       NOT NULL CHECK (jsonb_typeof(reason_text) = 'object'),
    deployment_id text,
    attempts      integer     NOT NULL DEFAULT 1 CHECK (attempts >= 1),
    CONSTRAINT push_deliveries_started_one CHECK ((deployment_id IS NOT NULL) = (decision = 'started'))
);
COMMENT ON TABLE push_deliveries IS 'What push hooks received, each with its decision. Kept for 30 days.';
COMMENT ON COLUMN push_deliveries.id IS 'Id of the row.';
COMMENT ON COLUMN push_deliveries.hook_id IS 'The push hook.';
COMMENT ON COLUMN push_deliveries.delivery_id IS 'X-GitHub-Delivery, which a delivery that GitHub repeats has again. Unverified where the signature was not valid.';
COMMENT ON COLUMN push_deliveries.verified IS 'True if the signature was valid. Of the others at most 20 rows an hour are kept for a hook.';
COMMENT ON COLUMN push_deliveries.event IS 'X-GitHub-Event: push, ping, pull_request, ….';
COMMENT ON COLUMN push_deliveries.facts IS 'What the decision is made from, so that it can be made again: members of the payload, changed paths among them. Not the payload.';
COMMENT ON COLUMN push_deliveries.repository IS 'Repository of the payload, as owner/repo in lower case; null without one.';
COMMENT ON COLUMN push_deliveries.ref IS 'Ref that was pushed, such as refs/heads/main; null for other events.';
COMMENT ON COLUMN push_deliveries.commit_id IS 'Commit of the ref after the push; null for other events.';
COMMENT ON COLUMN push_deliveries.previous_id IS 'Commit of the ref before the push; null for other events.';
COMMENT ON COLUMN push_deliveries.pushed_at IS 'Time of the push in seconds since 1970, by GitHub; null where the payload has none.';
COMMENT ON COLUMN push_deliveries.received_at IS 'When it was first received.';
COMMENT ON COLUMN push_deliveries.decided_at IS 'When the decision was made, the last one after a redelivery.';
COMMENT ON COLUMN push_deliveries.decision IS 'started (a deployment), ignored (the rules want none), or rejected (signature, payload or permission).';
COMMENT ON COLUMN push_deliveries.reason_code IS 'Reason of the decision, for programs.';
COMMENT ON COLUMN push_deliveries.reason_text IS 'Reason of the decision, as a message of the catalogue.';
COMMENT ON COLUMN push_deliveries.deployment_id IS 'The deployment that was started; null for none. It may have been archived since.';
COMMENT ON COLUMN push_deliveries.attempts IS 'Number of decisions: one more for each redelivery; of a row with an invalid signature, the number of requests that it stands for.';
CREATE UNIQUE INDEX push_deliveries_once ON push_deliveries (hook_id, delivery_id) WHERE verified;
CREATE INDEX push_deliveries_newest ON push_deliveries (hook_id, received_at DESC, id DESC);
CREATE INDEX push_deliveries_pushes ON push_deliveries (hook_id, repository, ref) WHERE verified AND ref IS NOT NULL;
CREATE INDEX push_deliveries_age ON push_deliveries (received_at);

-- ---- The archive: reports need these columns of a deployment after its retention. Narrow tables that the program only adds to, except for marks of the outcome:
-- docs/decisions/0022-history-outlives-its-rows.md

CREATE TABLE archived_deployments (
    id                    text        PRIMARY KEY,
    owner                 text        NOT NULL,
    repo                  text        NOT NULL,
    branch                text        NOT NULL,
    build                 jsonb,
    reason                text,
    kind                  text        NOT NULL CHECK (kind IN ('planned', 'hotfix', 'rollback')),
    labels                jsonb       NOT NULL,
    concurrency           text        NOT NULL,
    account_id            text        NOT NULL,
    region                text        NOT NULL,
    ecr_repository        text        NOT NULL,
    started_at            timestamptz NOT NULL,
    attempt               integer     NOT NULL CHECK (attempt >= 1),
    status                text        NOT NULL CHECK (status IN ('COMPLETED', 'FAILED')),
    error_code            text,
    error_message         text,
    step                  text        NOT NULL,
    interrupted_step      text,
    started_by            text,
    attempt_started_at    timestamptz NOT NULL,
    queued_at             timestamptz,
    turn_at               timestamptz,
    blue_green_started_at timestamptz,
    ready_at              timestamptz,
    traffic_moved_at      timestamptz,
    outcome               text,
    switch_requested_at   timestamptz,
    cancel_requested_at   timestamptz,
    superseded_by         text,
    caused_by             text,
    rollback_requested_at timestamptz,
    completed_at          timestamptz NOT NULL,
    events                bigint      NOT NULL,
    facts                 jsonb       NOT NULL,
    committed_at          timestamptz GENERATED ALWAYS AS (to_timestamp((facts ->> 'committed_at')::double precision)) STORED,
    final_service         text        GENERATED ALWAYS AS (facts ->> 'final_service') STORED,
    start_audit_id        bigint,
    switch_audit_id       bigint,
    cancel_audit_id       bigint,
    rollback_audit_id     bigint,
    archived_at           timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT archived_deployments_failed_has_code CHECK ((error_code IS NOT NULL) = (status = 'FAILED'))
);
COMMENT ON TABLE archived_deployments IS 'Finished deployments after their retention. One transaction adds the row and deletes that of deployments.';
COMMENT ON COLUMN archived_deployments.interrupted_step IS 'Stored name of the step that the cancellation interrupted; null when it was not cancelled.';
COMMENT ON COLUMN archived_deployments.traffic_moved_at IS 'When the traffic was first seen at 100 % on green; null when it never was.';
COMMENT ON COLUMN archived_deployments.outcome IS 'Outcome in production, as in deployments.';
COMMENT ON COLUMN archived_deployments.facts IS 'The facts that reports show, as in deployments.';
COMMENT ON COLUMN archived_deployments.events IS 'Number of its events.';
COMMENT ON COLUMN archived_deployments.archived_at IS 'When it was moved here.';
CREATE INDEX archived_deployments_started ON archived_deployments (started_at);
CREATE INDEX archived_deployments_updated ON archived_deployments (updated_at);

CREATE TABLE archived_attempts (
    deployment_id         text        NOT NULL REFERENCES archived_deployments (id),
    attempt               integer     NOT NULL CHECK (attempt >= 1),
    started_by            text,
    started_at            timestamptz NOT NULL,
    queued_at             timestamptz,
    turn_at               timestamptz,
    blue_green_started_at timestamptz,
    ready_at              timestamptz,
    traffic_moved_at      timestamptz,
    switch_requested_at   timestamptz,
    cancel_requested_at   timestamptz,
    superseded_by         text,
    rollback_requested_at timestamptz,
    ended_at              timestamptz NOT NULL,
    step                  text        NOT NULL,
    interrupted_step      text,
    error_code            text        NOT NULL,
    error_message         text        NOT NULL,
    facts                 jsonb       NOT NULL,
    start_audit_id        bigint,
    switch_audit_id       bigint,
    cancel_audit_id       bigint,
    rollback_audit_id     bigint,
    PRIMARY KEY (deployment_id, attempt)
);
COMMENT ON TABLE archived_attempts IS 'The rows of deployment_attempts of archived deployments.';

-- The columns without a comment are those of the same name of deployments and deployment_attempts, and are defined there.
DO $$
DECLARE
    copied record;
BEGIN
    FOR copied IN
        SELECT pair.archive, a.attname, col_description(source.attrelid, source.attnum) AS text
        FROM (VALUES ('archived_deployments', 'deployments'), ('archived_attempts', 'deployment_attempts')) AS pair (archive, live)
        JOIN pg_attribute a ON a.attrelid = pair.archive::regclass AND a.attnum > 0
        JOIN pg_attribute source ON source.attrelid = pair.live::regclass AND source.attname = a.attname
        WHERE col_description(a.attrelid, a.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', copied.archive, copied.attname, copied.text);
    END LOOP;
END $$;

CREATE TABLE archived_stages (
    deployment_id   text             NOT NULL REFERENCES archived_deployments (id),
    attempt         integer          NOT NULL CHECK (attempt >= 1),
    stage           text             NOT NULL,
    started_at      timestamptz      NOT NULL,
    ended_at        timestamptz      NOT NULL,
    working_seconds double precision NOT NULL,
    waiting_seconds double precision NOT NULL,
    tries           bigint           NOT NULL,
    PRIMARY KEY (deployment_id, attempt, stage)
);
COMMENT ON TABLE archived_stages IS 'The stages of archived deployments: the sums of history_stages over step_runs.';
COMMENT ON COLUMN archived_stages.deployment_id IS 'The deployment.';
COMMENT ON COLUMN archived_stages.attempt IS 'Number of the attempt, from 1.';
COMMENT ON COLUMN archived_stages.stage IS 'Step 1, Step 2, Stage 1 to Stage 4, Retry, Cancel or Rollback.';
COMMENT ON COLUMN archived_stages.started_at IS 'When a replica first worked on it.';
COMMENT ON COLUMN archived_stages.ended_at IS 'When a replica last worked on it, or the wait for an approver ended.';
COMMENT ON COLUMN archived_stages.working_seconds IS 'Seconds in which a replica worked on it, waits between tries included.';
COMMENT ON COLUMN archived_stages.waiting_seconds IS 'Seconds of waiting for an approver: from ready until the switch, or the end, was requested.';
COMMENT ON COLUMN archived_stages.tries IS 'Number of tries of its steps.';

-- ---- Maintenance (docs/decisions/0025-what-is-kept-and-for-how-long.md)

CREATE TABLE maintenance_runs (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind <> ''),
    place        text        NOT NULL DEFAULT '',
    dry_run      boolean     NOT NULL DEFAULT false,
    state        text        NOT NULL CHECK (state IN ('requested', 'running', 'done', 'stopped', 'failed', 'interrupted')),
    due_at       timestamptz,
    requested_at timestamptz,
    requested_by text,
    replica      text,
    started_at   timestamptz,
    older_than   timestamptz,
    renewed_at   timestamptz,
    ended_at     timestamptz,
    removed      bigint      NOT NULL DEFAULT 0 CHECK (removed >= 0),
    error        text,
    CONSTRAINT maintenance_runs_due_or_requested CHECK (num_nonnulls(due_at, requested_at) = 1),
    CONSTRAINT maintenance_runs_started CHECK (state = 'requested' OR ended_at IS NOT NULL OR (started_at IS NOT NULL AND renewed_at IS NOT NULL)),
    CONSTRAINT maintenance_runs_ended CHECK ((ended_at IS NOT NULL) = (state IN ('done', 'stopped', 'failed', 'interrupted')))
);
COMMENT ON TABLE maintenance_runs IS 'Each maintenance run, with its range and progress. A row that is running is the right to delete: one for each kind and place.';
COMMENT ON COLUMN maintenance_runs.id IS 'Order in which the rows were created.';
COMMENT ON COLUMN maintenance_runs.kind IS 'Kind of deleted objects: build_lines, events, deployments (moved to the archive), workspaces, images, runs.';
COMMENT ON COLUMN maintenance_runs.place IS 'Empty for rows of the database; the replica''s name for objects on its machine.';
COMMENT ON COLUMN maintenance_runs.dry_run IS 'The run only counts the objects that it would delete.';
COMMENT ON COLUMN maintenance_runs.state IS 'requested (manual, not begun yet), running, done, stopped (its replica was shut down: the next run resumes), failed, interrupted (its replica went silent: the next run resumes).';
COMMENT ON COLUMN maintenance_runs.due_at IS 'The tick of the cron expression: one run for each tick, however many replicas; null for a manual run.';
COMMENT ON COLUMN maintenance_runs.requested_at IS 'When a manual run was requested; null when it was due.';
COMMENT ON COLUMN maintenance_runs.requested_by IS 'Subject of the caller that requested it; null when it was due.';
COMMENT ON COLUMN maintenance_runs.replica IS 'Host name and process id of the process that ran it; null before it began.';
COMMENT ON COLUMN maintenance_runs.started_at IS 'When it began.';
COMMENT ON COLUMN maintenance_runs.older_than IS 'Objects that ended before this are deleted: started_at less the retention; null where age does not matter.';
COMMENT ON COLUMN maintenance_runs.renewed_at IS 'Its last heartbeat: written with each batch.';
COMMENT ON COLUMN maintenance_runs.ended_at IS 'When it ended; of an interrupted one its last heartbeat.';
COMMENT ON COLUMN maintenance_runs.removed IS 'Number of deleted objects so far, written with each batch: rows of deployment_events, deployments, folders, images or records. Of a dry run, the number that a run would delete.';
COMMENT ON COLUMN maintenance_runs.error IS 'Reason for which it failed, or never began.';
CREATE UNIQUE INDEX maintenance_runs_one_at_a_time ON maintenance_runs (kind, place) WHERE state = 'running' AND NOT dry_run;
CREATE UNIQUE INDEX maintenance_runs_one_a_tick ON maintenance_runs (kind, place, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX maintenance_runs_under_way ON maintenance_runs (id) WHERE state IN ('requested', 'running');
CREATE INDEX maintenance_runs_by_kind ON maintenance_runs (kind, id);

CREATE TABLE maintenance_progress (
    kind          text        PRIMARY KEY,
    completed_at  timestamptz,
    deployment_id text,
    removed_place bigint      NOT NULL DEFAULT 0,
    CONSTRAINT maintenance_progress_whole CHECK ((completed_at IS NULL) = (deployment_id IS NULL))
);
COMMENT ON TABLE maintenance_progress IS 'Progress of each kind of retention, written with each batch: the next batch, or the next run, resumes there.';
COMMENT ON COLUMN maintenance_progress.kind IS 'As in maintenance_runs.';
COMMENT ON COLUMN maintenance_progress.completed_at IS 'Deployments that ended before this, or then with an id up to deployment_id, are done; null before the first.';
COMMENT ON COLUMN maintenance_progress.deployment_id IS 'See completed_at.';
COMMENT ON COLUMN maintenance_progress.removed_place IS 'Highest place of a deleted event: an unknown id in the stream of all events may belong to a deleted one; 0 before the first.';

-- ---- Status events (docs/decisions/0078-status-events-spare-comparisons.md)

CREATE TABLE status_event_regions (
    account_id  text        NOT NULL CHECK (account_id <> ''),
    region      text        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account_id, region)
);
COMMENT ON TABLE status_event_regions IS 'Accounts and regions whose status events of ECS arrive: while they do, the watch compares their rollouts less often.';
COMMENT ON COLUMN status_event_regions.account_id IS 'Account of the services.';
COMMENT ON COLUMN status_event_regions.region IS 'Region of the services.';
COMMENT ON COLUMN status_event_regions.received_at IS 'When an event about a watched rollout last arrived, to the minute.';

-- ---- Budgets of calls to AWS (docs/decisions/0059-budgets-of-calls.md)

CREATE TABLE api_budgets (
    account_id  text             NOT NULL CHECK (account_id <> ''),
    region      text             NOT NULL,
    call        text             NOT NULL CHECK (call <> ''),
    tokens      double precision NOT NULL CHECK (tokens >= 0),
    refilled_at timestamptz      NOT NULL DEFAULT clock_timestamp(),
    share       double precision NOT NULL DEFAULT 1 CHECK (share > 0 AND share <= 1),
    shrunk_at   timestamptz,
    waiting     jsonb            NOT NULL DEFAULT '{}',
    PRIMARY KEY (account_id, region, call)
) WITH (fillfactor = 50);
COMMENT ON TABLE api_budgets IS 'A token bucket for each AWS account, region and API call, from which all replicas take. A row that is not used for a day is deleted: its bucket is full again.';
COMMENT ON COLUMN api_budgets.account_id IS 'Account whose quota the calls use.';
COMMENT ON COLUMN api_budgets.region IS 'Region of the calls.';
COMMENT ON COLUMN api_budgets.call IS 'Call in IAM''s spelling, such as states:GetExecutionHistory; sts:* and kms:* for calls that share a quota.';
COMMENT ON COLUMN api_budgets.tokens IS 'Tokens in the bucket at refilled_at.';
COMMENT ON COLUMN api_budgets.refilled_at IS 'When a replica last took tokens.';
COMMENT ON COLUMN api_budgets.share IS 'Part of the quota that was usable at shrunk_at; it grows back to 1 within ten minutes.';
COMMENT ON COLUMN api_budgets.shrunk_at IS 'When AWS last throttled a call although a token was free, and the bucket was halved; null before the first time.';
COMMENT ON COLUMN api_budgets.waiting IS 'Number of polls that wait at each process, with the time in seconds since 1970: replicas share a scarce bucket in proportion.';

-- ---- Receivers of events and their outbox (docs/integrations.md)

CREATE TABLE receivers (
    id              text        PRIMARY KEY,
    kind            text        NOT NULL GENERATED ALWAYS AS (settings ->> 'kind') STORED
                                CHECK (kind IN ('webhook', 'slack', 'teams', 'discord', 'mail', 'github')),
    settings        jsonb       NOT NULL CHECK (jsonb_typeof(settings) = 'object'),
    description     text,
    events          text[]      CHECK (cardinality(events) > 0),
    repositories    text[]      CHECK (cardinality(repositories) > 0),
    labels          jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    lang            text        NOT NULL CHECK (lang IN ('ko', 'en')),
    key_id          text        NOT NULL,
    wrapped_key     bytea       NOT NULL,
    created_by      text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    revision        bigint      NOT NULL DEFAULT 1,
    disabled_at     timestamptz,
    disabled_reason text        CHECK (disabled_reason IN ('caller', 'gone')),
    CONSTRAINT receivers_disabled_for_a_reason CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
);
COMMENT ON TABLE receivers IS 'Receivers of events outside Panda: webhooks and channels. The API never returns their secrets after creation.';
COMMENT ON COLUMN receivers.id IS 'whk_ (webhooks) or chn_ (channels) and random characters.';
COMMENT ON COLUMN receivers.kind IS 'webhook (Standard Webhooks 1.0), slack, teams, discord, mail, or github (deployments and commit statuses).';
COMMENT ON COLUMN receivers.settings IS 'What the kind needs besides secrets, such as the address of a webhook (domain/receiver). Shown to admins only, because a path may authenticate.';
COMMENT ON COLUMN receivers.description IS 'Purpose in the words of its author; null when they gave none.';
COMMENT ON COLUMN receivers.events IS 'Types (stage, success, fail) and codes of events that it receives; null for all.';
COMMENT ON COLUMN receivers.repositories IS 'Repositories whose events it receives, as owner/repo or owner/*, in lower case; null for all.';
COMMENT ON COLUMN receivers.labels IS 'Labels that deployments must have for their events to be received, values by name; {} for all deployments.';
COMMENT ON COLUMN receivers.lang IS 'Language of messages: ko or en.';
COMMENT ON COLUMN receivers.key_id IS 'Id of the server''s key that wraps wrapped_key.';
COMMENT ON COLUMN receivers.wrapped_key IS 'The row''s own data key, wrapped. It encrypts the row''s secrets in receiver_secrets.';
COMMENT ON COLUMN receivers.created_by IS 'Subject of the caller that created it, as in audit.';
COMMENT ON COLUMN receivers.created_at IS 'When it was created.';
COMMENT ON COLUMN receivers.revision IS 'Increases with each change of the row, its secrets or its replayed deliveries: the replica that delivers reads them again.';
COMMENT ON COLUMN receivers.disabled_at IS 'When it was disabled; null while it receives events.';
COMMENT ON COLUMN receivers.disabled_reason IS 'caller (by the API), or gone (the receiver answered that it exists no longer); null while it receives events.';

CREATE TABLE receiver_secrets (
    receiver_id     text        NOT NULL REFERENCES receivers (id) ON DELETE CASCADE,
    number          integer     NOT NULL CHECK (number >= 1),
    value_encrypted bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at      timestamptz,
    PRIMARY KEY (receiver_id, number)
);
COMMENT ON TABLE receiver_secrets IS 'Secrets of receivers: one (signing secret, bot token, address or password), and for webhooks during a rotation those before it.';
COMMENT ON COLUMN receiver_secrets.receiver_id IS 'The receiver.';
COMMENT ON COLUMN receiver_secrets.number IS '1 for the first, and one more for each rotation.';
COMMENT ON COLUMN receiver_secrets.value_encrypted IS 'Secret (of webhooks in the form whsec_BASE64), encrypted with the data key of the receiver.';
COMMENT ON COLUMN receiver_secrets.created_at IS 'When it was generated or stored.';
COMMENT ON COLUMN receiver_secrets.expires_at IS 'When it stops being used, after a rotation; null for the newest.';

CREATE TABLE receiver_cursors (
    receiver_id       text        PRIMARY KEY REFERENCES receivers (id) ON DELETE CASCADE,
    place             bigint      NOT NULL,
    deployment_id     text        NOT NULL,
    seq               bigint      NOT NULL,
    ahead             uuid[]      NOT NULL DEFAULT '{}',
    version           bigint      NOT NULL DEFAULT 0,
    holder            uuid,
    expires_at        timestamptz,
    delivered         bigint      NOT NULL DEFAULT 0,
    last_delivered_at timestamptz,
    CONSTRAINT receiver_cursors_held_for_a_time CHECK (holder IS NULL OR expires_at IS NOT NULL)
) WITH (fillfactor = 40);
COMMENT ON TABLE receiver_cursors IS 'The outbox: how far each receiver has received the order of all events, and the one replica that delivers to it.';
COMMENT ON COLUMN receiver_cursors.receiver_id IS 'The receiver.';
COMMENT ON COLUMN receiver_cursors.place IS 'With deployment_id and seq: each event up to here was answered, is not wanted, or has a row in receiver_deliveries.';
COMMENT ON COLUMN receiver_cursors.deployment_id IS 'See place.';
COMMENT ON COLUMN receiver_cursors.seq IS 'See place.';
COMMENT ON COLUMN receiver_cursors.ahead IS 'Ids of events after the cursor of which the same is true: a slow answer delays the cursor, not other deployments. At first those that were committed before the receiver was enabled.';
COMMENT ON COLUMN receiver_cursors.version IS 'Fencing token: increases with each claim and commit; a write that names an old version changes nothing.';
COMMENT ON COLUMN receiver_cursors.holder IS 'The sender (receiver_senders) that delivers; null when none does.';
COMMENT ON COLUMN receiver_cursors.expires_at IS 'When another sender may take over, unless it is renewed before; null before the first.';
COMMENT ON COLUMN receiver_cursors.delivered IS 'Number of events that the receiver accepted.';
COMMENT ON COLUMN receiver_cursors.last_delivered_at IS 'When it last accepted an event; null before the first.';

CREATE TABLE receiver_senders (
    id      uuid        PRIMARY KEY,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE receiver_senders IS 'Processes that deliver, among which the receivers are distributed.';
COMMENT ON COLUMN receiver_senders.id IS 'New at each start of a process.';
COMMENT ON COLUMN receiver_senders.seen_at IS 'Its last sign of life; after a few seconds it counts as dead.';

CREATE TABLE receiver_deliveries (
    receiver_id     text        NOT NULL REFERENCES receivers (id) ON DELETE CASCADE,
    event_id        uuid        NOT NULL,
    place           bigint      NOT NULL,
    deployment_id   text        NOT NULL,
    seq             bigint      NOT NULL,
    state           text        NOT NULL CHECK (state IN ('pending', 'waiting', 'delivered', 'dead')),
    attempts        integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz,
    last_status     integer,
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (receiver_id, event_id),
    CONSTRAINT receiver_deliveries_due CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL))
);
COMMENT ON TABLE receiver_deliveries IS 'Deliveries that did not succeed at the first attempt, and those that wait behind them. An event that was accepted at the first attempt has no row.';
COMMENT ON COLUMN receiver_deliveries.receiver_id IS 'The receiver.';
COMMENT ON COLUMN receiver_deliveries.event_id IS 'Id of the event: webhook-id of each attempt.';
COMMENT ON COLUMN receiver_deliveries.place IS 'Place of the event in the order of all events.';
COMMENT ON COLUMN receiver_deliveries.deployment_id IS 'Deployment of the event, which may have been archived since.';
COMMENT ON COLUMN receiver_deliveries.seq IS 'Sequence number of the event in the deployment.';
COMMENT ON COLUMN receiver_deliveries.state IS 'pending (tried again at next_attempt_at), waiting (behind a pending one of the deployment), delivered, or dead (the last attempt failed; it can be replayed).';
COMMENT ON COLUMN receiver_deliveries.attempts IS 'Number of failed attempts, since the last replay.';
COMMENT ON COLUMN receiver_deliveries.next_attempt_at IS 'When it is tried again; null unless pending.';
COMMENT ON COLUMN receiver_deliveries.last_status IS 'HTTP status of the last answer; null without an answer.';
COMMENT ON COLUMN receiver_deliveries.last_error IS 'Reason for which the last attempt failed; null when none failed.';
COMMENT ON COLUMN receiver_deliveries.created_at IS 'When the first attempt had failed, or the event began to wait.';
COMMENT ON COLUMN receiver_deliveries.changed_at IS 'When the row last changed: the end of a delivered or dead one.';
CREATE INDEX receiver_deliveries_due ON receiver_deliveries (receiver_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX receiver_deliveries_open ON receiver_deliveries (receiver_id, deployment_id COLLATE "C", seq) WHERE state IN ('pending', 'waiting');
CREATE INDEX receiver_deliveries_newest ON receiver_deliveries (receiver_id, created_at DESC, event_id DESC);
CREATE INDEX receiver_deliveries_ended ON receiver_deliveries (changed_at) WHERE state IN ('delivered', 'dead');

CREATE TABLE receiver_references (
    receiver_id   text   NOT NULL REFERENCES receivers (id) ON DELETE CASCADE,
    deployment_id text   NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    seq           bigint NOT NULL,
    reference     jsonb,
    PRIMARY KEY (receiver_id, deployment_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE receiver_references IS 'What was made outside for a deployment, such as a message in a channel. Written with the cursor, so that the next holder updates it in place of making another.';
COMMENT ON COLUMN receiver_references.receiver_id IS 'The receiver, of another kind than webhook.';
COMMENT ON COLUMN receiver_references.deployment_id IS 'The deployment that it shows.';
COMMENT ON COLUMN receiver_references.seq IS 'Sequence number of the newest event of the deployment that it shows. Later deliveries of events up to here have nothing to do.';
COMMENT ON COLUMN receiver_references.reference IS 'Ids that the receiver gave to it, as its kind needs them; null when the kind needs none.';
CREATE INDEX receiver_references_by_deployment ON receiver_references (deployment_id);

SELECT schema_version(1, works_with => 1);
