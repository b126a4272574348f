//! `DELETE /api/v1/log`: resets the log filter.

use axum::extract::State;

use super::Log;
use crate::commands::log_filter::reset_log_filter;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Reset the log filter
///
/// Every replica returns to its configured filter: the one that answers immediately, the others within ten seconds. Requires the role admin and all
/// repositories.
#[utoipa::path(
    delete, path = "/api/v1/log", tag = "log", operation_id = "resetLog",
    responses(
        (status = 200, description = "The configured filter of each replica is in force.", body = Envelope<Log>),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
) -> Result<Envelope<Log>, ApiError> {
    reset_log_filter(&state.db, &caller).await?;
    // Applies the change on this replica immediately; the others poll every ten seconds.
    state.log.changed.notify_one();
    Ok(Envelope::new("로그 필터가 기본값으로 돌아갔습니다.", Log::new(None, state.log.own)))
}
