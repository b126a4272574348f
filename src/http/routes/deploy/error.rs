//! Errors of starting and changing deployments.

use chrono::{DateTime, Utc};

use crate::commands::deploy::error::DeployError;
use crate::domain::deployment::Status;
use crate::domain::message::{Message, Param, message};
use crate::http::error::problem::{Problem, problem_types};
use crate::http::time;

problem_types! {
    DeployError:
    NotFound => NOT_FOUND, "DEPLOYMENT_NOT_FOUND";
    Archived => GONE, "DEPLOYMENT_ARCHIVED";
    NoCurrent => NOT_FOUND, "NO_CURRENT_DEPLOYMENT";
    ApproverStartedIt => FORBIDDEN, "APPROVER_STARTED_IT";
    SwitchTooEarly => CONFLICT, "SWITCH_NOT_READY";
    AlreadySwitched => CONFLICT, "ALREADY_SWITCHED";
    ImageChanged => CONFLICT, "IMAGE_CHANGED";
    PauseChanged => CONFLICT, "PAUSE_CHANGED";
    SwitchFrozen => CONFLICT, "SWITCH_FROZEN";
    SwitchOutsideWindow => CONFLICT, "SWITCH_OUTSIDE_WINDOW";
    ApprovalsClosed => CONFLICT, "APPROVALS_CLOSED";
    Failed => CONFLICT, "DEPLOYMENT_FAILED";
    BeingCancelled => CONFLICT, "DEPLOYMENT_CANCELLING";
    AlreadyFinished => CONFLICT, "ALREADY_FINISHED";
    NotFailed => CONFLICT, "RETRY_NOT_FAILED";
    RollbackNotCompleted => CONFLICT, "ROLLBACK_NOT_COMPLETED";
    RollbackNotLive => CONFLICT, "ROLLBACK_NOT_LIVE";
    RollbackInProgress => CONFLICT, "ROLLBACK_IN_PROGRESS";
    NoEarlierRelease => CONFLICT, "NO_EARLIER_RELEASE";
    NotLive => CONFLICT, "NOT_LIVE";
    TargetTaken => CONFLICT, "TARGET_TAKEN";
    ConnectionRemoved => CONFLICT, "CONNECTION_REMOVED";
    RepositoryNameTaken => CONFLICT, "REPOSITORY_NAME_TAKEN";
}

impl DeployError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::NotFound(id)
            | Self::Archived(id)
            | Self::ApproverStartedIt(id)
            | Self::AlreadySwitched(id)
            | Self::ImageChanged { id, .. }
            | Self::PauseChanged { id, .. }
            | Self::SwitchFrozen { id, .. }
            | Self::SwitchOutsideWindow { id, .. }
            | Self::ApprovalsClosed { id, .. }
            | Self::Failed(id)
            | Self::BeingCancelled(id)
            | Self::AlreadyFinished { id, .. }
            | Self::NotFailed { id, .. }
            | Self::RollbackNotCompleted { id, .. }
            | Self::NoEarlierRelease(id)
            | Self::RollbackNotLive { live: id, .. }
            | Self::RollbackInProgress { with: id, .. }
            | Self::NotLive(id)
            | Self::TargetTaken { other: id, .. } => problem.deployment(id),
            Self::SwitchTooEarly { id, stage } => problem.deployment(id).stage(*stage),
            Self::RepositoryNameTaken { .. } => problem.field("repo"),
            Self::NoCurrent | Self::ConnectionRemoved(_) => problem,
        }
    }

    fn detail(&self) -> Message {
        match self {
            Self::NotFound(id) => message!("DEPLOYMENT_NOT_FOUND.detail", id),
            Self::Archived(id) => message!("DEPLOYMENT_ARCHIVED.detail", id),
            Self::NoCurrent => message!("NO_CURRENT_DEPLOYMENT.detail"),
            Self::ApproverStartedIt(_) => message!("APPROVER_STARTED_IT.detail"),
            Self::SwitchTooEarly { .. } => message!("SWITCH_NOT_READY.detail"),
            Self::AlreadySwitched(_) => message!("ALREADY_SWITCHED.detail"),
            Self::ImageChanged { actual, .. } => message!("IMAGE_CHANGED.detail", actual),
            Self::PauseChanged { actual, .. } => {
                message!("PAUSE_CHANGED.detail", actual = actual.as_deref().unwrap_or("-"))
            }
            Self::SwitchFrozen { freeze, until, .. } => {
                let (id, by, until) = (&freeze.id, &freeze.created_by, optional(until.as_ref()));
                message!("SWITCH_FROZEN.detail", id, by, reason = &freeze.reason, until)
            }
            Self::SwitchOutsideWindow { until, .. } => {
                message!("SWITCH_OUTSIDE_WINDOW.detail", until = optional(until.as_ref()))
            }
            Self::ApprovalsClosed { until, .. } => message!("APPROVALS_CLOSED.detail", until = time::text(until)),
            Self::Failed(_) => message!("DEPLOYMENT_FAILED.detail"),
            Self::BeingCancelled(_) => message!("DEPLOYMENT_CANCELLING.detail"),
            Self::AlreadyFinished { status, .. } => message!("ALREADY_FINISHED.detail", status = *status),
            Self::NotFailed { status, .. } => message!("RETRY_NOT_FAILED.detail", status = *status),
            Self::RollbackNotCompleted { status: Status::Failed, .. } => message!("ROLLBACK_NOT_COMPLETED.failed"),
            Self::RollbackNotCompleted { id, status } => {
                message!("ROLLBACK_NOT_COMPLETED.detail", id, status = status.as_str())
            }
            Self::RollbackNotLive { id, live } => message!("ROLLBACK_NOT_LIVE.detail", id, live),
            Self::RollbackInProgress { with, .. } => message!("ROLLBACK_IN_PROGRESS.detail", with),
            Self::NoEarlierRelease(_) => message!("NO_EARLIER_RELEASE.detail"),
            Self::NotLive(_) => message!("NOT_LIVE.detail"),
            Self::TargetTaken { other, retry_of: None } => message!("TARGET_TAKEN.detail", other),
            Self::TargetTaken { other, retry_of: Some(_) } => message!("TARGET_TAKEN.retry", other),
            Self::ConnectionRemoved(id) => message!("CONNECTION_REMOVED.detail", id),
            Self::RepositoryNameTaken { ecr_repository, other } => {
                let hidden = || message!("REPOSITORY_NAME_TAKEN.hidden").into();
                let other = other.as_ref().map_or_else(hidden, Param::from);
                message!("REPOSITORY_NAME_TAKEN.detail", ecr_repository, other)
            }
        }
    }

    #[cfg(test)]
    pub(in crate::http) fn samples() -> Vec<Self> {
        let id = || "{deployment}".to_owned();
        vec![
            Self::NotFound(id()),
            Self::Archived(id()),
            Self::NoCurrent,
            Self::ApproverStartedIt(id()),
            Self::SwitchTooEarly { id: id(), stage: Some(2) },
            Self::AlreadySwitched(id()),
            Self::ImageChanged { id: id(), actual: "{digest}".to_owned() },
            Self::PauseChanged { id: id(), actual: Some("{pause}".to_owned()) },
            Self::SwitchFrozen { id: id(), freeze: Box::new(freeze()), until: Some(DateTime::default()) },
            Self::SwitchOutsideWindow { id: id(), until: Some(DateTime::default()) },
            Self::ApprovalsClosed { id: id(), until: DateTime::default() },
            Self::Failed(id()),
            Self::BeingCancelled(id()),
            Self::AlreadyFinished { id: id(), status: "{status}" },
            Self::NotFailed { id: id(), status: "{status}" },
            Self::RollbackNotCompleted { id: id(), status: Status::Running },
            Self::RollbackNotCompleted { id: id(), status: Status::Failed },
            Self::RollbackNotLive { id: id(), live: "{live}".to_owned() },
            Self::RollbackInProgress { id: id(), with: "{deployment}".to_owned() },
            Self::NoEarlierRelease(id()),
            Self::NotLive(id()),
            Self::TargetTaken { other: id(), retry_of: None },
            Self::TargetTaken { other: id(), retry_of: Some(id()) },
            Self::ConnectionRemoved("{connection}".to_owned()),
            Self::RepositoryNameTaken {
                ecr_repository: "{repository}".to_owned(),
                other: Some("{owner}/{repo}".to_owned()),
            },
        ]
    }
}

fn optional(time: Option<&DateTime<Utc>>) -> String {
    time.map_or_else(|| "-".to_owned(), time::text)
}

#[cfg(test)]
fn freeze() -> crate::domain::freeze::Freeze {
    use crate::domain::freeze::{Freeze, FreezeScope, Holds};
    let (id, reason, created_by) = ("{freeze}".to_owned(), "{reason}".to_owned(), "{author}".to_owned());
    let at = DateTime::default();
    Freeze { id, scope: FreezeScope::All, holds: Holds::Both, reason, created_by, starts_at: at, ends_at: at }
}
