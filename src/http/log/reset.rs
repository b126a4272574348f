//! `DELETE /api/v1/log`: log what the replicas log by themselves.

use axum::extract::State;
use serde_json::json;

use super::{Log, for_all};
use crate::db::audit::Entry;
use crate::domain::audit::Action;
use crate::http::ApiState;
use crate::http::auth::{Admin, Allowed};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::problem::Problem;

// ---- The handler

/// Log the usual again
///
/// Every replica goes back to its own filter: at once the one that answers, the others within ten seconds. For admins who see all repositories.
#[utoipa::path(
    delete, path = "/api/v1/log", tag = "log", operation_id = "resetLog",
    responses(
        (status = 200, description = "The own filter of each replica rules.", body = Envelope<Log>),
        (status = 403, description = "The caller is no admin, or not for all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Admin>,
) -> Result<Envelope<Log>, ApiError> {
    for_all(&caller)?;
    let action = Action::ResetLogFilter;
    let entry = Entry { by: &caller, action, target: None, repository: None, refused: None, details: json!({}) };
    state.db.reset_log_filter(&entry).await?;
    // Here at once; other replicas look every ten seconds.
    state.log.asked.notify_one();
    Ok(Envelope::new("로그 필터가 기본값으로 돌아갔습니다.", Log::new(None, state.log.own)))
}
