//! `/api/v1/schedules`: deployments that start by the clock.

pub mod change;
pub mod create;
pub mod delete;
pub mod list;
pub mod run;
pub mod runs;
pub mod show;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::deploy::create::{Deploy, new_deployment};
use super::deploy::what::Build;
use super::error::ApiError;
use super::object;
use crate::db::schedules::{RunView, ScheduleView, Wanted};
use crate::domain::cron::{self, Cron};
use crate::domain::principal::Caller;
use crate::domain::request::Purpose;
use crate::domain::schedule::Missed;
use crate::domain::source::{Choice, Source};
use crate::domain::text::is_unfit_for_names;

/// Longest name, in characters.
const MAX_NAME: usize = 100;

/// How many times to come are shown.
const UPCOMING: usize = 5;

// ---- What is deployed

/// What is deployed each time, and where.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScheduledDeploy {
    /// The connection to the source.
    #[schema(example = "gh_4k1zq0v7w3m9x2c8b5n6")]
    pub github_connection_id: String,
    /// The connection to the AWS account.
    #[schema(example = "aws_4k1zq0v7w3m9x2c8b5n6")]
    pub aws_connection_id: String,
    /// Account or organisation; that of the GitHub connection.
    #[schema(example = "acme", min_length = 1, max_length = 39)]
    pub owner: String,
    /// Repository; that of the GitHub connection.
    #[schema(example = "shop", min_length = 1, max_length = 100)]
    pub repo: String,
    /// Branch, whose newest commit is deployed; may be another than that of the connection. Exactly one of `branch`, `commit`, `tag` and `image` is
    /// required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "main", min_length = 1, max_length = 244)]
    pub branch: Option<String>,
    /// Commit, by its full id of 40 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "9fceb02d0ae598e95dc970b74767f19372d61af8", pattern = "^[0-9a-fA-F]{40}$")]
    pub commit: Option<String>,
    /// Tag; an annotated one stands for its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "v1.2.0", min_length = 1, max_length = 244)]
    pub tag: Option<String>,
    /// An image that is in the target's ECR repository already, by its digest: `sha256:…`, or the whole name before it. Nothing is cloned or built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        example = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/acme-shop@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    pub image: Option<String>,
    /// How to build it; not with `image`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object::optional")]
    pub build: Option<Build>,
    /// Why, for those who look at it later: up to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "Prices were wrong", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
    /// What for: `planned` (the default), `hotfix`, `rollback`. Reports tell them apart; nothing else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "planned", pattern = "^(planned|hotfix|rollback)$")]
    pub kind: Option<String>,
}

impl ScheduledDeploy {
    /// What a schedule deploys, as a request has it.
    fn of(row: &ScheduleView) -> Self {
        let Choice { branch, commit, tag, image } = Source::of_column(&row.branch).choice();
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
        }
    }
}

/// What somebody wants, as it came.
struct Asked {
    name: Option<String>,
    cron: String,
    time_zone: String,
    deploy: ScheduledDeploy,
    concurrency: Option<String>,
    missed: Option<String>,
    paused: bool,
}

impl Asked {
    /// What it means, after all that it names was found to be there and to be the caller's.
    async fn check(self, state: &ApiState, caller: &Caller) -> Result<Wanted, ApiError> {
        if let Some(name) = &self.name {
            let fits = (1..=MAX_NAME).contains(&name.chars().count()) && !name.contains(is_unfit_for_names);
            if !fits {
                let rule = format!(
                    "must be 1 to {MAX_NAME} characters, none of them a control character, invisible or one that turns the direction of reading"
                );
                return Err(ApiError::field("name", rule));
            }
        }
        let cron = Cron::parse(&self.cron).map_err(|error| ApiError::field("cron", error.to_string()))?;
        let zone = cron::zone(&self.time_zone).map_err(|error| ApiError::field("timeZone", error.to_string()))?;
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
            concurrency: self.concurrency,
        };
        let new = new_deployment(state, caller, deploy).await.map_err(|error| match error {
            ApiError::Field { field, reason } if field != "concurrency" => {
                ApiError::field(format!("deploy.{field}"), reason)
            }
            other => other,
        })?;
        Ok(Wanted {
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

// ---- What is answered

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Names the schedule.
    #[schema(example = "sch_4k1zq0v7w3m9x2c8b5n6")]
    pub schedule_id: String,
    /// What people call it; null when they do not.
    #[schema(example = "nightly")]
    pub name: Option<String>,
    /// When: minute, hour, day of month, month, day of week.
    #[schema(example = "30 6 * * MON-FRI")]
    pub cron: String,
    /// By whose clock.
    #[schema(example = "Asia/Seoul")]
    pub time_zone: String,
    /// What is deployed.
    pub deploy: ScheduledDeploy,
    /// `reject`, `queue` or `supersede`.
    #[schema(example = "reject")]
    pub concurrency: String,
    /// `run_once` or `skip`.
    #[schema(example = "run_once")]
    pub missed: String,
    /// Whether it waits until somebody resumes it.
    #[schema(example = false)]
    pub paused: bool,
    /// Who answers for it: made it, or changed it last.
    #[schema(example = "alice")]
    pub made_by: String,
    /// Why it starts nothing more; null while it does. A change by a caller, `{"adopt": true}` at the least, makes it theirs and resumes it.
    pub stopped: Option<ScheduleStopped>,
    /// When it was made (UTC).
    pub created_at: DateTime<Utc>,
    /// When somebody changed it last (UTC).
    pub updated_at: DateTime<Utc>,
    /// When it is due next (UTC); null while it is paused or has stopped.
    pub next_run_at: Option<DateTime<Utc>>,
    /// That, and the times after it.
    pub next_runs: Vec<DateTime<Utc>>,
    /// What became of the last time; null before the first.
    pub last_run: Option<ScheduleRun>,
    /// Why the last time started nothing; null when it did.
    #[schema(
        example = "The connection gh_4k1zq0v7w3m9x2c8b5n6 was removed. Connect anew, and change the schedule to the new connection."
    )]
    pub last_error: Option<String>,
}

/// The permission of a schedule's owner has ended, and the schedule with it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStopped {
    /// When it stopped (UTC).
    pub at: DateTime<Utc>,
    /// `TOKEN_REVOKED`, `TOKEN_EXPIRED`, `TOKEN_REMOVED`, `PERMISSION_REDUCED`, `ADMIN_TOKEN_REPLACED`, `SUBJECT_REVOKED`, `ISSUER_REMOVED` or
    /// `SIGN_IN_REQUIRED`.
    #[schema(example = "TOKEN_EXPIRED")]
    pub code: String,
    /// The same in words, with the remedy.
    #[schema(
        example = "The API token tok_4k1zq0v7w3m9x2c8b5n6 that this schedule belongs to has expired. The schedule has stopped: take it over with `panda schedule adopt` or another change."
    )]
    pub reason: String,
}

/// What became of a time at which a schedule was due.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRun {
    /// When it was due, or asked for (UTC); the first where it stands for several.
    pub due_at: DateTime<Utc>,
    /// When it was dealt with (UTC).
    pub at: DateTime<Utc>,
    /// `started`; `refused` (another deployment has the target, or the role is not enough); `failed`; `skipped` (missed, and the schedule says so).
    #[schema(example = "started")]
    pub result: String,
    /// How many times it stands for, missed ones included; counted up to 1000.
    #[schema(example = 1)]
    pub times: i32,
    /// The deployment that was started.
    #[schema(example = "dep_4k1zq0v7w3m9x2c8b5n6")]
    pub deployment_id: Option<String>,
    /// Why nothing was started.
    #[schema(example = "TARGET_TAKEN")]
    pub error_code: Option<String>,
    /// The same in words.
    pub error_message: Option<String>,
    /// Who asked for it out of turn; null when it was the clock.
    #[schema(example = "alice")]
    pub asked_by: Option<String>,
}

impl From<RunView> for ScheduleRun {
    fn from(run: RunView) -> Self {
        Self {
            due_at: run.due_at,
            at: run.at,
            result: run.result,
            times: run.times,
            deployment_id: run.deployment_id,
            error_code: run.error_code,
            error_message: run.error_message,
            asked_by: run.asked_by,
        }
    }
}

impl From<ScheduleView> for Schedule {
    fn from(row: ScheduleView) -> Self {
        let next_runs = upcoming(&row);
        let deploy = ScheduledDeploy::of(&row);
        let last_run = match (row.last_due_at, row.last_at, row.last_result, row.last_times) {
            (Some(due_at), Some(at), Some(result), Some(times)) => Some(ScheduleRun {
                due_at,
                at,
                result,
                times,
                deployment_id: row.last_deployment_id,
                error_code: row.last_error_code,
                error_message: row.last_error_message,
                asked_by: row.last_asked_by,
            }),
            _ => None,
        };
        let stopped = match (row.stopped_at, row.stopped_code, row.stopped_reason) {
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

/// The next time, which is in the row, and those after it.
fn upcoming(row: &ScheduleView) -> Vec<DateTime<Utc>> {
    let (Some(next), Ok(cron), Ok(zone)) = (row.next_run_at, Cron::parse(&row.cron), cron::zone(&row.time_zone)) else {
        return row.next_run_at.into_iter().collect();
    };
    std::iter::once(next).chain(cron.upcoming(next, zone, UPCOMING - 1)).collect()
}
