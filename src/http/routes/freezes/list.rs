//! `GET /api/v1/freezes`: lists freezes, newest first, in pages.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ShownFreeze;
use crate::domain::message::message;
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::pagination::{PageQuery, encode_cursor, split_page};

// ---- Request

/// Filter and page of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FreezesQuery {
    /// `true` for those in force or to come only.
    #[param(example = "true", value_type = Option<bool>)]
    pub pending: Option<String>,
    /// Maximum number of rows, 1 to 100; 20 when absent.
    #[param(example = 20, minimum = 1, maximum = 100, value_type = Option<i64>)]
    pub limit: Option<String>,
    /// The `nextCursor` of the previous page.
    #[param(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub cursor: Option<String>,
}

// ---- Response

/// One page of the list of freezes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreezePage {
    /// Freezes of the page, newest first.
    pub freezes: Vec<ShownFreeze>,
    /// Value of `cursor` for the next page; null on the last page.
    #[schema(example = "MjAyNi0wMS0zMVQwOTozMDowMC4xMjM0NTZaIHNjaF94")]
    pub next_cursor: Option<String>,
}

// ---- Handler

/// List freezes
///
/// Those that may concern a deployment in the caller's scope, those that have ended or were lifted included.
#[utoipa::path(
    get, path = "/api/v1/freezes", tag = "freezes", operation_id = "listFreezes",
    params(FreezesQuery),
    responses(
        (status = 200, description = "One page, newest first.", body = Envelope<FreezePage>),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
    QueryParams(query): QueryParams<FreezesQuery>,
) -> Result<Envelope<FreezePage>, ApiError> {
    let pending = match query.pending.as_deref() {
        None | Some("false") => None,
        Some("true") => Some(true),
        Some(_) => return Err(ApiError::field("pending", message!("rule.expected", expected = "true or false"))),
    };
    let (wanted, before) = PageQuery { limit: query.limit, cursor: query.cursor }.validate()?;
    let rows = state.db.freezes(caller.scope(), pending, before, wanted + 1).await?;
    let (rows, next_cursor) = split_page(rows, wanted, |row| encode_cursor(row.created_at, &row.id));
    let freezes = rows.into_iter().map(ShownFreeze::from).collect();
    Ok(Envelope::new("배포 동결 목록 조회 성공", FreezePage { freezes, next_cursor }))
}
