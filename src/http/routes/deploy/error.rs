//! Errors of starting and changing deployments.

use crate::http::error::problem::{Problem, problem_types};

/// Reason why a deployment cannot be found, started or changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// No deployment with this id exists within the caller's scope.
    #[error("no deployment {0}")]
    NotFound(String),
    /// The deployment was archived: only reports include it.
    #[error("deployment {0} is in the archive")]
    Archived(String),
    /// No deployment is unfinished.
    #[error("no deployment is running")]
    NoCurrent,
    /// Switch: four-eyes approval is on, and the caller started the deployment.
    #[error("deployment {0} must be approved by another user")]
    ApproverStartedIt(String),
    /// Switch: the deployment is not ready yet.
    #[error("deployment {id} is not ready to be switched")]
    SwitchTooEarly {
        /// Id of the deployment.
        id: String,
        /// Stage that it has reached (1 to 4).
        stage: Option<i32>,
    },
    /// Switch: green receives the traffic already.
    #[error("deployment {0} is already switched")]
    AlreadySwitched(String),
    /// Switch: the deployment failed.
    #[error("deployment {0} has failed")]
    Failed(String),
    /// Switch: a cancellation was requested.
    #[error("deployment {0} is being cancelled")]
    BeingCancelled(String),
    /// Cancel: the deployment has ended.
    #[error("deployment {id} has ended: {status}")]
    AlreadyFinished {
        /// Id of the deployment.
        id: String,
        /// Final status: COMPLETED or FAILED.
        status: &'static str,
    },
    /// Retry: the deployment has not failed.
    #[error("deployment {id} has not failed: {status}")]
    NotFailed {
        /// Id of the deployment.
        id: String,
        /// RUNNING, `DEPLOYMENT_READY` or COMPLETED.
        status: &'static str,
    },
    /// Deploy and retry: another deployment of the same target is not finished.
    #[error("the target is taken by deployment {other}")]
    TargetTaken {
        /// Id of the deployment that holds the target, or is queued for it.
        other: String,
        /// Id of the deployment to retry; none for a new one.
        retry_of: Option<String>,
    },
    /// Deploy and retry: the connection was removed.
    #[error("the connection {0} was removed")]
    ConnectionRemoved(String),
    /// The ECR repository's name belongs to another source repository.
    #[error("the ECR repository {ecr_repository} belongs to another source repository")]
    RepositoryNameTaken {
        /// Name of the ECR repository.
        ecr_repository: String,
        /// The other source repository as owner/repo; none when it is outside the caller's scope.
        other: Option<String>,
    },
}

problem_types! {
    DeployError:
    NotFound => NOT_FOUND, "DEPLOYMENT_NOT_FOUND", "There is no such deployment";
    Archived => GONE, "DEPLOYMENT_ARCHIVED", "The deployment is in the archive";
    NoCurrent => NOT_FOUND, "NO_CURRENT_DEPLOYMENT", "No deployment is running";
    ApproverStartedIt => FORBIDDEN, "APPROVER_STARTED_IT", "Another user must approve";
    SwitchTooEarly => CONFLICT, "SWITCH_NOT_READY", "The deployment is not ready to be switched";
    AlreadySwitched => CONFLICT, "ALREADY_SWITCHED", "The traffic is already switched";
    Failed => CONFLICT, "DEPLOYMENT_FAILED", "The deployment has failed";
    BeingCancelled => CONFLICT, "DEPLOYMENT_CANCELLING", "The deployment is being cancelled";
    AlreadyFinished => CONFLICT, "ALREADY_FINISHED", "The deployment has already ended";
    NotFailed => CONFLICT, "RETRY_NOT_FAILED", "The deployment has not failed";
    TargetTaken => CONFLICT, "TARGET_TAKEN", "Another deployment of this repository is not finished";
    ConnectionRemoved => CONFLICT, "CONNECTION_REMOVED", "The connection was removed";
    RepositoryNameTaken => CONFLICT, "REPOSITORY_NAME_TAKEN", "The ECR repository belongs to another source repository";
}

impl DeployError {
    pub(in crate::http) fn problem(&self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        match self {
            Self::NotFound(id)
            | Self::Archived(id)
            | Self::ApproverStartedIt(id)
            | Self::AlreadySwitched(id)
            | Self::Failed(id)
            | Self::BeingCancelled(id)
            | Self::AlreadyFinished { id, .. }
            | Self::NotFailed { id, .. }
            | Self::TargetTaken { other: id, .. } => problem.deployment(id),
            Self::SwitchTooEarly { id, stage } => problem.deployment(id).stage(*stage),
            Self::RepositoryNameTaken { .. } => problem.field("repo"),
            Self::NoCurrent | Self::ConnectionRemoved(_) => problem,
        }
    }

    fn detail(&self) -> String {
        let fixed = match self {
            Self::NotFound(id) => {
                return format!("There is no deployment {id}. GET /api/v1/deploy lists the existing ones.");
            }
            Self::Archived(id) => {
                return format!(
                    "The deployment {id} ended so long ago that it was archived (PANDA_RETENTION_DEPLOYMENTS): only reports include it, and it cannot be \
                     retried. Start a new deployment instead."
                );
            }
            Self::AlreadyFinished { status, .. } => {
                return format!(
                    "The deployment is {status}: there is nothing left to cancel. Its result has everything."
                );
            }
            Self::NotFailed { status, .. } => {
                return format!(
                    "The deployment is {status}: only a FAILED one can be retried. Start a new deployment for another change."
                );
            }
            Self::TargetTaken { other, retry_of } => return target_taken(other, retry_of.is_some()),
            Self::ConnectionRemoved(id) => {
                return format!(
                    "The connection {id} was removed. Connect again, and start a new deployment with the new connection."
                );
            }
            Self::RepositoryNameTaken { ecr_repository, other } => {
                return format!(
                    "The ECR repository {ecr_repository} already receives the images of {} in this account and region. \
                     Rename one of the two source repositories, or use another AWS account or region.",
                    other.as_deref().unwrap_or("another source repository")
                );
            }
            Self::NoCurrent => "Every deployment is finished. POST /api/v1/deploy starts one.",
            Self::ApproverStartedIt(_) => {
                "You started this deployment, and this server requires that another user approves it. Ask another approver to switch it."
            }
            Self::SwitchTooEarly { .. } => {
                "The deployment is still RUNNING. Switch it when its status is DEPLOYMENT_READY; its event stream reports that."
            }
            Self::AlreadySwitched(_) => {
                "The deployment is COMPLETED: the traffic is on green. Start a new deployment for another change."
            }
            Self::Failed(_) => {
                "The deployment is FAILED and cannot be switched. Its result has the cause: fix it and retry, or deploy again."
            }
            Self::BeingCancelled(_) => {
                "The cancellation of this deployment was requested, so it cannot be switched. Retry it when it is FAILED, or start a new one."
            }
        };
        fixed.to_owned()
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
            Self::Failed(id()),
            Self::BeingCancelled(id()),
            Self::AlreadyFinished { id: id(), status: "{status}" },
            Self::NotFailed { id: id(), status: "{status}" },
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

fn target_taken(other: &str, is_retry: bool) -> String {
    let remedy = if is_retry {
        "Wait for its end, switch or cancel it, then retry."
    } else {
        "Wait for its end, switch or cancel it, or deploy with concurrency queue or supersede."
    };
    format!("The deployment {other} of the same repository, AWS account and region is not finished. {remedy}")
}
