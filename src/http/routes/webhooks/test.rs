//! `POST /api/v1/webhooks/{id}/test`: sends a test event, and answers with what the receiver answered.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::WebhookPath;
use crate::commands::receivers::probe;
use crate::domain::receiver::ReceiverFamily;
use crate::domain::receiver::attempt::AttemptVerdict;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;

// ---- Response

/// The receiver's answer to a test event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookTestAnswer {
    /// True if the receiver accepted it with a status from 200 to 299.
    pub accepted: bool,
    /// Status of the answer; null without one.
    #[schema(example = 204)]
    pub status: Option<u16>,
    /// Reason for which it was not accepted; null otherwise.
    pub error: Option<String>,
    /// Header `webhook-id` of the request.
    #[schema(example = "test_0f3c1d2e4b5a69788796a5b4c3d2e1f0")]
    pub event_id: String,
}

// ---- Handler

/// Test a webhook
///
/// Sends one event of the type `webhook.test`, signed like any other, also to a disabled webhook. It is not tried again, and not in the list of
/// deliveries. Requires the role admin of its repositories.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{id}/test", tag = "webhooks", operation_id = "testWebhook",
    params(("id" = String, Path, description = "Id of the webhook.", example = "whk_4k1zq0v7w3m9x2c8b5n6")),
    responses(
        (status = 200, description = "The request was made; `accepted` has its outcome.", body = Envelope<WebhookTestAnswer>),
        (status = 403, description = "The caller is no admin.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such webhook.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    WebhookPath { id, .. }: WebhookPath,
) -> Result<Envelope<WebhookTestAnswer>, ApiError> {
    let (event_id, answer) =
        probe::test(&state.db, &state.receivers.clients, (ReceiverFamily::Webhooks, &id), &caller).await?;
    let accepted = answer.verdict == AttemptVerdict::Delivered;
    tracing::info!(webhook = id, accepted, status = answer.status, "webhook tested");
    let data = WebhookTestAnswer { accepted, status: answer.status, error: answer.reason, event_id };
    Ok(Envelope::new("웹훅 테스트 요청을 보냈습니다.", data))
}
