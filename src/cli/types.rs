//! The parts of the API's responses that the commands read. Members that a newer server adds are ignored.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::deployment::Status;

#[derive(Debug, Deserialize)]
pub struct ApiEnvelope {
    pub data: Value,
}

/// The response of `GET /api/v1/connections`.
#[derive(Debug, Deserialize)]
pub struct ListedConnections {
    pub github: Vec<ConnectedRepository>,
    pub aws: Vec<ConnectedAccount>,
}

/// A connected source repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectedRepository {
    pub connection_id: String,
    /// GitHub account or organisation.
    pub owner: String,
    pub repo: String,
    pub branch: String,
}

/// A connected AWS account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectedAccount {
    pub connection_id: String,
    pub region: String,
}

/// The response of `POST /api/v1/deploy`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedDeployment {
    pub deployment_id: String,
    /// The freeze that holds the start; `None` when none does.
    pub held_by: Option<HoldSummary>,
}

/// A freeze or window that holds a deployment.
#[derive(Debug, Deserialize)]
pub struct HoldSummary {
    /// Time until which it holds.
    pub until: Option<String>,
    /// Reason of a freeze.
    pub reason: Option<String>,
}

/// The response of `POST /api/v1/deploy/{id}/rollback`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedRollback {
    /// Id of the deployment to follow.
    pub deployment_id: String,
    /// Way of the rollback: `at_aws` or `new_deployment`.
    pub how: String,
}

/// The members of `GET /api/v1/deploy/{id}/result` that commands act on; the others are displayed unchanged.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultSummary {
    pub deployment_id: String,
    pub status: Status,
    /// Number of events so far.
    pub event_count: u64,
    /// Time of the request for a rollback at AWS; `None` without one.
    pub rollback_requested_at: Option<String>,
    /// Percentage of the traffic on green during a switch in parts.
    pub green_weight: Option<f64>,
    /// URL of the blue service.
    #[cfg(feature = "dev")]
    pub blue_url: Option<String>,
    /// Code of the failure; `None` unless it failed.
    pub error_code: Option<String>,
    /// Message of the failure: the cause, and for a build its last lines of output.
    pub error_message: Option<String>,
}

/// The response of `GET /api/v1/reports/{name}`.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    pub title: String,
    /// Explanation that a reader of the figures needs.
    pub about: String,
    /// Name of the column to draw as bars.
    pub chart: Option<String>,
    /// Start of the reported time (inclusive).
    pub since: String,
    /// End of the reported time (exclusive).
    pub until: String,
    pub columns: Vec<ReportColumn>,
    /// One value per column in each row.
    pub rows: Vec<Vec<Value>>,
    /// True when the report has more rows than the response.
    pub truncated: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ReportColumn {
    pub name: String,
    /// `text`, `number`, `time` or `date`.
    #[serde(rename = "type")]
    pub kind: String,
}
