//! `GET /api/v1/tokens`: lists tokens, newest first, in pages.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiToken;
use crate::commands::access::require_all_repositories;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::pagination::{PageQuery, encode_cursor, split_page};

// ---- Response

/// One page of the list of tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenPage {
    /// Tokens, newest first, those that expired or were revoked included.
    pub tokens: Vec<ApiToken>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- Handler

/// List tokens
///
/// Never shows a secret. Requires the role admin and all repositories.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tokens", operation_id = "listTokens",
    params(PageQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<TokenPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Envelope<TokenPage>, ApiError> {
    let (wanted, before) = query.validate()?;
    require_all_repositories(&caller)?;
    let rows = state.db.token_page(before, wanted + 1).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.created_at, &row.id));
    let tokens = rows.into_iter().map(ApiToken::from).collect();
    Ok(Envelope::new("토큰 목록 조회 성공", TokenPage { tokens, next_cursor }))
}
