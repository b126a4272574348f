//! `GET /api/v1/revocations`: lists revoked subjects, newest first, in pages.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::SubjectRevocation;
use crate::commands::access::require_all_repositories;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::pagination::{PageQuery, encode_cursor, split_page};

// ---- Response

/// One page of the list of revocations in force.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationPage {
    /// Revoked subjects, newest first.
    pub revocations: Vec<SubjectRevocation>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- Handler

/// List revoked subjects
///
/// Requires the role admin and all repositories.
#[utoipa::path(
    get, path = "/api/v1/revocations", tag = "revocations", operation_id = "listRevocations",
    params(PageQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<RevocationPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Envelope<RevocationPage>, ApiError> {
    let (wanted, before) = query.validate()?;
    require_all_repositories(&caller)?;
    let rows = state.db.revocations(before, wanted + 1).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.revoked_at, &row.id));
    let revocations = rows.into_iter().map(SubjectRevocation::from).collect();
    Ok(Envelope::new("권한 취소 목록 조회 성공", RevocationPage { revocations, next_cursor }))
}
