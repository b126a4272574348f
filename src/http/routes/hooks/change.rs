//! `PUT /api/v1/hooks/{id}`: replaces the settings of a push hook, whose owner the caller becomes.

use axum::extract::State;

use super::path::PushHookPath;
use super::{PushHookBody, ShownPushHook};
use crate::commands::push_hooks::{change, show};
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;

// ---- Handler

/// Change a push hook
///
/// Replaces name, rules and state; what is absent gets its default. The secret stays. The caller becomes the owner, with whose permission the hook acts:
/// a change without differences takes it over. Requires the role admin of the repositories before and after the change.
#[utoipa::path(
    put, path = "/api/v1/hooks/{id}", tag = "hooks", operation_id = "changePushHook",
    request_body = PushHookBody,
    params(("id" = String, Path, description = "Id of the push hook.", example = "hok_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The push hook after the change.", body = Envelope<ShownPushHook>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of the repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such push hook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    PushHookPath { id, .. }: PushHookPath,
    JsonBody(body): JsonBody<PushHookBody>,
) -> Result<Envelope<ShownPushHook>, ApiError> {
    show(&state.db, &id, &caller).await?;
    let settings = body.check(&state, &caller).await?;
    let changed = change(&state.db, &id, &settings, &caller).await?;
    tracing::info!(hook = id, enabled = changed.enabled, "push hook changed");
    Ok(Envelope::new("푸시 훅이 변경되었습니다.", ShownPushHook::from(changed)))
}
