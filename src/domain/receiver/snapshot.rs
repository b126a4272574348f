//! A deployment as receivers show it.

use chrono::{DateTime, Utc};

use crate::domain::deployment::{Facts, Status};
use crate::domain::event::StoredEvent;
use crate::domain::labels::Labels;

/// State of a deployment at one time.
#[derive(Clone, Debug)]
pub struct DeploymentSnapshot {
    /// Id of the deployment, with the prefix `dep_`.
    pub id: String,
    /// Connection to its source.
    pub github_connection_id: String,
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// Branch of the deployment.
    pub branch: String,
    /// `planned`, `hotfix` or `rollback`.
    pub kind: String,
    /// AWS account of the target.
    pub account_id: String,
    /// AWS region of the target.
    pub region: String,
    /// Labels, such as the environment.
    pub labels: Labels,
    /// Number of the attempt, from 1.
    pub attempt: i32,
    /// Status at the time.
    pub status: Status,
    /// It waits for the deployments before it.
    pub queued: bool,
    /// Reason of the failure, as in `errorCode`.
    pub error_code: Option<String>,
    /// Caller who started the attempt.
    pub started_by: Option<String>,
    /// Start of the deployment.
    pub started_at: DateTime<Utc>,
    /// The switch was requested.
    pub switch_requested: bool,
    /// Facts that the steps observed.
    pub facts: Facts,
    /// Sequence number of its newest event.
    pub last_seq: i64,
    /// Its newest milestones that were not shown yet, in order.
    pub milestones: Vec<StoredEvent>,
}

impl DeploymentSnapshot {
    /// Reports that its traffic returned to the version before.
    pub fn is_rolled_back(&self) -> bool {
        self.error_code.as_deref() == Some("ROLLED_BACK_AFTER_SWITCH")
    }

    /// Reports that it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.error_code.as_deref() == Some("CANCELLED")
    }
}
