//! `GET /api/v1/deploy/{id}/result`: all stored facts of a deployment, in any status.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::freeze::HeldBy;
use super::not_found::not_found;
use super::requested::{RequestedView, branch_of};
use crate::db::deployments::{AttemptView, DeploymentView};
use crate::domain::deployment::Status;
use crate::domain::lang::Lang;
use crate::domain::principal::Caller;
use crate::domain::rollout::{Pause, SeenPause};
use crate::http::ApiState;
use crate::http::auth::DeploymentReader;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::language::{self, AskedLang};
use crate::http::routes::deploy::path::DeploymentId;
use crate::http::time;

// ---- Response

/// All facts of a deployment. Unknown facts are null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentResult {
    /// Id from the request's path.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: String,
    /// `RUNNING`, `DEPLOYMENT_READY` (green runs and awaits the switch), `COMPLETED` or `FAILED`.
    #[schema(example = "COMPLETED")]
    pub status: String,
    /// Account or organisation of the source.
    #[schema(example = "acme")]
    pub owner: String,
    /// GitHub repository of the source, without its owner.
    #[schema(example = "shop")]
    pub repo: String,
    /// Branch; null when a commit, a tag or an image was requested.
    #[schema(example = "main")]
    pub branch: Option<String>,
    /// Requested source and build options.
    pub requested: RequestedView,
    /// Id of the built commit; null before the clone, and for an image.
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit_sha: Option<String>,
    /// Name of the commit's author, at most 100 characters and without an e-mail address; null before the clone, and for an image.
    #[schema(example = "Kim Panda")]
    pub commit_author: Option<String>,
    /// First line of the commit's message, at most 200 characters; null before the clone, and for an image.
    #[schema(example = "Show the cart's total with tax")]
    pub commit_subject: Option<String>,
    /// Repository URI and tag of the image.
    #[schema(example = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/acme-shop:dep_4k1zq0v7w3m9x2c8b5n6")]
    pub image_uri: Option<String>,
    /// Digest of the image's manifest.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub image_digest: Option<String>,
    /// Time at which the deployment was requested (RFC 3339, UTC); a retry does not change it.
    #[serde(serialize_with = "time::millis")]
    pub started_at: DateTime<Utc>,
    /// Time at which it became COMPLETED or FAILED (UTC).
    #[serde(serialize_with = "time::optional_millis")]
    pub completed_at: Option<DateTime<Utc>>,
    /// Time at which the traffic was first seen at 100 % on green (UTC). It stays when AWS moves the traffic back later.
    #[serde(serialize_with = "time::optional_millis")]
    pub traffic_moved_at: Option<DateTime<Utc>>,
    /// Outcome in production, as a caller marked it: `ok`, `failed` or `rework`; null without a mark.
    #[schema(example = "failed")]
    pub outcome: Option<String>,
    /// Labels: those of the policy with which the attempt started, and those of the request, which come first.
    #[schema(example = json!({"team": "payments", "environment": "production"}))]
    pub labels: BTreeMap<String, String>,
    /// Duration from start to end, or until now, in whole seconds.
    #[schema(example = 312)]
    pub duration_seconds: i64,
    /// Number of its events so far.
    #[schema(example = 42)]
    pub event_count: i64,
    /// Side that has the traffic at the end: `blue` or `green`.
    #[schema(example = "green")]
    pub final_service: Option<String>,
    /// Time at which AWS ends the wait for the switch by itself (UTC); null unless `DEPLOYMENT_READY`, and where AWS sets no limit.
    #[serde(serialize_with = "time::optional_millis")]
    pub ready_until: Option<DateTime<Utc>>,
    /// Time at which AWS terminated blue (UTC): until then it may take the traffic back, and a COMPLETED deployment becomes FAILED with
    /// `ROLLED_BACK_AFTER_SWITCH`.
    #[serde(serialize_with = "time::optional_millis")]
    pub blue_terminated_at: Option<DateTime<Utc>>,
    /// URL of the production listener.
    #[schema(example = "http://shop.example.com")]
    pub blue_url: Option<String>,
    /// URL of green before the switch.
    #[schema(example = "http://shop.example.com:8081")]
    pub green_url: Option<String>,
    /// ARN of the ECS service or task set that served before.
    #[schema(example = "arn:aws:ecs:ap-northeast-2:123456789012:service/shop/blue")]
    pub blue_service_arn: Option<String>,
    /// ARN of the ECS service or task set of the new image.
    #[schema(example = "arn:aws:ecs:ap-northeast-2:123456789012:service/shop/green")]
    pub green_service_arn: Option<String>,
    /// Id of the `CodeDeploy` deployment that shifts the traffic.
    #[schema(example = "d-ABCDEF123")]
    pub code_deploy_deployment_id: Option<String>,
    /// ARN of the ECS service deployment that shifts the traffic, where ECS does so itself.
    #[schema(example = json!(null))]
    pub service_deployment_arn: Option<String>,
    /// Stable code of the failure; null unless FAILED.
    #[schema(example = "BUILD_FAILED")]
    pub error_code: Option<String>,
    /// Cause of the failure and remedy, in the language of `lang` or `Accept-Language`, else in Korean; null unless FAILED.
    pub error_message: Option<String>,
    /// Percentage of the production traffic on green, 0 to 100, while a switch in parts moves it; null before the switch, and where all traffic moves in one step.
    #[schema(example = 10.0)]
    pub green_weight: Option<f64>,
    /// Pauses of ECS's rollout that were reached, in their order; the last one awaits approval while the deployment is `DEPLOYMENT_READY`. Empty for
    /// `CodeDeploy`.
    pub pauses: Vec<ShownPause>,
    /// Median latency of blue in the health check, in milliseconds.
    #[schema(example = 3.5)]
    pub blue_latency_ms: Option<f64>,
    /// Median latency of green in the health check, in milliseconds.
    #[schema(example = 3.1)]
    pub green_latency_ms: Option<f64>,
    /// Side with the lower median latency in the health check: `blue` or `green`; null when one is unknown or both are equal.
    #[schema(example = "green")]
    pub faster_service: Option<&'static str>,
    /// Failed share of blue's health checks, 0 to 1.
    #[schema(example = 0.0)]
    pub blue_error_rate: Option<f64>,
    /// Failed share of green's health checks, 0 to 1.
    #[schema(example = 0.0)]
    pub green_error_rate: Option<f64>,
    /// Number of the attempt: 1, plus 1 for each retry.
    #[schema(example = 1)]
    pub attempt: i32,
    /// Earlier attempts in order; all of them failed.
    pub attempts: Vec<PastAttempt>,
    /// Position in the target's queue, from 1; null when it is not queued.
    #[schema(example = 1)]
    pub queue_position: Option<i64>,
    /// The freeze or window that holds it now: its start while it is queued, its switch while it is `DEPLOYMENT_READY`. Null when none does.
    pub held_by: Option<HeldBy>,
    /// Version of the target's policy with which the attempt started; null before, and without a policy.
    #[schema(example = 3)]
    pub policy_version: Option<i32>,
    /// Id of the newer deployment that superseded this one.
    #[schema(example = "dep_7m3x9c2v5b8n1k4j6h0g")]
    pub superseded_by: Option<String>,
    /// Id of the schedule that started it, at a scheduled time or on request; null when none did.
    #[schema(example = "sch_4k1zq0v7w3m9x2c8b5n6")]
    pub schedule_id: Option<String>,
    /// Id of the deployment that this one rolls back; null for any other deployment.
    #[schema(example = "dep_7m3x9c2v5b8n1k4j6h0g")]
    pub caused_by: Option<String>,
    /// Id of the COMPLETED deployment that rolled this one back; null when none did, and where AWS took the traffic back.
    #[schema(example = "dep_7m3x9c2v5b8n1k4j6h0g")]
    pub rolled_back_by: Option<String>,
    /// Time at which a rollback at AWS was requested (UTC); null without one, and once AWS could no longer carry it out. Until the traffic was seen on blue
    /// the status stays COMPLETED.
    #[serde(serialize_with = "time::optional_millis")]
    pub rollback_requested_at: Option<DateTime<Utc>>,
    /// Time at which the traffic was seen on blue again after that request (UTC).
    #[serde(serialize_with = "time::optional_millis")]
    pub restored_at: Option<DateTime<Utc>>,
}

/// A pause of ECS's rollout. Each needs its own approval.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Pause)]
pub struct ShownPause {
    /// Name of the pause for `pause` of a switch.
    #[schema(example = "hook-1:1767225600")]
    pub pause_id: String,
    /// Id of ECS's hook.
    #[schema(example = "hook-1")]
    pub hook_id: Option<String>,
    /// Stage of ECS's life cycle at which it waits.
    #[schema(example = "POST_TEST_TRAFFIC_SHIFT")]
    pub stage: Option<String>,
    /// Time at which ECS ends the wait by itself (UTC); null where it sets no limit.
    #[serde(serialize_with = "time::optional_millis")]
    pub until: Option<DateTime<Utc>>,
    /// What ECS does then: `ROLLBACK`, or `CONTINUE` without an approval.
    #[schema(example = "ROLLBACK")]
    pub timeout_action: Option<String>,
    /// Percentage of the production traffic on green during the pause; null if AWS does not say.
    #[schema(example = 20.0)]
    pub green_weight: Option<f64>,
}

impl From<SeenPause> for ShownPause {
    fn from(seen: SeenPause) -> Self {
        let SeenPause { id, pause, green_weight } = seen;
        let Pause { hook, stage, until, timeout_action } = pause;
        Self { pause_id: id, hook_id: hook, stage, until, timeout_action, green_weight }
    }
}

/// A failed attempt that was followed by a retry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastAttempt {
    /// Number of the attempt, from 1.
    #[schema(example = 1)]
    pub attempt: i32,
    /// Time at which the deployment, or this retry of it, was requested (RFC 3339, UTC).
    #[serde(serialize_with = "time::millis")]
    pub started_at: DateTime<Utc>,
    /// Time of its failure (UTC).
    #[serde(serialize_with = "time::millis")]
    pub ended_at: DateTime<Utc>,
    /// Name of the failed step.
    #[schema(example = "follow_execution")]
    pub step: String,
    /// Stable code of the failure.
    #[schema(example = "EXECUTION_FAILED")]
    pub error_code: String,
    /// Cause of the failure, and remedy.
    pub error_message: String,
    /// Id of the built commit; null before the clone, and for an image.
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8")]
    pub commit_sha: Option<String>,
    /// Digest of the pushed image.
    pub image_digest: Option<String>,
    /// ARN of the followed execution.
    pub execution_arn: Option<String>,
    /// Id of the `CodeDeploy` deployment.
    #[schema(example = "d-ABCDEF123")]
    pub code_deploy_deployment_id: Option<String>,
    /// ARN of the ECS service deployment, where ECS shifts the traffic itself.
    #[schema(example = json!(null))]
    pub service_deployment_arn: Option<String>,
}

impl From<AttemptView> for PastAttempt {
    fn from(row: AttemptView) -> Self {
        let facts = row.facts;
        Self {
            attempt: row.attempt,
            started_at: row.started_at,
            ended_at: row.ended_at,
            step: row.step,
            error_code: row.error_code,
            error_message: row.error_message,
            commit_sha: facts.commit_sha,
            image_digest: facts.image_digest,
            execution_arn: facts.execution_arn,
            code_deploy_deployment_id: facts.code_deploy_deployment_id,
            service_deployment_arn: facts.service_deployment_arn,
        }
    }
}

/// Rounds a duration of the database down to whole seconds.
#[expect(clippy::cast_possible_truncation, reason = "the seconds of a deployment are far within i64")]
pub fn whole_seconds(seconds: f64) -> i64 {
    seconds.max(0.0).floor() as i64
}

/// Compares the median latencies of both sides.
fn faster_service(blue: Option<f64>, green: Option<f64>) -> Option<&'static str> {
    match blue?.partial_cmp(&green?)? {
        Ordering::Less => Some("blue"),
        Ordering::Greater => Some("green"),
        Ordering::Equal => None,
    }
}

impl DeploymentResult {
    fn new(row: DeploymentView, attempts: Vec<AttemptView>, held_by: Option<HeldBy>) -> Self {
        let facts = row.facts;
        let ready = row.status == Status::DeploymentReady.as_str();
        Self {
            deployment_id: row.id,
            status: row.status,
            owner: row.owner,
            repo: row.repo,
            branch: branch_of(&row.branch),
            requested: RequestedView::new(&row.branch, row.build, row.reason, row.kind),
            commit_sha: facts.commit_sha,
            commit_author: facts.commit_author,
            commit_subject: facts.commit_subject,
            image_uri: facts.image_uri,
            image_digest: facts.image_digest,
            started_at: row.started_at,
            completed_at: row.completed_at,
            traffic_moved_at: row.traffic_moved_at,
            outcome: row.outcome,
            labels: row.labels.0.0,
            duration_seconds: whole_seconds(row.duration_seconds),
            event_count: row.event_count,
            final_service: facts.final_service,
            ready_until: facts.ready_until.filter(|_| ready),
            blue_terminated_at: facts.blue_terminated_at,
            blue_url: facts.blue_url,
            green_url: facts.green_url,
            blue_service_arn: facts.blue_service_arn,
            green_service_arn: facts.green_service_arn,
            code_deploy_deployment_id: facts.code_deploy_deployment_id,
            service_deployment_arn: facts.service_deployment_arn,
            error_code: row.error_code,
            error_message: row.error_message,
            faster_service: faster_service(facts.blue_latency_ms, facts.green_latency_ms),
            blue_latency_ms: facts.blue_latency_ms,
            green_latency_ms: facts.green_latency_ms,
            green_weight: facts.green_weight,
            pauses: facts.pauses.unwrap_or_default().into_iter().map(ShownPause::from).collect(),
            blue_error_rate: facts.blue_error_rate,
            green_error_rate: facts.green_error_rate,
            attempt: row.attempt,
            attempts: attempts.into_iter().map(PastAttempt::from).collect(),
            queue_position: row.queue_position,
            held_by,
            policy_version: row.policy_version,
            superseded_by: row.superseded_by,
            schedule_id: row.schedule_id,
            caused_by: row.caused_by,
            rolled_back_by: row.rolled_back_by,
            rollback_requested_at: row.rollback_requested_at,
            restored_at: facts.restored_at,
        }
    }
}

// ---- Handler

/// Get a deployment's result
#[utoipa::path(
    get, path = "/api/v1/deploy/{id}/result", tag = "deployments", operation_id = "deploymentResult",
    params(("id" = String, Path, description = "Id of the deployment.", example = "dep_4k1zq0v7w3m9x2c8b5n6"),
           ("ticket" = Option<String>, Query, description = "A ticket for this deployment, instead of the header `Authorization`; valid once.", example = "pandat_…")),
    responses(
        (status = 200, description = "All known facts, in any status.", body = Envelope<DeploymentResult>),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    DeploymentReader { caller }: DeploymentReader,
    DeploymentId(id): DeploymentId,
    lang: AskedLang,
) -> Result<language::Labelled<Envelope<DeploymentResult>>, ApiError> {
    let row = deployment(&state, &caller, id).await?;
    let asked = lang.texts();
    let result = result_of(&state, row, asked).await?;
    Ok(language::Labelled { lang: asked, body: Envelope::new("배포 결과 조회 성공", result) })
}

/// Reads a deployment of the caller's scope.
///
/// # Errors
/// There is none, or it is archived.
pub async fn deployment(state: &ApiState, caller: &Caller, id: String) -> Result<DeploymentView, ApiError> {
    match state.db.deployment_in(caller.scope(), &id).await? {
        Some(row) => Ok(row),
        None => Err(not_found(state, caller.scope(), id).await),
    }
}

/// Builds the result of a deployment, with the messages of failures in `lang`; without one as they were stored.
///
/// # Errors
/// The database failed.
pub async fn result_of(
    state: &ApiState,
    row: DeploymentView,
    lang: Option<Lang>,
) -> Result<DeploymentResult, ApiError> {
    let attempts = if row.attempt > 1 { state.db.past_attempts(&row.id).await? } else { Vec::new() };
    let held_by = HeldBy::of(state, &row).await?;
    let mut result = DeploymentResult::new(row, attempts, held_by);
    if let Some(lang) = lang {
        translate(state, &mut result, lang).await?;
    }
    Ok(result)
}

/// Renders the messages of failures in `lang`. Where retention has removed a failure's event, the stored message stays.
async fn translate(state: &ApiState, result: &mut DeploymentResult, lang: Lang) -> Result<(), ApiError> {
    let past = result
        .attempts
        .iter_mut()
        .map(|attempt| (attempt.attempt, event_code(&attempt.error_code), &mut attempt.error_message));
    let last = result.error_code.as_deref().map(event_code).zip(result.error_message.as_mut());
    let failures: Vec<(i32, String, &mut String)> =
        past.chain(last.map(|(code, message)| (result.attempt, code, message))).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let codes: Vec<String> = failures.iter().map(|(_, code, _)| code.clone()).collect();
    let events = state.db.events_of(&result.deployment_id, &codes).await?;
    for (attempt, code, message) in failures {
        if let Some(event) = events.iter().rev().find(|event| event.attempt == attempt && event.code == code) {
            *message = event.render(lang).message;
        }
    }
    Ok(())
}

/// The code of the event that reports a failure.
pub fn event_code(error_code: &str) -> String {
    error_code.to_ascii_lowercase()
}
