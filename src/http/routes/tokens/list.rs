//! `GET /api/v1/tokens`: lists tokens, newest first, in pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiToken;
use crate::commands::access::require_all_repositories;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::pagination::{decode_cursor, encode_cursor, parse_limit, split_page};

// ---- Request

/// Limit and cursor of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TokensQuery {
    /// Maximum number of rows, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub cursor: Option<String>,
}

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
    params(TokensQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<TokenPage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    QueryParams(query): QueryParams<TokensQuery>,
) -> Result<Envelope<TokenPage>, ApiError> {
    let wanted = parse_limit(query.limit.as_deref())?;
    let before = query.cursor.as_deref().map(decode_cursor).transpose()?;
    require_all_repositories(&caller)?;
    let rows = state.db.token_page(before, wanted + 1).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.created_at, &row.id));
    let tokens = rows.into_iter().map(ApiToken::from).collect();
    Ok(Envelope::new("토큰 목록 조회 성공", TokenPage { tokens, next_cursor }))
}
