-- The whole state of Panda: replicas, connections, deployments, their events, and the answers kept for idempotency keys.
-- A landed migration is never edited: add another.

CREATE TABLE replicas (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    version      text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_ms     integer NOT NULL CHECK (lease_ms > 0)
);
COMMENT ON TABLE replicas IS 'One row per running controller process. A row whose heartbeat is older than its lease owns nothing any more.';
COMMENT ON COLUMN replicas.id IS 'Made anew at each start of a process.';
COMMENT ON COLUMN replicas.name IS 'Host name and process id, for people.';
COMMENT ON COLUMN replicas.version IS 'Program version of the process.';
COMMENT ON COLUMN replicas.started_at IS 'When the process registered (database clock).';
COMMENT ON COLUMN replicas.heartbeat_at IS 'Last sign of life (database clock: the clocks of replicas are never compared).';
COMMENT ON COLUMN replicas.lease_ms IS 'Milliseconds after heartbeat_at from which others may take over its deployments.';

CREATE TABLE github_connections (
    id         text PRIMARY KEY,
    owner      text NOT NULL,
    repo       text NOT NULL,
    branch     text NOT NULL,
    token      text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE github_connections IS 'A source repository with the token that reads it. Write-only through the API.';
COMMENT ON COLUMN github_connections.id IS 'gh_ and random characters.';
COMMENT ON COLUMN github_connections.owner IS 'Account or organisation on GitHub.';
COMMENT ON COLUMN github_connections.repo IS 'Repository name on GitHub.';
COMMENT ON COLUMN github_connections.branch IS 'Branch that was checked when connecting.';
COMMENT ON COLUMN github_connections.token IS 'Secret: access token for the repository.';
COMMENT ON COLUMN github_connections.created_at IS 'When it was connected (UTC).';

CREATE TABLE aws_connections (
    id                text PRIMARY KEY,
    region            text NOT NULL,
    account_id        text NOT NULL,
    access_key_id     text,
    secret_access_key text,
    session_token     text,
    role_arn          text,
    external_id       text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT aws_connections_keys_or_role CHECK (
        (access_key_id IS NOT NULL AND secret_access_key IS NOT NULL AND role_arn IS NULL)
        OR (role_arn IS NOT NULL AND access_key_id IS NULL AND secret_access_key IS NULL AND session_token IS NULL))
);
COMMENT ON TABLE aws_connections IS 'A user''s AWS account: either access keys or a role to assume. Write-only through the API.';
COMMENT ON COLUMN aws_connections.id IS 'aws_ and random characters.';
COMMENT ON COLUMN aws_connections.region IS 'AWS region, for example ap-northeast-2.';
COMMENT ON COLUMN aws_connections.account_id IS 'Twelve digits, as STS GetCallerIdentity answered when connecting.';
COMMENT ON COLUMN aws_connections.access_key_id IS 'Access key id; null for a role.';
COMMENT ON COLUMN aws_connections.secret_access_key IS 'Secret: secret access key; null for a role.';
COMMENT ON COLUMN aws_connections.session_token IS 'Secret: session token of temporary keys; null otherwise.';
COMMENT ON COLUMN aws_connections.role_arn IS 'Role to assume; null for keys.';
COMMENT ON COLUMN aws_connections.external_id IS 'Secret: external id for the role; null when it needs none.';
COMMENT ON COLUMN aws_connections.created_at IS 'When it was connected (UTC).';

CREATE TABLE deployments (
    id                           text PRIMARY KEY,
    status                       text NOT NULL DEFAULT 'RUNNING'
                                 CHECK (status IN ('RUNNING', 'DEPLOYMENT_READY', 'COMPLETED', 'FAILED')),
    owner                        text NOT NULL,
    repo                         text NOT NULL,
    branch                       text NOT NULL,
    github_connection_id         text NOT NULL REFERENCES github_connections (id),
    aws_connection_id            text NOT NULL REFERENCES aws_connections (id),
    account_id                   text NOT NULL,
    region                       text NOT NULL,
    ecr_repository               text NOT NULL,
    -- what the reconciler works with
    attempt                      integer NOT NULL DEFAULT 1 CHECK (attempt >= 1),
    step                         text NOT NULL,
    step_state                   jsonb NOT NULL DEFAULT '{}',
    step_started_at              timestamptz NOT NULL DEFAULT now(),
    waiting_for                  text,
    claims_without_progress      integer NOT NULL DEFAULT 0,
    replica_id                   uuid,
    version                      bigint NOT NULL DEFAULT 0,
    next_event_seq               bigint NOT NULL DEFAULT 1,
    last_history_event_id        bigint NOT NULL DEFAULT 0,
    polling_state                text,
    -- wishes: the only columns that the API writes after the insert
    switch_requested_at          timestamptz,
    cancel_requested_at          timestamptz,
    -- facts
    commit_sha                   text,
    committed_at                 timestamptz,
    image_uri                    text,
    image_digest                 text,
    image_pushed_at              timestamptz,
    execution_arn                text,
    cluster_name                 text,
    service_name                 text,
    task_definition              text,
    blue_service_arn             text,
    green_service_arn            text,
    blue_target_group_arn        text,
    green_target_group_arn       text,
    blue_url                     text,
    green_url                    text,
    code_deploy_deployment_id    text,
    code_deploy_application_name text,
    blue_latency_ms              double precision,
    green_latency_ms             double precision,
    blue_error_rate              double precision,
    green_error_rate             double precision,
    final_service                text CHECK (final_service IN ('blue', 'green')),
    error_code                   text,
    error_message                text,
    started_at                   timestamptz NOT NULL DEFAULT now(),
    attempt_started_at           timestamptz NOT NULL DEFAULT now(),
    ready_at                     timestamptz,
    completed_at                 timestamptz,
    CONSTRAINT deployments_failed_has_code CHECK ((status = 'FAILED') = (error_code IS NOT NULL)),
    CONSTRAINT deployments_end_is_dated CHECK ((status IN ('COMPLETED', 'FAILED')) = (completed_at IS NOT NULL))
) WITH (fillfactor = 70);
COMMENT ON TABLE deployments IS 'One row per deployment. The API inserts it and writes wishes; only the reconciler that owns it writes the rest.';
COMMENT ON COLUMN deployments.id IS 'dep_ and random characters; also the image''s tag and label.';
COMMENT ON COLUMN deployments.status IS 'RUNNING, DEPLOYMENT_READY (green is up, waiting for a person''s switch), COMPLETED or FAILED.';
COMMENT ON COLUMN deployments.owner IS 'GitHub account or organisation of the source.';
COMMENT ON COLUMN deployments.repo IS 'GitHub repository of the source.';
COMMENT ON COLUMN deployments.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN deployments.github_connection_id IS 'The connection whose token reads the source.';
COMMENT ON COLUMN deployments.aws_connection_id IS 'The connection to the user''s AWS account.';
COMMENT ON COLUMN deployments.account_id IS 'AWS account that is deployed to (twelve digits).';
COMMENT ON COLUMN deployments.region IS 'AWS region that is deployed to.';
COMMENT ON COLUMN deployments.ecr_repository IS 'Name of the ECR repository that receives the image.';
COMMENT ON COLUMN deployments.attempt IS '1, and one more for each retry.';
COMMENT ON COLUMN deployments.step IS 'Name of the step that runs next or now; of a finished row, the last one.';
COMMENT ON COLUMN deployments.step_state IS 'What that step knows from the steps before it.';
COMMENT ON COLUMN deployments.step_started_at IS 'When this step began (database clock); its time limit counts from here.';
COMMENT ON COLUMN deployments.waiting_for IS 'What the step waits for, in words; null while it works.';
COMMENT ON COLUMN deployments.claims_without_progress IS 'Claims since the last committed progress: bounds a step that kills its process.';
COMMENT ON COLUMN deployments.replica_id IS 'The replica that owns the row; null when none does.';
COMMENT ON COLUMN deployments.version IS 'Fencing token: one more with each claim and commit; a write that names an old version changes nothing.';
COMMENT ON COLUMN deployments.next_event_seq IS 'Sequence number that the next event gets.';
COMMENT ON COLUMN deployments.last_history_event_id IS 'Id of the last Step Functions history event that was acted on; 0 before the first.';
COMMENT ON COLUMN deployments.polling_state IS 'ENSURE_INFRA_IN_PROGRESS, ENSURE_INFRA_COMPLETED, REGISTER_TASK_IN_PROGRESS, REGISTER_TASK_COMPLETED, DEPLOYMENT_READY, SUCCEEDED or FAILED; null before the execution is followed.';
COMMENT ON COLUMN deployments.switch_requested_at IS 'Wish: when a person first asked for the traffic switch.';
COMMENT ON COLUMN deployments.cancel_requested_at IS 'Wish: when a person first asked to stop the deployment.';
COMMENT ON COLUMN deployments.commit_sha IS 'Commit that was cloned and built.';
COMMENT ON COLUMN deployments.committed_at IS 'Commit time of commit_sha.';
COMMENT ON COLUMN deployments.image_uri IS 'Repository URI and tag of the pushed image.';
COMMENT ON COLUMN deployments.image_digest IS 'Digest of the pushed image''s manifest (sha256:…).';
COMMENT ON COLUMN deployments.image_pushed_at IS 'When ECR received the image (AWS clock).';
COMMENT ON COLUMN deployments.execution_arn IS 'Step Functions execution that this deployment''s push started.';
COMMENT ON COLUMN deployments.cluster_name IS 'ECS cluster, from the execution''s output.';
COMMENT ON COLUMN deployments.service_name IS 'ECS service, from the execution''s output.';
COMMENT ON COLUMN deployments.task_definition IS 'ECS task definition, from the execution''s output.';
COMMENT ON COLUMN deployments.blue_service_arn IS 'ECS service or task set that served before.';
COMMENT ON COLUMN deployments.green_service_arn IS 'ECS service or task set of the new image.';
COMMENT ON COLUMN deployments.blue_target_group_arn IS 'Load balancer target group of blue.';
COMMENT ON COLUMN deployments.green_target_group_arn IS 'Load balancer target group of green.';
COMMENT ON COLUMN deployments.blue_url IS 'URL of the production listener.';
COMMENT ON COLUMN deployments.green_url IS 'URL under which green answers before the switch.';
COMMENT ON COLUMN deployments.code_deploy_deployment_id IS 'CodeDeploy deployment (d-…) that shifts the traffic.';
COMMENT ON COLUMN deployments.code_deploy_application_name IS 'CodeDeploy application.';
COMMENT ON COLUMN deployments.blue_latency_ms IS 'Median latency of blue in the health check, milliseconds; null when not checked.';
COMMENT ON COLUMN deployments.green_latency_ms IS 'Median latency of green in the health check, milliseconds; null when not checked.';
COMMENT ON COLUMN deployments.blue_error_rate IS 'Failed share of blue''s health checks, 0 to 1; null when not checked.';
COMMENT ON COLUMN deployments.green_error_rate IS 'Failed share of green''s health checks, 0 to 1; null when not checked.';
COMMENT ON COLUMN deployments.final_service IS 'Which side has the traffic at the end: blue or green; null before.';
COMMENT ON COLUMN deployments.error_code IS 'Stable code of the failure; null unless FAILED.';
COMMENT ON COLUMN deployments.error_message IS 'What went wrong and what to do, in the catalogue''s default language; null unless FAILED.';
COMMENT ON COLUMN deployments.started_at IS 'When the deployment was requested (UTC).';
COMMENT ON COLUMN deployments.attempt_started_at IS 'When the present attempt began (UTC).';
COMMENT ON COLUMN deployments.ready_at IS 'When it first became DEPLOYMENT_READY (UTC); null before.';
COMMENT ON COLUMN deployments.completed_at IS 'When it became COMPLETED or FAILED (UTC); null before.';

-- What a replica may claim. Its columns change a few times in a deployment's life, so that the updates of a poll stay HOT.
CREATE INDEX deployments_active ON deployments (id)
    WHERE status = 'RUNNING' OR (status = 'DEPLOYMENT_READY' AND (switch_requested_at IS NOT NULL OR cancel_requested_at IS NOT NULL));
CREATE INDEX deployments_newest ON deployments (started_at DESC, id DESC);
CREATE INDEX deployments_by_source ON deployments (owner, repo, started_at DESC, id DESC);
CREATE INDEX deployments_by_target ON deployments (account_id, region, ecr_repository);

CREATE TABLE deployment_events (
    deployment_id text NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    seq           bigint NOT NULL CHECK (seq >= 1),
    id            uuid NOT NULL,
    attempt       integer NOT NULL,
    key           text NOT NULL,
    code          text NOT NULL,
    type          text NOT NULL CHECK (type IN ('stage', 'success', 'fail')),
    stage         integer,
    message       text NOT NULL,
    details       jsonb,
    params        jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (deployment_id, seq),
    CONSTRAINT deployment_events_key UNIQUE (deployment_id, attempt, key)
);
COMMENT ON TABLE deployment_events IS 'What happened, in order, without gaps: append-only. The event stream is this table.';
COMMENT ON COLUMN deployment_events.deployment_id IS 'The deployment it happened to.';
COMMENT ON COLUMN deployment_events.seq IS '1, 2, 3 … within the deployment, drawn under the row lock of the deployment.';
COMMENT ON COLUMN deployment_events.id IS 'The stream''s event id: the same on every replica and connection.';
COMMENT ON COLUMN deployment_events.attempt IS 'Attempt of the deployment in which it happened.';
COMMENT ON COLUMN deployment_events.key IS 'Names the occurrence: a repeated step cannot tell the same thing twice in one attempt.';
COMMENT ON COLUMN deployment_events.code IS 'Code of the event in the catalogue.';
COMMENT ON COLUMN deployment_events.type IS 'Name of the event on the wire: stage, success or fail.';
COMMENT ON COLUMN deployment_events.stage IS 'Stage 1 to 4 as users see it; null for success and fail.';
COMMENT ON COLUMN deployment_events.message IS 'The message in the catalogue''s default language (Korean).';
COMMENT ON COLUMN deployment_events.details IS 'The details in the catalogue''s default language; null for success and fail.';
COMMENT ON COLUMN deployment_events.params IS 'Parameters from which message and details are rendered in any language.';
COMMENT ON COLUMN deployment_events.created_at IS 'When it was recorded (database clock, UTC).';
CREATE INDEX deployment_events_id ON deployment_events (deployment_id, id);

CREATE TABLE idempotency_keys (
    scope        text NOT NULL,
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash bytea NOT NULL,
    response     jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);
COMMENT ON TABLE idempotency_keys IS 'Answers kept for repeated requests that carry the same Idempotency-Key.';
COMMENT ON COLUMN idempotency_keys.scope IS 'Method and path that the key was used on.';
COMMENT ON COLUMN idempotency_keys.key IS 'The client''s key, at most 255 characters.';
COMMENT ON COLUMN idempotency_keys.request_hash IS 'SHA-256 of the request body: another body with the same key is refused.';
COMMENT ON COLUMN idempotency_keys.response IS 'The answer''s body.';
COMMENT ON COLUMN idempotency_keys.created_at IS 'When the key was first used (UTC).';
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
