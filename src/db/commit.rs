//! The fenced commit: state, facts, cursor, events and the record of the step's run change together, and only
//! for the owner that read them.

use serde_json::Value;
use sqlx::types::Uuid;

use super::{Db, DbError};
use crate::domain::catalogue::Lang;
use crate::domain::deployment::{Deployment, Facts, Status};
use crate::domain::event::Event;

/// What a commit changes. The default changes nothing but the version.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new step with its state; restarts the step's clock.
    pub step: Option<(String, Value)>,
    /// New state of the same step.
    pub step_state: Option<Value>,
    /// A new status.
    pub status: Option<Status>,
    /// Error code and message, with [`Status::Failed`].
    pub error: Option<(String, String)>,
    /// What it waits for from now on; none when it does not wait.
    pub waiting_for: Option<String>,
    /// What was learned.
    pub learned: Facts,
    /// What to tell.
    pub events: Vec<Event>,
    /// Whether to give the row back: nothing is left to do without a person.
    pub release: bool,
    /// How often the step was tried since the last record of it; 0 counts as once.
    pub tries: u32,
    /// Error code of the last of these tries that could not do its work, and what was seen then. With neither a new step nor a
    /// new status it is itself the record: the step is tried again later.
    pub trouble: Option<(String, String)>,
}

impl Change {
    /// How the present run of the step ends with this, as `step_runs` names it; none when the run goes on.
    fn run_outcome(&self) -> Option<&'static str> {
        match self.status {
            Some(Status::Completed) => Some("completed"),
            Some(Status::Failed) => Some("failed"),
            Some(Status::DeploymentReady) => Some("ready"),
            Some(Status::Running) | None if self.step.is_some() => Some("next"),
            Some(Status::Running) | None => self.trouble.as_ref().map(|_| "retry"),
        }
    }
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is durable. How many events are new: those whose keys were there already were told before.
    Done {
        /// Number of new events.
        new_events: i64,
    },
    /// The row is another's by now: nothing was changed, nothing may be tried again.
    OwnershipLost,
}

impl Db {
    /// Commits `change` to `deployment`, if `replica` still owns the version that was read; keeps `deployment` up with it.
    ///
    /// One statement, one round trip: the fenced UPDATE draws the sequence numbers under its row lock, and the events are
    /// inserted only if it matched. On an error the commit may or may not have happened: never resend it, read the row again.
    #[expect(clippy::too_many_lines, reason = "one statement, column by column")]
    pub async fn commit(
        &self,
        deployment: &mut Deployment,
        replica: Uuid,
        change: Change,
    ) -> Result<Committed, DbError> {
        let told = Told::of(&change.events);
        let learned = &change.learned;
        let (step, new_state) = change.step.clone().unzip();
        let (error_code, error_message) = change.error.clone().unzip();
        let (trouble_code, trouble_reason) = change.trouble.clone().unzip();
        let row = sqlx::query!(
            "WITH told AS (
                 SELECT * FROM unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::int[], $9::text[], $10::jsonb[], $11::jsonb[])
                     WITH ORDINALITY AS e (id, key, code, type, stage, message, details, params, n)
                 WHERE NOT EXISTS (SELECT FROM deployment_events x
                                   WHERE x.deployment_id = $1 AND x.attempt = $12 AND x.key = e.key)
             ), fenced AS (
                 UPDATE deployments SET
                     version = version + 1,
                     next_event_seq = next_event_seq + (SELECT count(*) FROM told),
                     claims_without_progress = CASE WHEN $13::text IS NOT NULL OR $26::bigint IS NOT NULL OR EXISTS (SELECT FROM told)
                                                    THEN 0 ELSE claims_without_progress END,
                     step = coalesce($13, step),
                     step_state = coalesce($14, step_state),
                     step_started_at = CASE WHEN $13::text IS NULL THEN step_started_at ELSE now() END,
                     status = coalesce($15, status),
                     error_code = coalesce($16, error_code),
                     error_message = coalesce($17, error_message),
                     completed_at = CASE WHEN $15 IN ('COMPLETED', 'FAILED') THEN now() ELSE completed_at END,
                     ready_at = CASE WHEN $15 = 'DEPLOYMENT_READY' THEN coalesce(ready_at, now()) ELSE ready_at END,
                     waiting_for = $18,
                     replica_id = CASE WHEN $19 THEN NULL ELSE replica_id END,
                     run_started_at = CASE WHEN $19 THEN NULL WHEN $44::text IS NULL THEN run_started_at ELSE now() END,
                     commit_sha = coalesce($20, commit_sha),
                     committed_at = coalesce($21, committed_at),
                     image_uri = coalesce($22, image_uri),
                     image_digest = coalesce($23, image_digest),
                     image_pushed_at = coalesce($24, image_pushed_at),
                     execution_arn = coalesce($25, execution_arn),
                     last_history_event_id = coalesce($26, last_history_event_id),
                     polling_state = coalesce($27, polling_state),
                     cluster_name = coalesce($28, cluster_name),
                     service_name = coalesce($29, service_name),
                     task_definition = coalesce($30, task_definition),
                     blue_service_arn = coalesce($31, blue_service_arn),
                     green_service_arn = coalesce($32, green_service_arn),
                     blue_target_group_arn = coalesce($33, blue_target_group_arn),
                     green_target_group_arn = coalesce($34, green_target_group_arn),
                     blue_url = coalesce($35, blue_url),
                     green_url = coalesce($36, green_url),
                     code_deploy_deployment_id = coalesce($37, code_deploy_deployment_id),
                     code_deploy_application_name = coalesce($38, code_deploy_application_name),
                     blue_latency_ms = coalesce($39, blue_latency_ms),
                     green_latency_ms = coalesce($40, green_latency_ms),
                     blue_error_rate = coalesce($41, blue_error_rate),
                     green_error_rate = coalesce($42, green_error_rate),
                     final_service = coalesce($43, final_service)
                 WHERE id = $1 AND replica_id = $2 AND version = $3
                 RETURNING version, next_event_seq - (SELECT count(*) FROM told) AS first_seq
             ), recorded AS (
                 INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, replica_name, started_at, ended_at,
                                        outcome, error_code, reason, tries)
                 SELECT $1, fenced.version, before.attempt, before.step, $2, (SELECT name FROM replicas WHERE id = $2),
                        coalesce(before.run_started_at, before.step_started_at), now(), $44, $45, $46, $47
                 FROM fenced, (SELECT attempt, step, run_started_at, step_started_at FROM deployments WHERE id = $1) AS before
                 WHERE $44 IS NOT NULL
             ), inserted AS (
                 INSERT INTO deployment_events (deployment_id, seq, id, attempt, key, code, type, stage, message, details, params)
                 SELECT $1, fenced.first_seq + row_number() OVER (ORDER BY told.n) - 1, told.id, $12, told.key, told.code, told.type,
                        told.stage, told.message, told.details, told.params
                 FROM told, fenced
             )
             SELECT (SELECT count(*) FROM told) AS \"new_events!\" FROM fenced",
            deployment.id,
            replica,
            deployment.version,
            &told.ids,
            &told.keys,
            &told.codes,
            &told.types,
            &told.stages as &[Option<i32>],
            &told.messages,
            &told.details as &[Option<Value>],
            &told.params,
            deployment.attempt,
            step,
            new_state.or_else(|| change.step_state.clone()),
            change.status.map(Status::as_str),
            error_code,
            error_message,
            change.waiting_for,
            change.release,
            learned.commit_sha,
            learned.committed_at,
            learned.image_uri,
            learned.image_digest,
            learned.image_pushed_at,
            learned.execution_arn,
            learned.last_history_event_id,
            learned.polling_state,
            learned.cluster_name,
            learned.service_name,
            learned.task_definition,
            learned.blue_service_arn,
            learned.green_service_arn,
            learned.blue_target_group_arn,
            learned.green_target_group_arn,
            learned.blue_url,
            learned.green_url,
            learned.code_deploy_deployment_id,
            learned.code_deploy_application_name,
            learned.blue_latency_ms,
            learned.green_latency_ms,
            learned.blue_error_rate,
            learned.green_error_rate,
            learned.final_service,
            change.run_outcome(),
            trouble_code,
            trouble_reason,
            i32::try_from(change.tries.max(1)).unwrap_or(i32::MAX),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(Committed::OwnershipLost) };
        deployment.take_over(change);
        Ok(Committed::Done { new_events: row.new_events })
    }
}

/// The columns of the events to insert, as arrays for `unnest`.
#[derive(Default)]
struct Told {
    ids: Vec<Uuid>,
    keys: Vec<String>,
    codes: Vec<String>,
    types: Vec<String>,
    stages: Vec<Option<i32>>,
    messages: Vec<String>,
    details: Vec<Option<Value>>,
    params: Vec<Value>,
}

impl Told {
    fn of(events: &[Event]) -> Self {
        let mut told = Self::default();
        for event in events {
            let rendered = event.render(Lang::Ko);
            let stage = rendered.details.as_ref().and_then(|details| details.get("stage")).and_then(Value::as_i64);
            told.ids.push(Uuid::now_v7());
            told.keys.push(event.key.clone());
            told.codes.push(event.code.as_str().to_owned());
            told.types.push(rendered.event_type.as_str().to_owned());
            told.stages.push(stage.and_then(|stage| i32::try_from(stage).ok()));
            told.messages.push(rendered.message);
            told.details.push(rendered.details.map(Value::Object));
            told.params.push(Value::Object(event.params.clone()));
        }
        told
    }
}

impl Deployment {
    /// Keeps the copy in memory up with what was just committed.
    fn take_over(&mut self, change: Change) {
        self.version += 1;
        if let Some((step, state)) = change.step {
            self.step = step;
            self.step_state = state;
            self.step_elapsed = std::time::Duration::ZERO;
        } else if let Some(state) = change.step_state {
            self.step_state = state;
        }
        if let Some(status) = change.status {
            self.status = status;
        }
        self.waiting_for = change.waiting_for;
        self.facts.merge(change.learned);
    }
}
