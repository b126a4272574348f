//! `GET /api/v1/hooks`: lists push hooks, the oldest first.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ShownPushHook;
use crate::commands::push_hooks::list;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Response

/// All push hooks that the caller may see.
#[derive(Debug, Serialize, ToSchema)]
pub struct PushHookList {
    /// Push hooks, the oldest first; at most 200.
    pub hooks: Vec<ShownPushHook>,
}

// ---- Handler

/// List push hooks
///
/// Those whose repositories are all in the caller's scope. Requires the role admin.
#[utoipa::path(
    get, path = "/api/v1/hooks", tag = "hooks", operation_id = "listPushHooks",
    responses(
        (status = 200, description = "All push hooks, the oldest first.", body = Envelope<PushHookList>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
) -> Result<Envelope<PushHookList>, ApiError> {
    let hooks = list(&state.db, &caller).await?.into_iter().map(ShownPushHook::from).collect();
    Ok(Envelope::new("푸시 훅 목록 조회 성공", PushHookList { hooks }))
}
