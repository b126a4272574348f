-- Deployments that start by the clock, and connections that are taken away: docs/decisions/0026-schedules.md.

-- What was deployed with a connection keeps its row; the secrets go.
ALTER TABLE github_connections
    ADD COLUMN removed_at timestamptz,
    DROP CONSTRAINT github_connections_one_token,
    ADD CONSTRAINT github_connections_one_token CHECK (
        CASE WHEN removed_at IS NULL THEN num_nonnulls(token, token_sealed) = 1 ELSE num_nonnulls(token, token_sealed, wrapped_key) = 0 END);
COMMENT ON COLUMN github_connections.removed_at IS 'When it was removed, and its secret with it (UTC); null while it can be used.';

ALTER TABLE aws_connections
    ADD COLUMN removed_at timestamptz,
    DROP CONSTRAINT aws_connections_keys_or_role,
    ADD CONSTRAINT aws_connections_keys_or_role CHECK (
        CASE WHEN removed_at IS NOT NULL
             THEN num_nonnulls(secret_access_key, secret_access_key_sealed, session_token, session_token_sealed, external_id, external_id_sealed,
                               wrapped_key) = 0
             ELSE (access_key_id IS NOT NULL AND num_nonnulls(secret_access_key, secret_access_key_sealed) = 1 AND role_arn IS NULL
                      AND num_nonnulls(external_id, external_id_sealed) = 0)
                  OR (role_arn IS NOT NULL AND access_key_id IS NULL
                      AND num_nonnulls(secret_access_key, secret_access_key_sealed, session_token, session_token_sealed) = 0) END);
COMMENT ON COLUMN aws_connections.removed_at IS 'When it was removed, and its secrets with it (UTC); null while it can be used.';

CREATE TABLE schedules (
    id                   text PRIMARY KEY,
    name                 text CHECK (name <> ''),
    cron                 text NOT NULL,
    time_zone            text NOT NULL,
    github_connection_id text NOT NULL REFERENCES github_connections (id),
    aws_connection_id    text NOT NULL REFERENCES aws_connections (id),
    owner                text NOT NULL,
    repo                 text NOT NULL,
    branch               text NOT NULL,
    concurrency          text NOT NULL CHECK (concurrency IN ('reject', 'queue', 'supersede')),
    missed               text NOT NULL CHECK (missed IN ('run_once', 'skip')),
    paused               boolean NOT NULL,
    next_run_at          timestamptz,
    version              bigint NOT NULL DEFAULT 1,
    made_by              text NOT NULL,
    made_by_kind         text NOT NULL,
    made_by_token        text,
    role                 text NOT NULL CHECK (role IN ('viewer', 'deployer', 'approver', 'admin')),
    scope                text[] CHECK (cardinality(scope) > 0),
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    deleted_at           timestamptz,
    CONSTRAINT schedules_next_run_of_those_that_run CHECK (next_run_at IS NULL OR (NOT paused AND deleted_at IS NULL))
);
CREATE INDEX schedules_due ON schedules (next_run_at) WHERE next_run_at IS NOT NULL;
COMMENT ON TABLE schedules IS 'Deployments that start by the clock.';
COMMENT ON COLUMN schedules.id IS 'sch_ and random characters.';
COMMENT ON COLUMN schedules.name IS 'What people call it; null when they do not.';
COMMENT ON COLUMN schedules.cron IS 'When: minute, hour, day of month, month, day of week.';
COMMENT ON COLUMN schedules.time_zone IS 'Whose clock: a name of the IANA database.';
COMMENT ON COLUMN schedules.github_connection_id IS 'Where the source is read; may be removed, then nothing starts.';
COMMENT ON COLUMN schedules.aws_connection_id IS 'Where it is deployed to; may be removed, then nothing starts.';
COMMENT ON COLUMN schedules.owner IS 'Account or organisation of the source.';
COMMENT ON COLUMN schedules.repo IS 'Repository of the source.';
COMMENT ON COLUMN schedules.branch IS 'Branch that is deployed.';
COMMENT ON COLUMN schedules.concurrency IS 'What to do when the target has an unfinished deployment: reject, queue, supersede.';
COMMENT ON COLUMN schedules.missed IS 'What to do about times at which nobody was there to start it: run_once (one start for all of them), skip.';
COMMENT ON COLUMN schedules.paused IS 'Whether it waits until somebody resumes it.';
COMMENT ON COLUMN schedules.next_run_at IS 'The next time at which it is due (UTC); null while it is paused, when it is deleted, and when no time is left.';
COMMENT ON COLUMN schedules.version IS 'One more with each change that somebody makes.';
COMMENT ON COLUMN schedules.made_by IS 'Subject of whoever answers for it: made it, or changed it last.';
COMMENT ON COLUMN schedules.made_by_kind IS 'How they had signed in; as in audit.';
COMMENT ON COLUMN schedules.made_by_token IS 'The API token (tok_…), when it was one: nothing starts once that is revoked.';
COMMENT ON COLUMN schedules.role IS 'The role that they had: what its deployments may.';
COMMENT ON COLUMN schedules.scope IS 'The repositories that they saw; null for all.';
COMMENT ON COLUMN schedules.created_at IS 'When it was made (UTC).';
COMMENT ON COLUMN schedules.updated_at IS 'When somebody changed it last (UTC).';
COMMENT ON COLUMN schedules.deleted_at IS 'When it was deleted (UTC); null while it is there.';

CREATE TABLE schedule_runs (
    schedule_id   text NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    due_at        timestamptz NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    result        text NOT NULL CHECK (result IN ('started', 'refused', 'failed', 'skipped')),
    times         integer NOT NULL DEFAULT 1 CHECK (times >= 1),
    deployment_id text CHECK ((deployment_id IS NOT NULL) = (result = 'started')),
    error_code    text CHECK ((error_code IS NOT NULL) = (result IN ('refused', 'failed'))),
    error_message text CHECK ((error_message IS NOT NULL) = (error_code IS NOT NULL)),
    asked_by      text,
    PRIMARY KEY (schedule_id, due_at)
);
CREATE UNIQUE INDEX schedule_runs_deployment ON schedule_runs (deployment_id) WHERE deployment_id IS NOT NULL;
COMMENT ON TABLE schedule_runs IS 'What became of each time at which a schedule was due; the key makes it one start a time. Append-only.';
COMMENT ON COLUMN schedule_runs.schedule_id IS 'The schedule.';
COMMENT ON COLUMN schedule_runs.due_at IS 'When it was due (UTC): the first of them where it stands for several; when it was asked for, if somebody did.';
COMMENT ON COLUMN schedule_runs.at IS 'When this was decided (UTC).';
COMMENT ON COLUMN schedule_runs.result IS 'started; refused (another deployment has the target, or the role is not enough); failed; skipped (missed, and the schedule says so).';
COMMENT ON COLUMN schedule_runs.times IS 'How many times it stands for, missed ones included; counted up to 1000.';
COMMENT ON COLUMN schedule_runs.deployment_id IS 'The deployment that was started; it may have been archived since.';
COMMENT ON COLUMN schedule_runs.error_code IS 'Why nothing was started.';
COMMENT ON COLUMN schedule_runs.error_message IS 'The same in words, with the remedy.';
COMMENT ON COLUMN schedule_runs.asked_by IS 'Subject of whoever asked for it out of turn; null when it was the clock, or authentication was off.';

COMMENT ON COLUMN audit.action IS 'What: deploy, switch, cancel, retry, connect.github, connect.aws, connection.remove, schedule.create, schedule.change, schedule.delete, schedule.run, session.open, session.close, token.create, token.revoke, keys.rotate.';
COMMENT ON COLUMN audit.kind IS 'How they signed in: token, oidc, admin, nobody (authentication is off), operator (the command line on the server), schedule (a schedule, by the clock).';
COMMENT ON COLUMN audit.target IS 'Of what: the id of a deployment, connection, schedule or token.';
