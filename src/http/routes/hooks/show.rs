//! `GET /api/v1/hooks/{id}`: one push hook.

use axum::extract::State;

use super::ShownPushHook;
use super::path::PushHookPath;
use crate::commands::push_hooks::show;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Show a push hook
///
/// Requires the role admin of its repositories.
#[utoipa::path(
    get, path = "/api/v1/hooks/{id}", tag = "hooks", operation_id = "getPushHook",
    params(("id" = String, Path, description = "Id of the push hook.", example = "hok_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The push hook.", body = Envelope<ShownPushHook>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such push hook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    PushHookPath { id, .. }: PushHookPath,
) -> Result<Envelope<ShownPushHook>, ApiError> {
    let found = show(&state.db, &id, &caller).await?;
    Ok(Envelope::new("푸시 훅 조회 성공", ShownPushHook::from(found)))
}
