//! `GET /api/v1/reports`: lists the reports.

use serde::Serialize;
use utoipa::ToSchema;

use crate::db::reports::REPORTS;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;

/// The reports that `GET /api/v1/reports/{name}` answers, with their filters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportList {
    /// Reports in a sensible reading order.
    pub reports: Vec<ReportItem>,
}

/// Name, title and explanation of a report that `GET /api/v1/reports/{name}` returns.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportItem {
    /// Name of the report: the last segment of its path.
    #[schema(example = "lead-time")]
    pub name: &'static str,
    /// Short title of the report.
    #[schema(example = "Lead time by week")]
    pub title: &'static str,
    /// Explanation of the figures.
    #[schema(
        example = "From the commit until its traffic was on green, the median and the slowest tenth, in hours; weeks begin on Monday."
    )]
    pub about: &'static str,
}

/// List the available reports
#[utoipa::path(
    get, path = "/api/v1/reports", tag = "reports", operation_id = "listReports",
    responses((status = 200, description = "All reports.", body = Envelope<ReportList>))
)]
pub async fn handle(_: RequireRole<Viewer>) -> Result<Envelope<ReportList>, ApiError> {
    let item = |question: &crate::db::reports::ReportDefinition| ReportItem {
        name: question.name,
        title: question.title(),
        about: question.about(),
    };
    Ok(Envelope::new("보고서 목록 조회 성공", ReportList { reports: REPORTS.iter().map(item).collect() }))
}
