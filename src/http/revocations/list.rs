//! `GET /api/v1/revocations`: who is refused, newest first, in pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::RevokedSubject;
use crate::http::ApiState;
use crate::http::auth::{Admin, Allowed};
use crate::http::deploy::list::{cursor, limit, page, read_cursor};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;

// ---- What it takes

/// Which of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevocationsQuery {
    /// Rows of the page, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the page before.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub cursor: Option<String>,
}

// ---- What it answers

/// One page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationPage {
    /// Who is refused, newest first.
    pub revocations: Vec<RevokedSubject>,
    /// Give it as `cursor` for the next page; null on the last one.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- The handler

/// List revoked subjects
///
/// For admins.
#[utoipa::path(
    get, path = "/api/v1/revocations", tag = "revocations", operation_id = "listRevocations",
    params(RevocationsQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<RevocationPage>),
        (status = 400, description = "A parameter is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin, or not for all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Admin>,
    QueryParams(query): QueryParams<RevocationsQuery>,
) -> Result<Envelope<RevocationPage>, ApiError> {
    let wanted = limit(query.limit.as_deref())?;
    let before = query.cursor.as_deref().map(read_cursor).transpose()?;
    super::for_all(&caller)?;
    let rows = state.db.revocations(before, wanted + 1).await?;
    let (rows, next_cursor) = page(rows, wanted, |row| cursor(row.revoked_at, &row.id));
    let revocations = rows.into_iter().map(RevokedSubject::from).collect();
    Ok(Envelope::new("권한 취소 목록 조회 성공", RevocationPage { revocations, next_cursor }))
}
