//! `PUT /api/v1/webhooks/{id}`: replaces the settings of a webhook.

use axum::extract::State;

use super::path::WebhookPath;
use super::{ShownWebhook, WebhookRequestBody};
use crate::commands::receivers::change;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;

// ---- Handler

/// Change a webhook
///
/// Replaces address, filter, language and state; what is absent gets its default. The secret stays. Requires the role admin of the repositories before
/// and after the change.
#[utoipa::path(
    put, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "changeWebhook",
    request_body = WebhookRequestBody,
    params(("id" = String, Path, description = "Id of the webhook.", example = "whk_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The webhook after the change.", body = Envelope<ShownWebhook>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of the repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such webhook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    WebhookPath { id, .. }: WebhookPath,
    JsonBody(body): JsonBody<WebhookRequestBody>,
) -> Result<Envelope<ShownWebhook>, ApiError> {
    let changed = change(&state.db, &id, &body.check()?, &caller).await?;
    tracing::info!(webhook = id, enabled = changed.disabled_at.is_none(), "webhook changed");
    state.receivers.changed.notify_one();
    Ok(Envelope::new("웹훅이 변경되었습니다.", ShownWebhook::from(changed)))
}
