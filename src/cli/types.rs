//! What the commands read of the API's answers. Members that a newer server adds are ignored.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::deployment::Status;

/// Every successful answer.
#[derive(Debug, Deserialize)]
pub struct Envelope {
    /// The answer itself.
    pub data: Value,
}

/// `GET /api/v1/connections`.
#[derive(Debug, Deserialize)]
pub struct Connections {
    /// Source repositories.
    pub github: Vec<Github>,
    /// AWS accounts.
    pub aws: Vec<Aws>,
}

/// A connected source repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Github {
    /// `gh_…`
    pub connection_id: String,
    /// Account or organisation.
    pub owner: String,
    /// Repository.
    pub repo: String,
    /// Branch.
    pub branch: String,
}

/// A connected AWS account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Aws {
    /// `aws_…`
    pub connection_id: String,
    /// AWS region.
    pub region: String,
}

/// `POST /api/v1/deploy`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// `dep_…`
    pub deployment_id: String,
}

/// The members of `GET /api/v1/deploy/{id}/result` that decide something; the others are shown as they come.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// `dep_…`
    pub deployment_id: String,
    /// Where it is.
    pub status: Status,
    /// Events so far.
    pub event_count: u64,
    /// The blue service's address.
    pub blue_url: Option<String>,
    /// Why it failed.
    pub error_message: Option<String>,
}

/// `GET /api/v1/reports/{name}`.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// What it answers.
    pub title: String,
    /// What has to be known to read the answer.
    pub about: String,
    /// The column that is worth a chart.
    pub chart: Option<String>,
    /// From this time on.
    pub since: String,
    /// Before this time.
    pub until: String,
    /// The columns, in order.
    pub columns: Vec<ReportColumn>,
    /// A value for each column.
    pub rows: Vec<Vec<Value>>,
    /// Whether there is more.
    pub truncated: bool,
}

/// A column of a report.
#[derive(Clone, Debug, Deserialize)]
pub struct ReportColumn {
    /// Its name.
    pub name: String,
    /// `text`, `number`, `time` or `date`.
    #[serde(rename = "type")]
    pub kind: String,
}
