//! Reasons for which a deployment cannot be started or changed.

use chrono::{DateTime, Utc};

use crate::domain::deployment::Status;
use crate::domain::freeze::Freeze;

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
    /// Switch: the request names another image than the one that is ready.
    #[error("deployment {id} has the image {actual}")]
    ImageChanged {
        /// Id of the deployment.
        id: String,
        /// Digest of the image that is ready.
        actual: String,
    },
    /// Switch: the request names another pause than the one that awaits approval.
    #[error("another pause of deployment {id} awaits approval")]
    PauseChanged {
        /// Id of the deployment.
        id: String,
        /// Id of the pause that awaits approval; none if none is known.
        actual: Option<String>,
    },
    /// Switch, and retry of a switch: a freeze holds it.
    #[error("freeze {} holds the switch of {id}", freeze.id)]
    SwitchFrozen {
        /// Id of the deployment.
        id: String,
        /// Of several freezes, the one that ends last.
        freeze: Box<Freeze>,
        /// Until when it holds.
        until: Option<DateTime<Utc>>,
    },
    /// Switch, and retry of a switch: the windows of the policy are closed.
    #[error("the windows of the policy of {id} are closed")]
    SwitchOutsideWindow {
        /// Id of the deployment.
        id: String,
        /// When the next one opens; none if none does.
        until: Option<DateTime<Utc>>,
    },
    /// Switch: the policy's time for approvals has passed.
    #[error("approvals of {id} were accepted until {until}")]
    ApprovalsClosed {
        /// Id of the deployment.
        id: String,
        /// Until when they were accepted.
        until: DateTime<Utc>,
    },
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
    /// Rollback: the traffic is not on the deployment's version.
    #[error("deployment {id} is not completed: {status}")]
    RollbackNotCompleted {
        /// Id of the deployment.
        id: String,
        /// RUNNING, `DEPLOYMENT_READY` or FAILED.
        status: Status,
    },
    /// Rollback: a newer deployment is live in the target.
    #[error("deployment {live} is live, not {id}")]
    RollbackNotLive {
        /// Id of the deployment.
        id: String,
        /// Id of the live deployment.
        live: String,
    },
    /// Rollback: another version is returning already.
    #[error("deployment {id} is being rolled back by {with}")]
    RollbackInProgress {
        /// Id of the deployment.
        id: String,
        /// Id of the deployment that carries the rollback out.
        with: String,
    },
    /// Rollback: no earlier release has another image.
    #[error("no release before {0} can return")]
    NoEarlierRelease(String),
    /// Outcome: the deployment's traffic was never on green.
    #[error("deployment {0} has not reached users")]
    NotLive(String),
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
