//! `GET /api/v1/webhooks/{id}`: one webhook.

use axum::extract::State;

use super::ShownWebhook;
use super::path::WebhookPath;
use crate::commands::receivers::show;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Handler

/// Show a webhook
///
/// Requires the role admin of its repositories.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "getWebhook",
    params(("id" = String, Path, description = "Id of the webhook.", example = "whk_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The webhook, with the state of its deliveries.", body = Envelope<ShownWebhook>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such webhook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    WebhookPath { id, .. }: WebhookPath,
) -> Result<Envelope<ShownWebhook>, ApiError> {
    let found = show(&state.db, (ReceiverFamily::Webhooks, &id), &caller).await?;
    Ok(Envelope::new("웹훅 조회 성공", ShownWebhook::from(found)))
}
