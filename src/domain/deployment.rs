//! A deployment as the reconciler works with it.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::Requested;
use super::trace::Trace;

/// The four states that anybody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The reconciler is at work.
    Running,
    /// Green is up; a person has to say *switch*.
    DeploymentReady,
    /// The traffic is on green.
    Completed,
    /// It failed; `errorCode` and `errorMessage` say why.
    Failed,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::DeploymentReady, Self::Completed, Self::Failed];

    /// As on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::DeploymentReady => "DEPLOYMENT_READY",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether nothing changes any more, but by a retry.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("unknown status {text:?}: use one of RUNNING, DEPLOYMENT_READY, COMPLETED, FAILED"))
    }
}

/// What to do with a new deployment whose target has an unfinished one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// Refuse it.
    #[default]
    Reject,
    /// Have it wait for its turn, in order.
    Queue,
    /// Cancel all that are there, and have it wait until they have ended.
    Supersede,
}

impl Concurrency {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reject, Self::Queue, Self::Supersede];

    /// As on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Queue => "queue",
            Self::Supersede => "supersede",
        }
    }
}

impl std::str::FromStr for Concurrency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|concurrency| concurrency.as_str() == text);
        known.ok_or_else(|| format!("unknown concurrency {text:?}: use reject, queue or supersede"))
    }
}

/// How many unfinished deployments there are in all, by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Being advanced, or to be.
    pub running: i64,
    /// Waiting for their turn at the target.
    pub queued: i64,
    /// Waiting for a person's switch.
    pub ready: i64,
    /// Of the running, those at a step that needs a build permit and held by nobody.
    pub waiting_for_build: i64,
}

/// A row of `deployments`, claimed: what a step may know.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// `dep_…`
    pub id: String,
    /// Status when the row was read, kept up with our own commits.
    pub status: Status,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// What it was asked for.
    pub requested: Requested,
    /// `gh_…`
    pub github_connection_id: String,
    /// `aws_…`
    pub aws_connection_id: String,
    /// AWS account that is deployed to.
    pub account_id: String,
    /// AWS region that is deployed to.
    pub region: String,
    /// Name of the ECR repository.
    pub ecr_repository: String,
    /// From 1; one more for each retry.
    pub attempt: i32,
    /// Stored name of the step.
    pub step: String,
    /// The step's own state.
    pub step_state: Value,
    /// How long the step had been going when the row was read (database clock).
    pub step_elapsed: Duration,
    /// When the attempt began (database clock).
    pub attempt_started_at: DateTime<Utc>,
    /// How long the attempt had been going when the row was read (database clock).
    pub attempt_elapsed: Duration,
    /// Claims since the last progress, this one included.
    pub claims_without_progress: i32,
    /// Fencing token.
    pub version: i64,
    /// What the step waits for, in words.
    pub waiting_for: Option<String>,
    /// Wish: switch.
    pub switch_requested: bool,
    /// Wish: cancel.
    pub cancel_requested: bool,
    /// The newer deployment that asked for the end of this one.
    pub superseded_by: Option<String>,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// What is known about it.
    pub facts: Facts,
}

impl Deployment {
    /// Tag of the present attempt's image, in the engine and in ECR. Each attempt has its own: a push under a new tag is what starts
    /// the pipeline again, also when the image is the one of an attempt before.
    pub fn image_tag(&self) -> String {
        Self::image_tag_of(&self.id, self.attempt)
    }

    /// Tags of the images of the attempts before, the newest first.
    pub fn earlier_image_tags(&self) -> impl Iterator<Item = String> {
        (1..self.attempt).rev().map(|attempt| Self::image_tag_of(&self.id, attempt))
    }

    fn image_tag_of(id: &str, attempt: i32) -> String {
        if attempt <= 1 { id.to_owned() } else { format!("{id}-{attempt}") }
    }
}

/// What is learned on the way. As a patch, `None` leaves what is known as it is.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct Facts {
    pub commit_sha: Option<String>,
    pub committed_at: Option<DateTime<Utc>>,
    pub image_uri: Option<String>,
    pub image_digest: Option<String>,
    pub image_pushed_at: Option<DateTime<Utc>>,
    pub execution_arn: Option<String>,
    pub last_history_event_id: Option<i64>,
    pub polling_state: Option<String>,
    pub cluster_name: Option<String>,
    pub service_name: Option<String>,
    pub task_definition: Option<String>,
    pub blue_service_arn: Option<String>,
    pub green_service_arn: Option<String>,
    pub blue_target_group_arn: Option<String>,
    pub green_target_group_arn: Option<String>,
    pub blue_url: Option<String>,
    pub green_url: Option<String>,
    pub code_deploy_deployment_id: Option<String>,
    pub code_deploy_application_name: Option<String>,
    pub blue_latency_ms: Option<f64>,
    pub green_latency_ms: Option<f64>,
    pub blue_error_rate: Option<f64>,
    pub green_error_rate: Option<f64>,
    pub final_service: Option<String>,
}

impl Facts {
    /// The texts that the pipeline's output gives.
    pub fn texts_mut(&mut self) -> [&mut Option<String>; 11] {
        [
            &mut self.cluster_name,
            &mut self.service_name,
            &mut self.task_definition,
            &mut self.blue_service_arn,
            &mut self.green_service_arn,
            &mut self.blue_target_group_arn,
            &mut self.green_target_group_arn,
            &mut self.blue_url,
            &mut self.green_url,
            &mut self.code_deploy_deployment_id,
            &mut self.code_deploy_application_name,
        ]
    }

    /// Takes over all that `learned` knows.
    pub fn merge(&mut self, learned: Self) {
        macro_rules! take {
            ($($field:ident),+ $(,)?) => { $(if learned.$field.is_some() { self.$field = learned.$field; })+ };
        }
        take!(
            commit_sha,
            committed_at,
            image_uri,
            image_digest,
            image_pushed_at,
            execution_arn,
            last_history_event_id,
            polling_state,
            cluster_name,
            service_name,
            task_definition,
            blue_service_arn,
            green_service_arn,
            blue_target_group_arn,
            green_target_group_arn,
            blue_url,
            green_url,
            code_deploy_deployment_id,
            code_deploy_application_name,
            blue_latency_ms,
            green_latency_ms,
            blue_error_rate,
            green_error_rate,
            final_service,
        );
    }
}
