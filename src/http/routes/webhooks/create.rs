//! `POST /api/v1/webhooks`: creates a webhook. Its secret is in the answer, once.

use axum::extract::State;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{ShownWebhook, WebhookRequestBody, WebhookWithSecret};
use crate::commands::idempotency::Idempotent;
use crate::commands::receivers::create;
use crate::domain::webhook::signing;
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::error::server::ServerError;
use crate::http::extract::JsonBody;
use crate::http::idempotency::IdempotencyKeyHeader;
use crate::http::json::Json;

/// Scope of idempotency keys: method and path.
const PATH: &str = "POST /api/v1/webhooks";

// ---- Handler

/// Create a webhook
///
/// It receives the events that are committed from now on, signed as Standard Webhooks 1.0 defines. The answer has its secret, which cannot be shown
/// again. Repeating a request with the same `Idempotency-Key` creates nothing, and returns the webhook without its secret. Requires the role admin of
/// its repositories.
#[utoipa::path(
    post, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "createWebhook",
    request_body = WebhookRequestBody,
    params(IdempotencyKeyHeader),
    responses(
        (status = 200, description = "Created, now or earlier with the same key.", body = Envelope<WebhookWithSecret>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of the repositories.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are 100 webhooks.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<WebhookRequestBody>,
) -> Result<Json<Value>, ApiError> {
    let key = key.key_for(&caller, PATH, &json!(body))?;
    let config = body.check()?;
    let secret = signing::new_secret().map_err(|_| ServerError::Internal)?;
    let stored = |made| {
        let data = WebhookWithSecret { secret: None, webhook: ShownWebhook::from(made) };
        json!(Envelope::new("웹훅이 생성되었습니다.", data))
    };
    Ok(Json(match create(&state.db, &config, Some(&secret), key.as_ref(), &caller, stored).await? {
        Idempotent::Fresh(mut answer) => {
            tracing::info!(webhook = %answer["data"]["webhook"]["webhookId"], "webhook created");
            state.receivers.changed.notify_one();
            answer["data"]["secret"] = secret.expose_secret().into();
            answer
        }
        Idempotent::Replayed(answer) => answer,
    }))
}
