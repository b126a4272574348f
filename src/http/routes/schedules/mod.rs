//! `/api/v1/schedules`: deployments that start at scheduled times.

pub mod change;
pub mod create;
pub mod delete;
pub mod error;
pub mod list;
pub mod path;
pub mod run;
pub mod runs;
pub mod show;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::db::schedules::{ScheduleRunView, ScheduleSpec, ScheduleView};
use crate::domain::cron::{self, Cron};
use crate::domain::lang::Lang;
use crate::domain::message::{Message, message};
use crate::domain::principal::Caller;
use crate::domain::request::Purpose;
use crate::domain::schedule::Missed;
use crate::domain::source::{Source, SourceFields};
use crate::domain::text::is_unfit_for_names;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::error::input::InputError;
use crate::http::routes::deploy::create::{Deploy, new_deployment};
use crate::http::routes::deploy::requested::RequestedBuild;
use crate::http::strict_object;
use crate::http::time;

/// Longest name of a schedule, in characters.
const MAX_NAME: usize = 100;

/// Number of upcoming times in a response.
const UPCOMING_RUNS: usize = 5;

// ---- Deployment

/// Source and target of the deployments that a schedule starts.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScheduledDeploy {
    /// Id of the GitHub connection with the source.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub github_connection_id: String,
    /// Id of the AWS connection with the target account.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// Account or organisation of the source; must be that of the GitHub connection.
    #[schema(example = "acme", min_length = 1, max_length = 39)]
    pub owner: String,
    /// Repository of the source; must be that of the GitHub connection.
    #[schema(example = "shop", min_length = 1, max_length = 100)]
    pub repo: String,
    /// Branch whose newest commit is deployed; it may differ from the branch of the connection. Exactly one of `branch`, `commit`, `tag` and `image` is
    /// required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "main", min_length = 1, max_length = 244)]
    pub branch: Option<String>,
    /// Commit to deploy, as 40 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8", pattern = "^[0-9a-fA-F]{40}$")]
    pub commit: Option<String>,
    /// Tag to deploy; an annotated tag stands for its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "v1.2.0", min_length = 1, max_length = 244)]
    pub tag: Option<String>,
    /// Existing image in the target's ECR repository, by digest: `sha256:…`, or the full name with the digest. Nothing is cloned or built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/acme-shop@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    pub image: Option<String>,
    /// Build options; not allowed with `image`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "strict_object::optional")]
    pub build: Option<RequestedBuild>,
    /// Reason for the deployment, up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Prices were wrong", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
    /// Purpose: `planned` (the default), `hotfix` or `rollback`. Only reports use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "planned", pattern = "^(planned|hotfix|rollback)$")]
    pub kind: Option<String>,
    /// Labels for reports, up to 8. They replace those of the target's policy, name by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"team": "payments"}))]
    pub labels: BTreeMap<String, String>,
}

impl ScheduledDeploy {
    /// Converts a schedule's row to the form of a request.
    fn from_row(row: &ScheduleView) -> Self {
        let SourceFields { branch, commit, tag, image } = Source::of_column(&row.branch).fields();
        Self {
            github_connection_id: row.github_connection_id.clone(),
            aws_connection_id: row.aws_connection_id.clone(),
            owner: row.owner.clone(),
            repo: row.repo.clone(),
            branch,
            commit,
            tag,
            image,
            build: row.build.clone().and_then(|build| serde_json::from_value(build).ok()),
            reason: row.reason.clone(),
            kind: (row.kind != Purpose::default().as_str()).then(|| row.kind.clone()),
            labels: row.labels.0.0.clone(),
        }
    }
}

/// A schedule to create or to change to, not validated yet.
struct ScheduleRequest {
    name: Option<String>,
    cron: String,
    time_zone: String,
    deploy: ScheduledDeploy,
    concurrency: Option<String>,
    missed: Option<String>,
    paused: bool,
}

impl ScheduleRequest {
    /// Validates all fields, and that the caller may use the connections.
    ///
    /// # Errors
    /// As [`new_deployment`], with fields of the deployment prefixed by `deploy.`; [`ApiError::Input`] for the schedule's own fields.
    async fn check(self, state: &ApiState, caller: &Caller) -> Result<ScheduleSpec, ApiError> {
        if let Some(name) = &self.name {
            let is_valid = (1..=MAX_NAME).contains(&name.chars().count()) && !name.contains(is_unfit_for_names);
            if !is_valid {
                return Err(ApiError::field("name", message!("rule.schedule_name", max = MAX_NAME)));
            }
        }
        let cron = Cron::parse(&self.cron).map_err(|error| ApiError::field("cron", error.message()))?;
        let zone = cron::zone(&self.time_zone).map_err(|error| ApiError::field("timeZone", error.message()))?;
        let missed = self.missed.as_deref().map_or(Ok(Missed::default()), str::parse);
        let missed = missed.map_err(|rule| ApiError::field("missed", rule))?;
        let deploy = Deploy {
            github_connection_id: self.deploy.github_connection_id,
            aws_connection_id: self.deploy.aws_connection_id,
            owner: self.deploy.owner,
            repo: self.deploy.repo,
            branch: self.deploy.branch,
            commit: self.deploy.commit,
            tag: self.deploy.tag,
            image: self.deploy.image,
            build: self.deploy.build,
            reason: self.deploy.reason,
            kind: self.deploy.kind,
            labels: self.deploy.labels,
            concurrency: self.concurrency,
            freeze_override: None,
        };
        let new = new_deployment(state, caller, deploy).await.map_err(|error| match error {
            ApiError::Input(InputError::Field { field, rule }) if field != "concurrency" => {
                ApiError::field(format!("deploy.{field}"), rule)
            }
            other => other,
        })?;
        Ok(ScheduleSpec {
            name: self.name,
            cron,
            zone,
            github_connection_id: new.github_connection_id,
            aws_connection_id: new.aws_connection_id,
            owner: new.owner,
            repo: new.repo,
            requested: new.requested,
            concurrency: new.concurrency,
            missed,
            paused: self.paused,
        })
    }
}

// ---- Response

/// A schedule with its next times and last run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Id for `/api/v1/schedules/{id}`; it does not change.
    #[schema(example = "sch_4k1zq0v7w3m9x2c8b5n6")]
    pub schedule_id: String,
    /// Display name; null when it has none.
    #[schema(example = "nightly")]
    pub name: Option<String>,
    /// Cron expression: minute, hour, day of month, month, day of week.
    #[schema(example = "30 6 * * MON-FRI")]
    pub cron: String,
    /// Time zone of the cron expression (IANA name).
    #[schema(example = "Asia/Seoul")]
    pub time_zone: String,
    /// Deployment to start each time.
    pub deploy: ScheduledDeploy,
    /// Behaviour when another deployment of the target is unfinished: `reject`, `queue` or `supersede`.
    #[schema(example = "reject")]
    pub concurrency: String,
    /// Behaviour for times missed while no server ran: `run_once` or `skip`.
    #[schema(example = "run_once")]
    pub missed: String,
    /// True while the schedule is paused.
    #[schema(example = false)]
    pub paused: bool,
    /// Owner: the caller who created the schedule or changed it last.
    #[schema(example = "alice")]
    pub made_by: String,
    /// Reason why the schedule stopped; null while it is active. Any change except pausing, at least `{"adopt": true}`, makes the caller the owner and
    /// resumes it.
    pub stopped: Option<ScheduleStopped>,
    /// Time of its creation (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// Time of the last change (UTC).
    #[serde(serialize_with = "time::millis")]
    pub updated_at: DateTime<Utc>,
    /// Next time (UTC); null while the schedule is paused or stopped.
    #[serde(serialize_with = "time::optional_millis")]
    pub next_run_at: Option<DateTime<Utc>>,
    /// Next time and the four after it (UTC).
    #[serde(serialize_with = "time::list_of_millis")]
    pub next_runs: Vec<DateTime<Utc>>,
    /// Outcome of the last time; null before the first.
    pub last_run: Option<ScheduleRun>,
    /// Reason why the last time started nothing; null when it started a deployment.
    #[schema(
        example = "The connection gh_4k1zq0v7w3m9x2c8b5n6 was removed. Connect again, and change the schedule to the new connection."
    )]
    pub last_error: Option<String>,
}

/// Record that the schedule stopped because its owner's permission ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStopped {
    /// Time at which it stopped (UTC).
    #[serde(serialize_with = "time::millis")]
    pub at: DateTime<Utc>,
    /// `TOKEN_REVOKED`, `TOKEN_EXPIRED`, `TOKEN_REMOVED`, `PERMISSION_REDUCED`, `ADMIN_TOKEN_REPLACED`, `SUBJECT_REVOKED`, `ISSUER_REMOVED` or
    /// `SIGN_IN_REQUIRED`.
    #[schema(example = "TOKEN_EXPIRED")]
    pub code: String,
    /// Explanation with the remedy.
    #[schema(
        example = "The API token tok_4k1zq0v7w3m9x2c8b5n6 that this schedule belongs to has expired. The schedule has stopped: take it over with `panda schedule adopt` or another change."
    )]
    pub reason: String,
}

/// Outcome of a time at which a schedule was due.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRun {
    /// Time at which the run was due or requested (UTC); the first of several missed times.
    #[serde(serialize_with = "time::millis")]
    pub due_at: DateTime<Utc>,
    /// Time at which the run was processed (UTC).
    #[serde(serialize_with = "time::millis")]
    pub at: DateTime<Utc>,
    /// `started`; `refused` (another deployment has the target, or the role is too low); `failed`; `skipped` (missed, and `missed` is `skip`).
    #[schema(example = "started")]
    pub result: String,
    /// Number of times that this run covers, missed ones included; counted up to 1000.
    #[schema(example = 1)]
    pub times: i32,
    /// Id of the started deployment; null when none was started.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: Option<String>,
    /// Error code; null when a deployment was started.
    #[schema(example = "TARGET_TAKEN")]
    pub error_code: Option<String>,
    /// Explanation of the error code.
    pub error_message: Option<String>,
    /// Caller who requested the run; null for a scheduled time.
    #[schema(example = "alice")]
    pub asked_by: Option<String>,
}

impl ScheduleRun {
    /// The explanation is in `lang` or, where the request names no language, as stored: in English.
    pub(in crate::http) fn new(run: ScheduleRunView, lang: Option<Lang>) -> Self {
        Self {
            due_at: run.due_at,
            at: run.at,
            result: run.result,
            times: run.times,
            deployment_id: run.deployment_id,
            error_code: run.error_code,
            error_message: in_language(run.error_message, run.error_text.as_ref(), lang),
            asked_by: run.asked_by,
        }
    }
}

/// A stored text in `lang`, if it can be rendered.
fn in_language(stored: Option<String>, text: Option<&Value>, lang: Option<Lang>) -> Option<String> {
    let rendered = lang.and_then(|lang| Some(Message::from_json(text?)?.text(lang)));
    rendered.or(stored)
}

impl Schedule {
    /// Reasons are in `lang` or, where the request names no language, as stored: in English.
    pub(in crate::http) fn new(row: ScheduleView, lang: Option<Lang>) -> Self {
        let next_runs = upcoming(&row);
        let deploy = ScheduledDeploy::from_row(&row);
        let last_run = match (row.last_due_at, row.last_at, row.last_result, row.last_times) {
            (Some(due_at), Some(at), Some(result), Some(times)) => Some(ScheduleRun {
                due_at,
                at,
                result,
                times,
                deployment_id: row.last_deployment_id,
                error_code: row.last_error_code,
                error_message: in_language(row.last_error_message, row.last_error_text.as_ref(), lang),
                asked_by: row.last_asked_by,
            }),
            _ => None,
        };
        let stopped_reason = in_language(row.stopped_reason, row.stopped_text.as_ref(), lang);
        let stopped = match (row.stopped_at, row.stopped_code, stopped_reason) {
            (Some(at), Some(code), Some(reason)) => Some(ScheduleStopped { at, code, reason }),
            _ => None,
        };
        Self {
            schedule_id: row.id,
            name: row.name,
            cron: row.cron,
            time_zone: row.time_zone,
            deploy,
            concurrency: row.concurrency,
            missed: row.missed,
            paused: row.paused,
            made_by: row.made_by,
            stopped,
            created_at: row.created_at,
            updated_at: row.updated_at,
            next_run_at: row.next_run_at,
            next_runs,
            last_error: last_run.as_ref().and_then(|run| run.error_message.clone()),
            last_run,
        }
    }
}

/// The next time, which the row has, and the following ones, which are computed.
fn upcoming(row: &ScheduleView) -> Vec<DateTime<Utc>> {
    let (Some(next), Ok(cron), Ok(zone)) = (row.next_run_at, Cron::parse(&row.cron), cron::zone(&row.time_zone)) else {
        return row.next_run_at.into_iter().collect();
    };
    std::iter::once(next).chain(cron.upcoming(next, zone, UPCOMING_RUNS - 1)).collect()
}
