//! `DELETE /api/v1/hooks/{id}`: deletes a push hook with its secrets and deliveries.

use axum::extract::State;

use super::ShownPushHook;
use super::path::PushHookPath;
use crate::commands::push_hooks::delete;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Delete a push hook
///
/// Deployments that it started continue. Requires the role admin of its repositories.
#[utoipa::path(
    delete, path = "/api/v1/hooks/{id}", tag = "hooks", operation_id = "deletePushHook",
    params(("id" = String, Path, description = "Id of the push hook.", example = "hok_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The push hook as it was.", body = Envelope<ShownPushHook>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such push hook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    PushHookPath { id, .. }: PushHookPath,
) -> Result<Envelope<ShownPushHook>, ApiError> {
    let deleted = delete(&state.db, &id, &caller).await?;
    tracing::info!(hook = id, "push hook deleted");
    Ok(Envelope::new("푸시 훅이 삭제되었습니다.", ShownPushHook::from(deleted)))
}
