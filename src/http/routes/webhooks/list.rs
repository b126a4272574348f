//! `GET /api/v1/webhooks`: lists webhooks, the oldest first.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ShownWebhook;
use crate::commands::receivers::list;
use crate::domain::receiver::ReceiverFamily;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Response

/// All webhooks that the caller may see.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    /// Webhooks, the oldest first; at most 100.
    pub webhooks: Vec<ShownWebhook>,
}

// ---- Handler

/// List webhooks
///
/// Those whose repositories are all in the caller's scope. Requires the role admin.
#[utoipa::path(
    get, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "listWebhooks",
    responses(
        (status = 200, description = "All webhooks, the oldest first.", body = Envelope<WebhookList>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
) -> Result<Envelope<WebhookList>, ApiError> {
    let webhooks =
        list(&state.db, ReceiverFamily::Webhooks, &caller).await?.into_iter().map(ShownWebhook::from).collect();
    Ok(Envelope::new("웹훅 목록 조회 성공", WebhookList { webhooks }))
}
