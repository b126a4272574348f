//! `DELETE /api/v1/webhooks/{id}`: deletes a webhook with its secrets and deliveries.

use axum::extract::State;

use super::ShownWebhook;
use super::path::WebhookPath;
use crate::commands::receivers::delete;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Delete a webhook
///
/// A request that is being made may still arrive. Requires the role admin of its repositories.
#[utoipa::path(
    delete, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "deleteWebhook",
    params(("id" = String, Path, description = "Id of the webhook.", example = "whk_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The webhook as it was.", body = Envelope<ShownWebhook>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such webhook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    WebhookPath { id, .. }: WebhookPath,
) -> Result<Envelope<ShownWebhook>, ApiError> {
    let deleted = delete(&state.db, (ReceiverFamily::Webhooks, &id), &caller).await?;
    tracing::info!(webhook = id, "webhook deleted");
    state.receivers.changed.notify_one();
    Ok(Envelope::new("웹훅이 삭제되었습니다.", ShownWebhook::from(deleted)))
}
