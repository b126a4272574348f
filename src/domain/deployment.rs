//! The deployment row as the reconciler works with it, its status and its facts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::execution_input::AGAIN;
pub use super::facts::Facts;
use super::message::{Message, message};
use super::reason::Reason;
use super::request::Requested;
use super::trace::Trace;

/// Public status of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[derive(strum::IntoStaticStr, strum::Display, strum::EnumString)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE", parse_err_ty = Message, parse_err_fn = unknown_status)]
pub enum Status {
    /// The reconciler is working on the deployment.
    Running,
    /// Green is up; the deployment waits for a switch request.
    DeploymentReady,
    /// The traffic is on green.
    Completed,
    /// The deployment failed; `errorCode` and `errorMessage` give the reason.
    Failed,
}

impl Status {
    /// Every status, in life-cycle order.
    pub const ALL: [Self; 4] = [Self::Running, Self::DeploymentReady, Self::Completed, Self::Failed];

    /// Returns the name used on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns true for a final status, which only a retry can leave, or a rollback at AWS after the switch.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

fn unknown_status(text: &str) -> Message {
    message!("rule.status", value = format!("{text:?}"))
}

/// Policy for a new deployment whose target already has an unfinished one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "lowercase", parse_err_ty = Message, parse_err_fn = unknown_concurrency)]
pub enum Concurrency {
    /// Reject the new deployment.
    #[default]
    Reject,
    /// Queue the new deployment behind the others, in order of arrival.
    Queue,
    /// Cancel all unfinished deployments of the target and queue the new one until they have ended.
    Supersede,
}

impl Concurrency {
    /// Returns the name used on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn unknown_concurrency(text: &str) -> Message {
    message!("rule.concurrency", value = format!("{text:?}"))
}

/// Numbers of unfinished deployments of the whole installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Deployments that a replica advances or is about to claim.
    pub running: i64,
    /// Deployments queued behind another one of the same target.
    pub queued: i64,
    /// Deployments that wait for a switch request.
    pub ready: i64,
    /// Subset of `running`: unclaimed deployments at a step that needs a build permit.
    pub waiting_for_build: i64,
    /// Subset of `running` and `ready`: AWS refuses the credentials of their connection.
    pub awaiting_renewal: i64,
}

/// A caller's request to take the traffic back at AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedRollback {
    /// Id of the request's audit row.
    pub audit_id: i64,
    /// Subject of the caller; none while authentication is off.
    pub by: Option<String>,
}

/// An approver's override of what holds a start or a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Subject of the approver.
    pub by: String,
    /// Reason that the approver gave.
    pub reason: String,
}

impl Override {
    /// Reads the two columns of its audit row.
    pub fn of_row(by: Option<String>, reason: Option<String>) -> Option<Self> {
        Some(Self { by: by?, reason: reason? })
    }
}

/// A claimed row of `deployments`: all that a step may know.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Id of the deployment, `dep_…`.
    pub id: String,
    /// Status as read with the row, updated by this replica's own commits.
    pub status: Status,
    /// GitHub account or organisation of the source.
    pub owner: String,
    /// Name of the source repository.
    pub repo: String,
    /// Content of the request that started the deployment.
    pub requested: Requested,
    /// Id of the source connection, `gh_…`.
    pub github_connection_id: String,
    /// Id of the AWS connection, `aws_…`.
    pub aws_connection_id: String,
    /// AWS account of the target.
    pub account_id: String,
    /// AWS region of the target.
    pub region: String,
    /// Name of the ECR repository.
    pub ecr_repository: String,
    /// Number of the attempt: from 1, plus 1 for each retry.
    pub attempt: i32,
    /// Stored name of the step.
    pub step: String,
    /// State that the step itself stored, as JSON: thousands of deployments wait with it in memory, and a tree takes several times as much.
    pub step_state: String,
    /// Age of the step when the row was read (database clock).
    pub step_elapsed: Duration,
    /// Start of the attempt (database clock).
    pub attempt_started_at: DateTime<Utc>,
    /// Age of the attempt when the row was read (database clock).
    pub attempt_elapsed: Duration,
    /// Number of claims since the last progress, including the current one.
    pub claims_without_progress: i32,
    /// Fencing token: each claim and commit increments it.
    pub version: i64,
    /// Cause of the step's wait, as a sentence.
    pub waiting_for: Option<Reason>,
    /// A caller requested the switch.
    pub switch_requested: bool,
    /// Audit row of that request.
    pub switch_audit_id: Option<i64>,
    /// Gates that the attempt copied from its policy, as JSON; none without gates, and where it brings a version back.
    pub gates: Option<String>,
    /// Override with which the attempt was started.
    pub start_override: Option<Override>,
    /// Override with which the switch was requested.
    pub switch_override: Option<Override>,
    /// A caller requested the cancellation.
    pub cancel_requested: bool,
    /// Rollback at AWS that a caller requested after the switch.
    pub rollback: Option<RequestedRollback>,
    /// Newer deployment that cancels this one.
    pub superseded_by: Option<String>,
    /// Trace that the deployment's spans belong to.
    pub trace: Trace,
    /// Facts observed so far.
    pub facts: Facts,
}

impl Deployment {
    /// Reports that its row states this reason for waiting.
    pub fn waits_for(&self, reason: &Reason) -> bool {
        self.waiting_for.as_ref().is_some_and(|stated| stated.to_string() == reason.to_string())
    }

    /// Returns the tag of the current attempt's image, in the engine and in ECR. Each attempt has its own tag, because only a push under
    /// a new tag starts the pipeline again, even if the image is that of an earlier attempt.
    pub fn image_tag(&self) -> String {
        Self::image_tag_of(&self.id, self.attempt)
    }

    /// Returns the image tags of the earlier attempts, the newest first.
    pub fn earlier_image_tags(&self) -> impl Iterator<Item = String> {
        (1..self.attempt).rev().map(|attempt| Self::image_tag_of(&self.id, attempt))
    }

    /// Returns the tag under which the current attempt's image is pushed again with another manifest.
    pub fn repeated_image_tag(&self) -> String {
        format!("{}{AGAIN}", self.image_tag())
    }

    /// Reports whether the attempt waits for the renewal of its AWS connection.
    pub fn awaits_renewal(&self) -> bool {
        self.facts.awaits_renewal == Some(true)
    }

    /// Reports whether no earlier attempt pushed this attempt's digest.
    pub fn has_unique_digest(&self) -> bool {
        self.attempt <= 1
            || self.facts.image_uri.as_deref().is_some_and(|uri| uri.ends_with(&self.repeated_image_tag()))
    }

    fn image_tag_of(id: &str, attempt: i32) -> String {
        if attempt <= 1 { id.to_owned() } else { format!("{id}-{attempt}") }
    }
}
