//! `GET /api/v1/reports`: which questions there are.

use serde::Serialize;
use utoipa::ToSchema;

use crate::db::reports::QUESTIONS;
use crate::http::auth::{Allowed, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;

/// The questions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportList {
    /// In the order in which they are best read.
    pub reports: Vec<ReportItem>,
}

/// A question.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportItem {
    /// Its name: the last part of the path that answers it.
    #[schema(example = "lead-time")]
    pub name: &'static str,
    /// What it answers, in a few words.
    #[schema(example = "Lead time by week")]
    pub title: &'static str,
    /// What has to be known to read the answer.
    #[schema(
        example = "From the commit until its traffic was on green, the median and the slowest tenth, in hours; weeks begin on Monday, UTC."
    )]
    pub about: &'static str,
}

/// List the reports
#[utoipa::path(
    get, path = "/api/v1/reports", tag = "reports", operation_id = "listReports",
    responses((status = 200, description = "The questions that can be asked.", body = Envelope<ReportList>))
)]
pub async fn handle(_: Allowed<Viewer>) -> Result<Envelope<ReportList>, ApiError> {
    let item = |question: &crate::db::reports::Question| ReportItem {
        name: question.name,
        title: question.title(),
        about: question.about(),
    };
    Ok(Envelope::new("보고서 목록 조회 성공", ReportList { reports: QUESTIONS.iter().map(item).collect() }))
}
